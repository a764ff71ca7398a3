import itertools

import pytest

from fauxface.bench.timing import STABLE, measure, warm_up


def query(clock, times_s):
    """A query that takes the given seconds one after the other, then the last for ever."""
    times = itertools.chain(times_s, itertools.repeat(times_s[-1]))
    return lambda: clock.advance(next(times))


def test_a_steady_query_is_warm_after_three_windows(clock):
    warm = warm_up(query(clock, [0.01]), clock)
    assert warm.stable
    assert warm.spread == pytest.approx(0, abs=1e-6)
    assert warm.queries == 2 + 3 * 5


def test_warm_up_waits_until_the_first_slow_queries_are_over(clock):
    warm = warm_up(query(clock, [0.5, *[0.05] * 3, *[0.02] * 3, 0.01]), clock, cap_s=60)
    assert warm.stable
    assert warm.spread <= STABLE
    assert warm.queries >= 2 + 6 + 3


def test_an_unsteady_query_ends_at_the_cap_and_says_so(clock):
    swinging = [0.06, 0.06] + [0.06, 0.09] * 100
    warm = warm_up(query(clock, swinging), clock, cap_s=1.0)
    assert not warm.stable
    assert warm.spread > STABLE
    assert 1.0 <= warm.seconds < 1.2


def test_a_long_query_still_gets_three_windows(clock):
    warm = warm_up(query(clock, [5.0]), clock, cap_s=1.0)
    assert (warm.queries, warm.stable) == (5, True)


@pytest.mark.parametrize(
    ("seconds", "least", "patience", "count"),
    [
        (0.05, 1, 1, 5),
        (0.001, 1, 1, 1),
        (0.05, 20, 1, 20),
        (0.05, 200, 1, 100),
    ],
    ids=["by time", "at least one", "goes on for the least", "but not for ever"],
)
def test_length_of_a_round(clock, seconds, least, patience, count):
    measured = measure(query(clock, [0.01]), clock, seconds, least, patience)
    assert abs(len(measured.latencies_us) - count) <= 1
    assert measured.latencies_us[0] == pytest.approx(10_000)
    assert measured.elapsed_s == pytest.approx(0.01 * len(measured.latencies_us))


def test_the_first_query_of_a_round_is_not_counted(clock):
    measured = measure(query(clock, [9.0, 0.01]), clock, 0.05, 1, 1)
    assert max(measured.latencies_us) == pytest.approx(10_000)
