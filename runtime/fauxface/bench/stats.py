"""Percentiles, throughput and bootstrap intervals of benchmark rounds."""

import math
import statistics
from collections.abc import Callable, Sequence

import numpy as np

REPLICATES = 2000
CONFIDENCE = 0.95
LEAST_ROUNDS = 3
"""Fewer rounds tell nothing about how much rounds differ, so they get no interval."""

Rounds = Sequence[np.ndarray]
"""One array of numbers per round."""


def percentile(values: np.ndarray, share: float) -> float:
    """Return the nearest-rank percentile: the smallest value that at least `share` of the values reach.

    It is one of the values, never an interpolation, as in MLPerf's LoadGen. With fewer than
    1 / (1 - share) values it is the largest one.

    Args:
        values: float [N], N at least 1.
        share: In (0, 1], for example 0.99.
    """
    rank = max(1, math.ceil(share * len(values) - 1e-9))
    return float(np.partition(values, rank - 1)[rank - 1])


def supported(count: int, share: float) -> bool:
    """Return whether so many values say anything about a percentile: at least one lies beyond it."""
    return count * (1 - share) >= 1 - 1e-9


def spread(values: Sequence[float]) -> float:
    """Return the range of positive values over their median."""
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle > 0 else math.inf


def pooled(share: float) -> Callable[[Rounds], float]:
    """Return the statistic "percentile of the values of all rounds together"."""
    return lambda rounds: percentile(np.concatenate(rounds), share)


def rate(rounds: Rounds) -> float:
    """Return the count over the time of all rounds together; each round is [count, seconds]."""
    total = np.sum(rounds, axis=0)
    return float(total[0] / total[1])


def replicates(rounds: Rounds, statistic: Callable[[Rounds], float], seed: int) -> np.ndarray | None:
    """Return the statistic of resampled rounds: float64 [REPLICATES], or None for too few rounds.

    Whole rounds are drawn, with replacement, since the values within a round aren't independent: they share
    the machine's temperature, clock rate and neighbours.

    Source: Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.

    Args:
        rounds: The rounds.
        statistic: It must not depend on the order of the rounds.
        seed: The same seed gives the same replicates.
    """
    if len(rounds) < LEAST_ROUNDS:
        return None
    draws = np.random.default_rng(seed).integers(0, len(rounds), (REPLICATES, len(rounds)))
    # Few rounds have few different resamples: each is computed once.
    different, which = np.unique(np.sort(draws, axis=1), axis=0, return_inverse=True)
    return np.array([statistic([rounds[index] for index in draw]) for draw in different])[which.ravel()]


def interval(values: np.ndarray | None) -> tuple[float, float] | None:
    """Return the two-sided percentile interval of replicates, or None where there are none."""
    if values is None:
        return None
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
