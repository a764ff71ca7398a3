import gc
import subprocess
import sys
import threading
import time

import pytest

from fauxface.pipeline import Pipeline, decoding_threads, newest


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = threading.active_count()
    yield
    gc.collect()
    assert threading.active_count() == before


def chain(pipeline, items, workers=1, depth=3, **options):
    """Two stages that each add one; the first in several threads."""

    def add(value):
        with pipeline.core():
            return value + 1

    return pipeline.stage(map(add, pipeline.spread([add] * workers, items, depth, **options)), depth)


@pytest.mark.parametrize("cores", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 200])
def test_order_is_preserved(cores, workers, count):
    with Pipeline(cores) as pipeline:
        assert list(chain(pipeline, range(count), workers)) == [i + 2 for i in range(count)]


def test_results_that_come_out_of_turn_are_put_in_order():
    def slow_when_even(value):
        time.sleep(0.01 * (value % 2 == 0))
        return value

    with Pipeline(2) as pipeline:
        assert list(pipeline.spread([slow_when_even] * 3, range(20), 4)) == list(range(20))


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("good", [0, 1, 50])
def test_error_of_the_source_comes_behind_what_came_before_it(good, workers):
    def items():
        yield from range(good)
        raise KeyError("broken")

    found = []
    with Pipeline(2) as pipeline, pytest.raises(KeyError, match="broken"):
        found.extend(chain(pipeline, items(), workers))
    assert found == [i + 2 for i in range(good)]


@pytest.mark.parametrize("workers", [1, 3])
def test_error_of_a_worker_ends_the_stage_at_its_place(workers):
    def fail_at_seven(value):
        if value >= 7:
            raise ValueError(str(value))
        return value

    found = []
    with Pipeline(2) as pipeline, pytest.raises(ValueError, match="7"):
        found.extend(pipeline.spread([fail_at_seven] * workers, range(100), 4))
    assert found == list(range(7))


def test_error_in_the_block_stops_everything():
    def interrupted():
        with Pipeline(2) as pipeline:
            for _ in chain(pipeline, iter(int, 1)):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_generator_that_is_dropped_stops_its_threads():
    def numbers():
        with Pipeline(2) as pipeline:
            yield from chain(pipeline, iter(int, 1), workers=2)

    stream = numbers()
    assert next(stream) == 2
    assert threading.active_count() > 1
    del stream


@pytest.mark.parametrize(("depth", "limit", "most"), [(4, float("inf"), 4), (100, 30, 3), (100, 1, 1)])
def test_what_is_taken_ahead_is_bounded(depth, limit, most):
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    with Pipeline(2) as pipeline:
        stream = pipeline.stage(items(), depth, cost=lambda _: 10, limit=limit)
        assert next(stream) == 0
        settle(taken)
        # Those held ready, the one handed out, and the one that waits for room.
        assert len(taken) == most + 2


def settle(values):
    """Wait until nothing is added for a while."""
    count = -1
    while len(values) != count:
        count = len(values)
        time.sleep(0.05)


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_no_more_cores_are_held_than_there_are(cores):
    lock, held, peak = threading.Lock(), 0, 0

    def work(wanted):
        nonlocal held, peak
        for _ in range(30):
            with pipeline.core(wanted):
                with lock:
                    held += min(wanted, cores)
                    peak = max(peak, held)
                time.sleep(0.0005)
                with lock:
                    held -= min(wanted, cores)

    with Pipeline(cores) as pipeline:
        threads = [threading.Thread(target=work, args=(wanted,)) for wanted in (1, 1, 2, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert peak == cores


def test_one_that_wants_all_cores_is_not_passed_by():
    order = []

    def take(name, wanted):
        with pipeline.core(wanted):
            order.append(name)

    with Pipeline(2) as pipeline:
        threads = []
        with pipeline.core(1):
            for name, wanted in (("all", 2), ("late", 1)):
                threads.append(threading.Thread(target=take, args=(name, wanted)))
                threads[-1].start()
                while len(pipeline._tickets) < len(threads):
                    time.sleep(0.001)
            assert order == []
        for thread in threads:
            thread.join()
    assert order == ["all", "late"]


def test_cores_are_given_back_after_an_error():
    with Pipeline(1) as pipeline:
        with pytest.raises(ValueError, match="x"), pipeline.core():
            raise ValueError("x")
        with pipeline.core():
            pass


def test_newest_drops_what_nobody_took():
    seen, release = threading.Event(), threading.Semaphore(0)

    def frames():
        for i in range(6):
            release.acquire()
            yield i
        seen.set()

    stream = newest(frames())
    release.release()
    assert next(stream) == 0
    release.release(5)
    assert seen.wait(5)
    assert list(stream) == [5]


def test_newest_carries_the_error_behind_the_last_item():
    def frames():
        yield 1
        raise OSError("unplugged")

    stream = newest(frames())
    assert next(stream) == 1
    with pytest.raises(OSError, match="unplugged"):
        next(stream)


def test_newest_that_was_never_started_can_be_closed():
    newest(iter(())).close()


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_half_of_the_cores_decode(cores, threads):
    assert decoding_threads(cores) == threads


def test_program_may_end_while_a_pipeline_is_open():
    code = (
        "import itertools, time\n"
        "from fauxface.pipeline import Pipeline\n"
        "pipeline = Pipeline(2).__enter__()\n"
        "stream = pipeline.stage(pipeline.stage(itertools.count(), 2), 2)\n"
        "print(next(stream))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
