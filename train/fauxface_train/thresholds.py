"""From calibrated probabilities to the two thresholds of the verdict, and what they promise."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.stats import beta, binom

from fauxface.errors import DataError
from fauxface.verdicts import Thresholds

BPCER_TARGET = 0.01
RESAMPLES = 200
CONFIDENCE = 0.95
RISK_TARGET = 0.02
BONA_FIDE_AT_MOST = 0.4
GENERATED_AT_LEAST = 0.6


@dataclass(frozen=True, slots=True)
class Upper:
    """`generated_from` with the rule that chose it, in words; the rule states what was reached."""

    value: float
    rule: str


@dataclass(frozen=True, slots=True)
class Held:
    """One real source under one condition, at the chosen `generated_from`.

    Attributes:
        source: Name of the real source.
        condition: "clean", "web", ...; empty where only one was given.
        samples: Number of its faces.
        views: Number of views of each face.
        allowed: Number of faces that may be called generated; see `allowed_errors`.
        errors: Number that are; a face counts as the share of its views that are.
    """

    source: str
    condition: str
    samples: int
    views: int
    allowed: int
    errors: float


@cache
def allowed_errors(samples: int, target: float) -> int:
    """Return how many of a real source's samples may be called generated.

    It is the highest count that doesn't contradict a true BPCER of `target`: with k + 1 errors, a one-sided
    binomial test would reject "BPCER <= target" at `CONFIDENCE`.

    Args:
        samples: Number of samples of the source.
        target: Highest BPCER, in (0, 1).
    """
    return int(binom.ppf(CONFIDENCE, samples, target))


def choose_thresholds(
    p: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    bpcer_target: float = BPCER_TARGET,
    *,
    conditions: Sequence[str] | None = None,
    risk_target: float = RISK_TARGET,
) -> Thresholds:
    """Choose the two thresholds of the verdict on validation scores.

    `generated_from` is the lowest threshold at which BPCER <= `bpcer_target` holds on every real source under
    every condition, and on all reals of a condition together. On all reals, the share of errors itself must
    not be above the target, but for one face where they are few. In a single source, which is small, one
    face may be worth more than the target: there the number of errors must not contradict the target, see
    `allowed_errors`. No source is left out and none is pooled. The threshold is never below 0.6. A face that
    was seen several times under a condition counts as the share of these views that are called generated, so
    that the chance framing of one face decides less.

    The lowest threshold hangs on the few highest scores of one source. So it is chosen again on `RESAMPLES`
    draws of as many faces from every source, with replacement, and their mean is taken where it is higher:
    it varies less from one set of faces, or one training, to the next.

    `bona_fide_below` follows from risk and coverage: the highest threshold, which is the widest coverage, at
    which the risk among the decided samples (not "unsure") is at most `risk_target`; where no threshold
    reaches it, the one of the lowest risk. Risk is the share of wrong verdicts, each label having half of
    the weight and each source the same within its label. It is never above 0.4, so that a probability that is
    near a coin toss is always "unsure".

    Thresholds that single scores set lie halfway between two neighbouring ones, so that a rounding difference
    between machines doesn't flip a sample of the validation split.

    Sources: Chow, "On optimum recognition error and reject tradeoff", IEEE Trans. Inf. Theory 1970; El-Yaniv
    and Wiener, "On the foundations of noise-free selective classification", JMLR 2010 (risk, coverage);
    Breiman, "Bagging predictors", Machine Learning 1996 (the mean over draws).

    Args:
        p: float [N], calibrated probability of "generated" in [0, 1]; or [N, K] of K views of each face.
        labels: int [N], 0 bona fide, 1 generated.
        sources: N names of the data sets or generators that the samples come from.
        bpcer_target: BPCER that no real source may contradict, in (0, 1).
        conditions: K names of the conditions that the views show; None: one.
        risk_target: Highest share of wrong verdicts among the decided.

    Returns:
        The thresholds with their rule in words; the rule states what was reached.

    Raises:
        DataError: A label has no sample, or lengths or values are wrong.
    """
    p, labels, names = _checked(p, labels, sources)
    require_both(labels)
    upper = lowest_generated_from(p, labels, names, bpcer_target, conditions=conditions)
    lower, risk, coverage = unsure_band(p, labels, names, upper.value, risk_target=risk_target)
    rule = (
        f"generated from {upper.value:.6g}: {upper.rule}; bona fide below {lower:.6g}: the widest coverage "
        f"at which the risk among the decided is at most {risk_target:g}, never above {BONA_FIDE_AT_MOST:g} "
        f"(risk {risk:.4f}, coverage {coverage:.4f}; labels weighing the same, and sources within them)"
    )
    return Thresholds(bona_fide_below=lower, generated_from=upper.value, rule=rule)


def lowest_generated_from(
    p: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    bpcer_target: float = BPCER_TARGET,
    *,
    conditions: Sequence[str] | None = None,
) -> Upper:
    """Return the lowest upper threshold that keeps the BPCER; see `choose_thresholds`.

    Raises:
        DataError: There is no real sample, lengths or values are wrong, or no threshold up to 1 keeps it.
    """
    p, labels, names = _checked(p, labels, sources)
    if not 0 < bpcer_target < 1:
        raise DataError(f"the BPCER target must lie between 0 and 1, not {bpcer_target:g}")
    real = labels == 0
    if not np.any(real):
        raise DataError("no real sample to hold the BPCER on; add real pictures")
    groups = _real_groups(p[real], names[real], conditions, bpcer_target)
    limits = [_lowest_threshold(group, p) for group in groups]
    binding = int(np.argmax(limits))
    if limits[binding] > 1:
        raise DataError(
            f"no threshold keeps the BPCER on {groups[binding].name}: more real faces have probability 1 "
            "than may be called generated; check that they are real, or train with more like them"
        )
    lowest = max(limits[binding], GENERATED_AT_LEAST)
    value = max(lowest, _between(p, _mean_over_draws(p[real], names[real], conditions, bpcer_target)))
    highest = max(groups, key=lambda group: group.errors(value) / len(group.scores))
    often = f"; {p.shape[1]} views of each face" if p.shape[1] > 1 else ""
    few = int(bpcer_target * len(names[real]) + 1e-9) < 1
    together = "kept on all reals together"
    if few:
        count = int(np.count_nonzero(real))
        allowed = min(1, allowed_errors(count, bpcer_target))
        most = "at most one" if allowed else "none"
        hidden = 1.0 if allowed == count else beta.ppf(CONFIDENCE, allowed + 1, count - allowed)
        together = f"{most} of all {count} reals (so few can't rule out a BPCER of {hidden:.2g})"
    under = "".join(f", {name}" for name in dict.fromkeys(conditions or ()))
    bound_by = f"set by {groups[binding].name}" if limits[binding] > GENERATED_AT_LEAST else "the floor"
    rule = (
        f"BPCER <= {bpcer_target:g} not contradicted (one-sided binomial test, {CONFIDENCE:g}) on any real "
        f"source ({len(np.unique(names[real]))}{under}{often}), and {together}, at least "
        f"{GENERATED_AT_LEAST:g}: {lowest:.6g} on these faces, the mean over {RESAMPLES} draws of them where "
        f"that is higher ({bound_by}; highest BPCER {highest.errors(value):g} of "
        f"{len(highest.scores)} on {highest.name})"
    )
    return Upper(value, rule)


def unsure_band(
    p: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    generated_from: float,
    *,
    risk_target: float = RISK_TARGET,
) -> tuple[float, float, float]:
    """Return the lower threshold, the risk among the decided and their share; see `choose_thresholds`.

    Raises:
        DataError: A label has no sample, or lengths or values are wrong.
    """
    p, labels, names = _checked(p, labels, sources)
    require_both(labels)
    views = p.shape[1]
    weights = np.repeat(_weights(labels, names), views) / views
    p, labels = p.ravel(), np.repeat(labels, views)
    called = p >= generated_from
    wrong = float(np.sum(weights[called & (labels == 0)]))
    decided = float(np.sum(weights[called]))
    # Below a candidate lie all scores smaller than it.
    values, inverse = np.unique(p, return_inverse=True)
    candidates = np.append(values[values < BONA_FIDE_AT_MOST], BONA_FIDE_AT_MOST)

    def below(mask: np.ndarray) -> np.ndarray:
        each = np.bincount(inverse, weights=weights * mask, minlength=len(values))
        return np.concatenate([[0.0], np.cumsum(each)])[: len(candidates)]

    coverage = decided + below(np.ones(len(p)))
    errors = wrong + below(labels == 1)
    risk = np.divide(errors, coverage, out=np.zeros_like(errors), where=coverage > 0)
    good = np.flatnonzero(risk <= risk_target + 1e-12)
    best = int(good[-1]) if len(good) else int(np.flatnonzero(risk == risk.min())[-1])
    return _between(p, float(candidates[best])), float(risk[best]), float(coverage[best])


def held(
    p: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | Sequence[str],
    generated_from: float,
    bpcer_target: float = BPCER_TARGET,
    *,
    conditions: Sequence[str] | None = None,
) -> list[Held]:
    """Return, for every real source, how many errors a threshold makes and how many are allowed.

    Args:
        p: float [N], calibrated probability of "generated" in [0, 1]; or [N, K] of K views of each face.
        labels: int [N], 0 bona fide, 1 generated.
        sources: N names.
        generated_from: The threshold.
        bpcer_target: BPCER that no real source may contradict.
        conditions: K names of the conditions that the views show; None: one.

    Raises:
        DataError: Lengths or values are wrong.
    """
    p, labels, names = _checked(p, labels, sources)
    real = labels == 0
    return [
        Held(group.source, group.condition, count, views, group.allowed, group.errors(generated_from))
        for group in _real_groups(p[real], names[real], conditions, bpcer_target)
        for count, views in [group.scores.shape]
        if group.source
    ]


def require_both(labels: np.ndarray) -> None:
    """Raise a DataError unless labels are 0 and 1, and both occur."""
    unknown = set(np.unique(labels)) - {0, 1}
    if unknown:
        raise DataError("labels must be 0 (bona fide) or 1 (generated)")
    for value, name in enumerate(("real", "fake")):
        if not np.any(labels == value):
            raise DataError(f"no {name} sample to calibrate on; add {name} pictures to the validation split")


def _checked(
    p: np.ndarray, labels: np.ndarray, sources: np.ndarray | Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores [N, K], labels [N] and sources [N] as arrays, or raise DataError."""
    p, labels, names = np.asarray(p, np.float64), np.asarray(labels), np.asarray(sources, dtype=str)
    p = p[:, None] if p.ndim == 1 else p
    if p.ndim != 2 or p.shape[1] == 0 or not p.shape[:1] == labels.shape == names.shape:
        raise DataError("p, labels and sources must be of one length; give one source name per face")
    if not np.all((p >= 0) & (p <= 1)):
        raise DataError("p must lie in [0, 1]; calibrate the logits first")
    return p, labels, names


@dataclass(frozen=True, slots=True)
class _Group:
    source: str  # empty for all reals together
    condition: str
    scores: np.ndarray
    allowed: int

    @property
    def name(self) -> str:
        return (self.source or "all reals") + (f" ({self.condition})" if self.condition else "")

    def errors(self, threshold: float) -> float:
        return int(np.count_nonzero(self.scores >= threshold)) / self.scores.shape[1]


def _real_groups(
    scores: np.ndarray, names: np.ndarray, conditions: Sequence[str] | None, target: float
) -> list[_Group]:
    """Return every real source under every condition, and all reals of each condition."""
    columns = np.asarray([""] * scores.shape[1] if conditions is None else conditions, dtype=str)
    if columns.shape != scores.shape[1:]:
        raise DataError(f"{len(columns)} conditions don't name {scores.shape[1]} views; give one for each")
    share = min(max(1, int(np.floor(target * len(scores) + 1e-9))), allowed_errors(len(scores), target))
    groups = []
    for condition in np.unique(columns):
        seen = scores[:, columns == condition]
        for name in np.unique(names):
            mine = seen[names == name]
            groups.append(_Group(str(name), str(condition), mine, allowed_errors(len(mine), target)))
        groups.append(_Group("", str(condition), seen, share))
    return groups


def _mean_over_draws(
    scores: np.ndarray, names: np.ndarray, conditions: Sequence[str] | None, target: float
) -> float:
    """Return the mean of the lowest thresholds on faces drawn anew, with replacement, from every source."""
    rng = np.random.default_rng(0)
    each = [np.flatnonzero(names == name) for name in np.unique(names)]
    found = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rng.choice(mine, len(mine)) for mine in each])
        groups = _real_groups(scores[drawn], names[drawn], conditions, target)
        found.append(max(_highest_refused(group) for group in groups))
    return float(np.mean(np.maximum(found, GENERATED_AT_LEAST)))


def _highest_refused(group: _Group) -> float:
    """Return the highest score that must not be called generated, or 0."""
    if group.allowed >= len(group.scores):
        return 0.0
    return float(np.sort(group.scores, axis=None)[::-1][group.allowed * group.scores.shape[1]])


def _lowest_threshold(group: _Group, every: np.ndarray) -> float:
    """Return the lowest threshold that refuses enough of a group, halfway to the next score of any sample."""
    refused = _highest_refused(group)
    return _above(every, refused) if refused > 0 else 0.0


def _above(every: np.ndarray, value: float) -> float:
    """Return the point halfway between `value` and the next higher score, or 1 where there is none."""
    higher = every[every > value]
    middle = (value + (float(higher.min()) if len(higher) else 1.0)) / 2
    return max(middle, float(np.nextafter(value, 2.0)))


def _between(every: np.ndarray, threshold: float) -> float:
    """Move a threshold that equals a score halfway down to the score below, so that `p < t` is unchanged."""
    if not np.any(every == threshold):
        return threshold
    lower = every[every < threshold]
    return (threshold + float(lower.max())) / 2 if len(lower) else threshold / 2


def _weights(labels: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return one weight per face: labels weigh the same, and so do a label's sources."""
    weights = np.zeros(len(labels))
    for label in (0, 1):
        mine = labels == label
        unique, inverse, counts = np.unique(names[mine], return_inverse=True, return_counts=True)
        weights[mine] = 0.5 / (counts[inverse] * len(unique))
    return weights
