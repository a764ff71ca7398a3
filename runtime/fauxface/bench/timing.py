"""Running a query until it is warm, then for a round; the clock is handed in."""

import math
import statistics
from collections.abc import Callable

from fauxface.bench.results import Round, WarmUp
from fauxface.bench.stats import spread

Clock = Callable[[], float]
"""Seconds from any fixed point, as `time.perf_counter` gives them."""

Query = Callable[[], object]
"""One query of a scenario; when it returns, the answer is complete."""

STABLE = 0.05
"""Largest spread of the last three windows' medians that counts as stable."""

STABLE_WINDOWS = 3
WINDOW_S = 0.05
WARM_UP_CAP_S = 1.5

_WINDOW_MOST = 500
_ROUND_MOST = 20_000
_SETTLE = 1


def warm_up(query: Query, clock: Clock, cap_s: float = WARM_UP_CAP_S) -> WarmUp:
    """Run a query until the medians of its last three windows lie within 5 %, or the cap is reached.

    A window is as many queries as take about 50 ms, at least one. At least three windows are run.

    Args:
        query: The query; its first run, which allocates and compiles, isn't looked at.
        clock: The clock.
        cap_s: Seconds after which no further window is begun.
    """
    start = clock()
    query()
    first = clock()
    query()
    size = min(_WINDOW_MOST, max(1, math.ceil(WINDOW_S / max(clock() - first, 1e-7))))
    queries, medians = 2, []
    while True:
        times = []
        for _ in range(size):
            before = clock()
            query()
            times.append(clock() - before)
        queries += size
        medians.append(max(statistics.median(times), 1e-9))
        if len(medians) < STABLE_WINDOWS:
            continue
        seconds = clock() - start
        last = spread(medians[-STABLE_WINDOWS:])
        if last <= STABLE or seconds >= cap_s:
            return WarmUp(queries, round(seconds, 4), round(last, 4), last <= STABLE)


def measure(query: Query, clock: Clock, seconds: float, least: int, patience_s: float) -> Round:
    """Run a query back to back for a round.

    One query goes before, unmeasured: the configuration that ran just now left its own data in the caches.

    Args:
        query: The query.
        clock: The clock.
        seconds: How long the round lasts; at least one query is measured.
        least: Queries below which the round goes on beyond `seconds` ...
        patience_s: ... up to so many seconds.
    """
    for _ in range(_SETTLE):
        query()
    latencies: list[float] = []
    start = now = clock()
    while len(latencies) < _ROUND_MOST:
        query()
        after = clock()
        latencies.append(after - now)
        now = after
        gone = now - start
        if gone >= seconds and (len(latencies) >= least or gone >= patience_s):
            break
    return Round(round(now - start, 6), tuple(max(round(value * 1e6, 1), 0.1) for value in latencies))
