"""Percentiles, throughput and confidence intervals of benchmark rounds."""

import math
import statistics
from collections.abc import Sequence

import numpy as np

CONFIDENCE = 0.95
LEAST_ROUNDS = 3
"""Fewer rounds tell nothing about how much rounds differ, so they get no interval."""

Interval = tuple[float, float]

_STEPS, _CLOSE = 500, 1e-14


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


def rate(rounds: Sequence[np.ndarray]) -> float:
    """Return the count over the time of all rounds together; each round is [count, seconds]."""
    total = np.sum(rounds, axis=0)
    return float(total[0] / total[1])


def geometric_mean(values: Sequence[float]) -> float:
    """Return the geometric mean of positive values."""
    return math.exp(statistics.fmean(map(math.log, values)))


def interval(values: Sequence[float]) -> Interval | None:
    """Return the confidence interval of the geometric mean, or None for fewer than `LEAST_ROUNDS` values.

    It is Student's t interval of the logarithms: rounds differ by factors, and a few of them say little about
    how much they do, which the t distribution takes into account and a bootstrap doesn't.

    Args:
        values: One positive figure per round. Rounds are independent, the queries within one aren't: they
            share the machine's temperature, clock rate and neighbours.
    """
    if len(values) < LEAST_ROUNDS:
        return None
    mean, error = _log_mean(values)
    reach = t_quantile(len(values) - 1) * error
    return math.exp(mean - reach), math.exp(mean + reach)


def ratio_interval(above: Sequence[float], below: Sequence[float]) -> Interval | None:
    """Return the confidence interval of the ratio of two geometric means.

    None where either side has fewer than `LEAST_ROUNDS` values. The two sides may differ in their number of
    values and in how much these spread.

    Source: Welch, "The generalization of 'Student's' problem when several different population variances are
    involved", Biometrika 34, 1947, on the logarithms.

    Args:
        above: One positive figure per round.
        below: One positive figure per round of another run.
    """
    if min(len(above), len(below)) < LEAST_ROUNDS:
        return None
    (mean_above, error_above), (mean_below, error_below) = _log_mean(above), _log_mean(below)
    difference, error = mean_above - mean_below, math.hypot(error_above, error_below)
    reach = 0.0
    if error > 0:
        shares = (error_above / error) ** 4 / (len(above) - 1), (error_below / error) ** 4 / (len(below) - 1)
        reach = t_quantile(1 / sum(shares)) * error
    return math.exp(difference - reach), math.exp(difference + reach)


def t_quantile(degrees: float) -> float:
    """Return the t that Student's distribution stays within, on both sides of 0, with the confidence.

    |T| > t has the probability I_x(degrees / 2, 1 / 2) with x = degrees / (degrees + t^2), where I is the
    regularised incomplete beta function. The t is found by halving.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 1964, 26.7.1.

    Args:
        degrees: Degrees of freedom, at least 1; they need not be whole.
    """
    low, high = 0.0, 16.0  # with one degree it is 12.7, with more it is less
    for _ in range(50):
        middle = (low + high) / 2
        if incomplete_beta(degrees / (degrees + middle**2), degrees / 2, 0.5) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), to about twelve digits.

    Source: "NIST Digital Library of Mathematical Functions", 8.17.22 (the continued fraction) and 8.17.4 (the
    symmetry, which keeps x where it converges quickly); evaluated from the front as in Thompson and Barnett,
    "Coulomb and Bessel functions of complex arguments and order", 1986.

    Args:
        x: In [0, 1].
        a: Above 0.
        b: Above 0.
    """
    if x in (0.0, 1.0):
        return x
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    power = a * math.log(x) + b * math.log1p(-x)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + power) / a
    numerator, denominator, product = 1.0, 0.0, 1.0
    for step in range(_STEPS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        denominator = 1 / (1 + term * denominator)
        numerator = 1 + term / numerator
        product *= numerator * denominator
        if abs(numerator * denominator - 1) < _CLOSE:
            break
    return front * (product - 1)


def _log_mean(values: Sequence[float]) -> tuple[float, float]:
    """Return the mean of the logarithms and its standard error."""
    logs = [math.log(value) for value in values]
    return statistics.fmean(logs), statistics.stdev(logs) / math.sqrt(len(logs))
