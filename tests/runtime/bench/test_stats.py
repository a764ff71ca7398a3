import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauxface.bench.stats import (
    geometric_mean,
    incomplete_beta,
    interval,
    percentile,
    rate,
    ratio_interval,
    spread,
    supported,
    t_quantile,
)


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(1, 0.5, 1), (10, 0.5, 5), (10, 0.9, 9), (10, 0.99, 10), (100, 0.99, 99), (1000, 0.999, 999)],
)
def test_percentile_is_the_nearest_rank(count, share, expected):
    values = np.random.default_rng(0).permutation(np.arange(1, count + 1)).astype(float)
    assert percentile(values, share) == expected


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50), st.floats(0.01, 1))
def test_percentile_is_a_value_that_enough_values_reach(values, share):
    found = percentile(np.array(values), share)
    assert found in values
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


@pytest.mark.parametrize(
    ("count", "share", "expected"),
    [(99, 0.99, False), (100, 0.99, True), (999, 0.999, False), (1000, 0.999, True), (1, 0.5, False)],
)
def test_a_percentile_takes_a_value_beyond_it(count, share, expected):
    assert supported(count, share) == expected


def test_spread_is_the_range_over_the_median():
    assert spread([1.0, 1.1, 0.9]) == pytest.approx(0.2)
    assert spread([0.0, 0.0]) == math.inf


def test_rate_weighs_rounds_by_their_time():
    assert rate([np.array([10, 1.0]), np.array([10, 3.0])]) == 5


@pytest.mark.parametrize(
    ("degrees", "expected"),
    [(1, 12.7062047), (2, 4.30265273), (4, 2.77644511), (14, 2.14478669), (1e6, 1.9599664)],
)
def test_t_quantile_is_that_of_the_tables(degrees, expected):
    assert t_quantile(degrees) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("degrees", [1, 1.5, 2, 2.7, 4, 8, 30, 1998])
def test_t_quantile_is_scipy_s(degrees):
    stats = pytest.importorskip("scipy.stats")
    assert t_quantile(degrees) == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)


@pytest.mark.parametrize("a", [0.5, 1.0, 2.5, 999.0])
@pytest.mark.parametrize("b", [0.5, 3.0])
@pytest.mark.parametrize("x", [0.0, 1e-9, 0.3, 0.5, 0.9, 1 - 1e-9, 1.0])
def test_incomplete_beta_is_scipy_s(x, a, b):
    special = pytest.importorskip("scipy.special")
    assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_rounds_have_no_interval(count):
    few, enough = [1.0, 2.0][:count], [1.0, 2.0, 3.0]
    assert interval(few) is None
    assert ratio_interval(few, enough) is None
    assert ratio_interval(enough, few) is None
    assert interval(enough) is not None


def test_intervals_are_scipy_s_on_the_logarithms():
    stats = pytest.importorskip("scipy.stats")
    a, b = [10.0, 11.0, 12.5], [9.0, 9.1, 9.3, 8.9, 9.2]
    one = stats.ttest_1samp(np.log(a), 0).confidence_interval(0.95)
    assert interval(a) == pytest.approx((np.exp(one.low), np.exp(one.high)))
    two = stats.ttest_ind(np.log(a), np.log(b), equal_var=False).confidence_interval(0.95)
    assert ratio_interval(a, b) == pytest.approx((np.exp(two.low), np.exp(two.high)))
    assert geometric_mean(a) == pytest.approx(stats.gmean(a))


def test_equal_rounds_leave_no_doubt():
    assert interval([2.0] * 3) == pytest.approx((2, 2))
    assert ratio_interval([4.0] * 3, [2.0] * 5) == pytest.approx((2, 2))
    low, high = ratio_interval([4.0] * 3, [1.9, 2.0, 2.1])
    assert low < 2 < high


@pytest.mark.parametrize("rounds", [3, 5, 15])
def test_a_difference_that_is_not_there_is_claimed_once_in_twenty_times(rounds):
    """Where rounds differ by 3 %; 600 trials have a standard deviation of 0.9 %."""
    rng = np.random.default_rng(rounds)
    claimed = 0
    for _ in range(600):
        a, b = rng.lognormal(0, 0.03, (2, rounds)).tolist()
        low, high = ratio_interval(a, b)
        claimed += not low <= 1 <= high
    assert 0.02 < claimed / 600 < 0.08
