"""From the logits of a validation split to calibrated probabilities and the thresholds of the verdict.

Both functions look at validation scores only; what they choose is measured on another split by
`fauxface evaluate`. docs/evaluation.md defines every term used here.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from fauxface.errors import DataError
from fauxface.verdicts import Calibration, Thresholds

TEMPERATURE_RANGE = (0.05, 20.0)
BIAS_RANGE = (-10.0, 10.0)
MIN_SOURCE_SAMPLES = 100
MISSED_TARGET = 0.05
UNSURE_TARGET = 0.10
BONA_FIDE_AT_MOST = 0.4
GENERATED_AT_LEAST = 0.6


def fit(logits: np.ndarray, labels: np.ndarray, *, fitted_on: str = "") -> Calibration:
    """Fit what makes sigmoid((logits[1] - logits[0]) / temperature + bias) a probability.

    Minimises the class-balanced negative log-likelihood (each label has half of the weight, so the
    probability assumes that a real and a generated face are equally likely beforehand). The targets are
    smoothed to 1 / (n + 2) and (n + 1) / (n + 2), n being the label's count, which keeps the fit finite where
    the scores separate the labels perfectly. Temperature lies in [0.05, 20], bias in [-10, 10].

    Sources: Platt, "Probabilistic outputs for support vector machines", 1999 (smoothed targets); Guo et al.,
    "On calibration of modern neural networks", ICML 2017 (temperature).

    Args:
        logits: float [N, 2], in the order bona fide, generated.
        labels: int [N], 0 bona fide, 1 generated.
        fitted_on: What the samples were, in words; kept with the result.

    Returns:
        The calibration; its `probability(logits)` is what the runtime computes.

    Raises:
        DataError: A label has no sample, or a logit isn't finite.
    """
    difference, positive = _checked(np.asarray(logits, np.float64), labels)
    counts = np.bincount(positive, minlength=2).astype(np.float64)
    target = np.where(positive == 1, (counts[1] + 1) / (counts[1] + 2), 1 / (counts[0] + 2))
    weight = 0.5 / counts[positive]

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = parameters
        z = slope * difference + bias
        value = np.sum(weight * (np.logaddexp(0.0, z) - target * z))
        residual = weight * (expit(z) - target)
        return float(value), np.array([np.sum(residual * difference), np.sum(residual)])

    low, high = TEMPERATURE_RANGE
    result = minimize(
        loss,
        x0=np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(1 / high, 1 / low), BIAS_RANGE],
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500},
    )
    slope, bias = result.x
    return Calibration(temperature=float(1 / slope), bias=float(bias), fitted_on=fitted_on)


def choose_thresholds(
    p: np.ndarray,
    labels: np.ndarray,
    sources: np.ndarray | list[str],
    bpcer_target: float = 0.01,
    *,
    missed_target: float = MISSED_TARGET,
    unsure_target: float = UNSURE_TARGET,
    min_source_samples: int = MIN_SOURCE_SAMPLES,
) -> Thresholds:
    """Choose the two thresholds of the verdict on validation scores.

    `generated_from` is the lowest threshold at which at most `bpcer_target` of the real samples are called
    generated, in every real source with at least `min_source_samples` samples, in the pool of the smaller
    ones, and in all reals together. It is never below 0.6.

    `bona_fide_below` is the highest threshold below which at most `missed_target` of the fakes lie (each fake
    source weighing the same). Where that would leave more than `unsure_target` of the reals (each real source
    weighing the same) between the thresholds, it is raised until it doesn't. It is never above 0.4, so that a
    probability that is near a coin toss is always "unsure".

    Thresholds lie halfway between two neighbouring scores, so that a rounding difference between machines
    doesn't flip a sample of the validation split.

    Args:
        p: float [N], calibrated probability of "generated" in [0, 1].
        labels: int [N], 0 bona fide, 1 generated.
        sources: N names of the data sets or generators that the samples come from.
        bpcer_target: Highest BPCER allowed in any real source.
        missed_target: Highest share of fakes that may be called bona fide.
        unsure_target: Highest share of reals that may be unsure; wins over `missed_target`.
        min_source_samples: Real sources with fewer samples are pooled.

    Returns:
        The thresholds with their rule in words; the rule states what was reached.

    Raises:
        DataError: A label has no sample, or lengths or values are wrong.
    """
    p, labels, names = np.asarray(p, np.float64), np.asarray(labels), np.asarray(sources, dtype=str)
    if p.ndim != 1 or p.shape != labels.shape or p.shape != names.shape:
        raise DataError("p, labels and sources must be of one length; give one source name per score")
    if not np.all((p >= 0) & (p <= 1)):
        raise DataError("p must lie in [0, 1]; calibrate the logits first")
    _require_both(labels)
    real, fake = labels == 0, labels == 1

    groups = _real_groups(p[real], names[real], min_source_samples)
    limits = {group.name: _lowest_threshold(group.scores, p, bpcer_target) for group in groups}
    binding = max(limits, key=lambda name: limits[name])
    generated_from = max(limits[binding], GENERATED_AT_LEAST)
    reached = max(groups, key=lambda group: float(np.mean(group.scores >= generated_from)))

    by_missed = _highest_share_below(p[fake], _source_weights(names[fake]), missed_target)
    real_weights = _source_weights(names[real])
    flagged = float(np.sum(real_weights[p[real] >= generated_from]))
    by_unsure = _lowest_share_below(p[real], real_weights, 1 - flagged - unsure_target)
    bona_fide_below = _between(p, min(max(by_missed, by_unsure), BONA_FIDE_AT_MOST))
    missed = float(np.sum(_source_weights(names[fake])[p[fake] < bona_fide_below]))
    unsure = 1 - flagged - float(np.sum(real_weights[p[real] < bona_fide_below]))

    bound_by = f"set by {binding}" if limits[binding] > GENERATED_AT_LEAST else "the floor"
    highest = f"{np.mean(reached.scores >= generated_from):.4f} on {reached.name}"
    rule = (
        f"generated from {generated_from:.6g}: BPCER <= {bpcer_target:g} on every validation real source "
        f"with >= {min_source_samples} samples, on the pool of the smaller ones and on all reals, at least "
        f"{GENERATED_AT_LEAST:g} ({bound_by}; highest BPCER {highest}); bona fide below "
        f"{bona_fide_below:.6g}: at most {missed_target:g} of the fakes called bona fide, unless more than "
        f"{unsure_target:g} of the reals would be unsure, never above {BONA_FIDE_AT_MOST:g} ({missed:.4f} of "
        f"the fakes called bona fide, {unsure:.4f} of the reals unsure, sources weighing the same)"
    )
    return Thresholds(bona_fide_below=bona_fide_below, generated_from=generated_from, rule=rule)


@dataclass(frozen=True, slots=True)
class _Group:
    name: str
    scores: np.ndarray


def _checked(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logit differences and integer labels, or raise DataError."""
    labels = np.asarray(labels)
    if logits.ndim != 2 or logits.shape[1] != 2 or labels.shape != logits.shape[:1]:
        raise DataError(
            f"logits must be [N, 2] and labels [N], not {list(logits.shape)} and {list(labels.shape)}"
        )
    if not np.all(np.isfinite(logits)):
        raise DataError("a logit isn't finite; the network has diverged, train it with a lower learning rate")
    _require_both(labels)
    return logits[:, 1] - logits[:, 0], labels.astype(np.intp)


def _require_both(labels: np.ndarray) -> None:
    unknown = set(np.unique(labels)) - {0, 1}
    if unknown:
        raise DataError("labels must be 0 (bona fide) or 1 (generated)")
    for value, name in enumerate(("real", "fake")):
        if not np.any(labels == value):
            raise DataError(f"no {name} sample to calibrate on; add {name} pictures to the validation split")


def _real_groups(scores: np.ndarray, names: np.ndarray, enough: int) -> list[_Group]:
    """Split real scores into large sources, the pool of small ones (if two or more), and all of them."""
    unique, counts = np.unique(names, return_counts=True)
    groups = [_Group(str(name), scores[names == name]) for name in unique[counts >= enough]]
    small = np.isin(names, unique[counts < enough])
    if np.any(small) and not np.all(small):
        groups.append(_Group("the pool of small sources", scores[small]))
    groups.append(_Group("all reals", scores))
    return groups


def _lowest_threshold(scores: np.ndarray, every: np.ndarray, target: float) -> float:
    """Return the lowest t with mean(scores >= t) <= target, halfway to the next score of any sample."""
    allowed = int(np.floor(target * len(scores) + 1e-9))
    if allowed >= len(scores):
        return 0.0
    return _above(every, float(np.sort(scores)[::-1][allowed]))


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


def _source_weights(names: np.ndarray) -> np.ndarray:
    """Return one weight per sample so that every source weighs the same; they sum to 1."""
    unique, inverse, counts = np.unique(names, return_inverse=True, return_counts=True)
    return 1.0 / (counts[inverse] * len(unique))


def _highest_share_below(scores: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the highest score t such that samples below t weigh at most `share`."""
    values, below = _weight_below(scores, weights)
    return float(values[below <= share + 1e-9].max())


def _lowest_share_below(scores: np.ndarray, weights: np.ndarray, share: float) -> float:
    """Return the lowest score t such that samples below t weigh at least `share`; 1 where none does."""
    values, below = _weight_below(scores, weights)
    enough = values[below >= share - 1e-9]
    return float(enough.min()) if len(enough) else 1.0


def _weight_below(scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct scores in ascending order and the weight of the samples below each."""
    values, inverse = np.unique(scores, return_inverse=True)
    each = np.bincount(inverse, weights=weights)
    return values, np.cumsum(each) - each
