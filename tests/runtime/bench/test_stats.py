import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fauxface.bench.stats import interval, percentile, pooled, rate, replicates, spread, supported


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


def test_too_few_rounds_have_no_interval():
    two = [np.ones(5), np.ones(5)]
    assert replicates(two, pooled(0.5), 0) is None
    assert interval(None) is None


def test_interval_covers_the_rounds_and_is_the_same_each_time():
    rounds = [np.full(20, value) for value in (10.0, 11.0, 12.0, 13.0, 14.0)]
    low, high = interval(replicates(rounds, pooled(0.5), 0))
    assert 10 <= low < 12 < high <= 14
    assert (low, high) == interval(replicates(rounds, pooled(0.5), 0))
    equal = [np.full(20, 10.0)] * 5
    assert interval(replicates(equal, pooled(0.5), 0)) == (10, 10)


def test_replicates_are_those_of_a_plain_bootstrap():
    rounds = [np.array([float(i + 1), 1.0]) for i in range(4)]
    draws = np.random.default_rng(3).integers(0, 4, (2000, 4))
    plain = np.array([rate([rounds[i] for i in draw]) for draw in draws])
    assert replicates(rounds, rate, 3) == pytest.approx(plain)
