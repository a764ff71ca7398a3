"""Confidence intervals: Clopper-Pearson for rates of one source, else a bootstrap grouped by source."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

CONFIDENCE = 0.95
REPLICATES = 1000
ECE_BINS = 15
ENOUGH_SOURCES = 10
FPR_TARGETS = (0.01, 0.001)

_CHUNK_ELEMENTS = 4_000_000


def clopper_pearson(count: int, total: int) -> tuple[float, float]:
    """Return the exact two-sided interval of a rate at `CONFIDENCE`.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case of the
    binomial", Biometrika 1934.

    Args:
        count: Number of events, 0 <= count <= total.
        total: Number of trials, at least 1.
    """
    interval = binomtest(count, total).proportion_ci(confidence_level=CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def few_sources(reals: int, fakes: int) -> str:
    """Say that bootstrapped intervals are too narrow where a label has few sources; empty where none has.

    Args:
        reals: How many bona fide sources there are.
        fakes: How many generated ones. A label without any isn't measured, so it doesn't count as few.
    """
    if min((count for count in (reals, fakes) if count), default=ENOUGH_SOURCES) >= ENOUGH_SOURCES:
        return ""
    return (
        f"There are {reals} bona fide sources and {fakes} generated ones. The bootstrap draws sources first: "
        f"with fewer than about {ENOUGH_SOURCES} of a label its intervals are too narrow, and with a single "
        "one they cover only which of its pictures were taken."
    )


@dataclass(frozen=True, slots=True)
class Curves:
    """Weighted statistics of many resamples at once; each is float64 [B].

    Attributes:
        auroc: Area under the ROC curve.
        ap: Average precision, "generated" being the positive class.
        eer: Equal error rate, interpolated linearly on the ROC curve.
        tpr: TPR at each of `FPR_TARGETS`, by target.
    """

    auroc: np.ndarray
    ap: np.ndarray
    eer: np.ndarray
    tpr: dict[float, np.ndarray]


def weighted_curves(p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Curves:
    """Compute ROC statistics for many weightings of the same scores; it equals scikit-learn's for each row.

    Args:
        p: float [N], scores.
        labels: int [N], 0 bona fide, 1 generated.
        weights: float [B, N], at least 0; every row has weight in both labels.
    """
    order = np.argsort(-p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) != 0])
    ordered = weights[:, order]
    positive = labels[order] == 1
    tp = np.cumsum(np.add.reduceat(ordered * positive, starts, axis=1), axis=1)
    fp = np.cumsum(np.add.reduceat(ordered * ~positive, starts, axis=1), axis=1)
    seen = tp + fp
    precision = np.divide(tp, seen, out=np.ones_like(tp), where=seen > 0)
    zero = np.zeros((len(tp), 1))
    tpr = np.concatenate([zero, tp / tp[:, -1:]], axis=1)
    fpr = np.concatenate([zero, fp / fp[:, -1:]], axis=1)
    rise = np.diff(tpr, axis=1)
    return Curves(
        auroc=np.sum(np.diff(fpr, axis=1) * (tpr[:, 1:] + tpr[:, :-1]) / 2, axis=1),
        ap=np.sum(rise * precision, axis=1),
        eer=equal_error_rate(fpr, tpr),
        tpr={target: np.max(np.where(fpr <= target + 1e-12, tpr, 0.0), axis=1) for target in FPR_TARGETS},
    )


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> np.ndarray:
    """Return where FPR equals 1 - TPR, interpolated linearly between the two nearest points of each curve.

    Args:
        fpr: float [B, K], ascending from 0 to 1.
        tpr: float [B, K], ascending from 0 to 1.
    """
    gap = fpr - (1 - tpr)
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    before = np.maximum(after - 1, 0)
    low, high = gap[rows, before], gap[rows, after]
    share = np.divide(-low, high - low, out=np.zeros_like(low), where=high > low)
    return fpr[rows, before] + share * (fpr[rows, after] - fpr[rows, before])


def calibration_residuals(
    p: np.ndarray, labels: np.ndarray, weights: np.ndarray, bins: int = ECE_BINS
) -> np.ndarray:
    """Return the signed terms of the expected calibration error of p("generated"), for many weightings.

    The error is the sum of the absolute values: Naeini et al., "Obtaining well calibrated probabilities using
    Bayesian binning", AAAI 2015.

    Args:
        p: float [N] in [0, 1].
        labels: int [N].
        weights: float [B, N].
        bins: Number of bins of equal width over [0, 1].

    Returns:
        float64 [B, bins]: each bin's weighted mean of (p - label) times the bin's share.
    """
    residual = np.zeros((len(p), bins))
    residual[np.arange(len(p)), bin_of(p, bins)] = p - labels
    return weights @ residual / np.sum(weights, axis=1, keepdims=True)


def unseen_error(p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> float:
    """Return the calibration error that bins of one label can hide, since their resamples all look alike.

    Without an event in n samples, fewer than 1 - 0.05 ** (1 / n) of a bin's have one, with 95 % confidence
    (Clopper and Pearson, 1934, one-sided); these shares are added up by the bins' weights.

    Args:
        p: Probabilities of "generated", float [N].
        labels: int [N].
        weights: Weight of each sample, float [N].
    """
    place = bin_of(p, ECE_BINS)
    total = 0.0
    for one in np.unique(place):
        mine = place == one
        if len(np.unique(labels[mine])) == 1:
            share = 1 - (1 - CONFIDENCE) ** (1 / np.count_nonzero(mine))
            total += share * float(weights[mine].sum() / weights.sum())
    return total


def calibration_interval(found: np.ndarray, drawn: np.ndarray, unseen: float = 0.0) -> tuple[float, float]:
    """Return the interval of an expected calibration error.

    The error is a sum of absolute values, which noise only raises: percentiles of resampled errors lie above
    what they are to enclose. The terms with their sign have no such bias, and by the triangle inequality the
    true error is no further from the found one than the true terms, summed absolutely, are from the found
    ones. So the interval is the found error less and plus the 95th percentile of that distance.

    Args:
        found: float [bins], the terms of all samples; see `calibration_residuals`.
        drawn: float [B, bins], those of the resamples.
        unseen: The distance that no resample can show, of bins that hold one label; see `unseen_error`. It
            comes on top, since resamples show next to nothing of these bins.
    """
    reach = unseen + float(np.quantile(np.sum(np.abs(drawn - found), axis=1), CONFIDENCE))
    value = float(np.sum(np.abs(found)))
    return max(0.0, value - reach), min(1.0, value + reach)


def grouped_rate(
    events: np.ndarray, sources: np.ndarray, labels: np.ndarray, seed: int = 0, replicates: int = REPLICATES
) -> tuple[float, float]:
    """Return the interval of a rate over several sources: the wider of two at each end.

    One is Clopper-Pearson's, as if all samples were drawn alike; the other is the bootstrap of `resamples`,
    which covers which sources happen to be in the set. Where no source has an event, only the first one says
    how often it may still occur.

    Args:
        events: bool [N], N at least 1.
        sources: str [N].
        labels: int [N]; sources are drawn anew within each label.
        seed: Of the random generator.
        replicates: Number of resamples.
    """
    rng = np.random.default_rng(seed)
    hits, totals = np.zeros(replicates), np.zeros(replicates)
    for label in np.unique(labels):
        mine = labels == label
        _, group = np.unique(sources[mine], return_inverse=True)
        sizes = np.bincount(group)
        share = np.bincount(group, weights=events[mine]) / sizes
        drawn = rng.integers(0, len(sizes), (replicates, len(sizes)))
        hits += rng.binomial(sizes[drawn], np.clip(share[drawn], 0, 1)).sum(axis=1)
        totals += sizes[drawn].sum(axis=1)
    exact = clopper_pearson(int(np.count_nonzero(events)), len(events))
    grouped = percentile_interval(hits / totals)
    return min(exact[0], grouped[0]), max(exact[1], grouped[1])


def bin_of(p: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Return the index of each probability's equal-width bin; 1.0 belongs to the last."""
    return np.minimum((p * bins).astype(np.intp), bins - 1)


def resamples(
    labels: np.ndarray, sources: np.ndarray, seed: int, replicates: int = REPLICATES
) -> Iterator[np.ndarray]:
    """Yield bootstrap weights, stratified by label and grouped by source, in chunks.

    Each replicate draws, per label, as many sources as there are, with replacement, and then draws as many
    samples as it has from each drawn source, with replacement. So the interval covers which sources happen to
    be in the set, not only which pictures. A label with one source is resampled within that source.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.

    Args:
        labels: int [N].
        sources: str [N].
        seed: Of the random generator; the same seed gives the same weights.
        replicates: Number of resamples in all.

    Yields:
        float64 [B, N]: how often each sample was drawn.
    """
    rng = np.random.default_rng(seed)
    groups = [
        [
            np.flatnonzero((labels == label) & (sources == name))
            for name in np.unique(sources[labels == label])
        ]
        for label in np.unique(labels)
    ]
    chunk = max(1, _CHUNK_ELEMENTS // max(1, len(labels)))
    for start in range(0, replicates, chunk):
        weights = np.zeros((min(chunk, replicates - start), len(labels)))
        for row in weights:
            for members in groups:
                drawn = rng.integers(0, len(members), len(members))
                for index in drawn:
                    chosen = members[index]
                    picks = rng.integers(0, len(chosen), len(chosen))
                    row[chosen] += np.bincount(picks, minlength=len(chosen))
        yield weights


def percentile_interval(values: np.ndarray) -> tuple[float, float]:
    """Return the two-sided percentile interval of bootstrap values [B] at `CONFIDENCE`."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
