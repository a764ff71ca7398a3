import gc
import itertools
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


class Fours:
    """Gathers four items into a group."""

    def __init__(self):
        self.held = []

    def add(self, item):
        self.held.append(item)
        return self.rest() if len(self.held) == 4 else []

    def rest(self):
        held, self.held = self.held, []
        return held


def plus_ones(pipeline, items, workers=2):
    """Prepare and judge: each adds one."""

    def prepare(value):
        with pipeline.core():
            return value + 1

    def judge(values):
        with pipeline.core():
            return [value + 1 for value in values]

    source = pipeline.metered(items)
    return itertools.chain.from_iterable(pipeline.flow(source, [prepare] * workers, Fours(), judge))


@pytest.mark.parametrize("cores", [1, 2, 5])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("count", [0, 1, 4, 201])
def test_order_is_preserved(cores, workers, count):
    with Pipeline(cores) as pipeline:
        assert list(plus_ones(pipeline, range(count), workers)) == [i + 2 for i in range(count)]


@pytest.mark.parametrize("slow", ["prepare", "judge"])
def test_results_that_come_out_of_turn_are_put_in_order(slow):
    def prepare(value):
        time.sleep(0.01 * (slow == "prepare" and value % 2 == 0))
        return value

    def judge(values):
        time.sleep(0.02 * (slow == "judge" and values[0] % 8 == 0))
        return values

    with Pipeline(2) as pipeline:
        groups = list(pipeline.flow(range(22), [prepare] * 3, Fours(), judge))
    assert groups == [list(range(i, min(i + 4, 22))) for i in range(0, 22, 4)]


def test_threads_judge_side_by_side():
    both = threading.Barrier(2, timeout=5)

    def judge(values):
        both.wait()
        return values

    with Pipeline(2) as pipeline:
        assert len(list(pipeline.flow(range(16), [lambda value: value] * 2, Fours(), judge))) == 4


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("good", [0, 1, 50])
def test_error_of_the_source_comes_behind_what_came_before_it(good, workers):
    def items():
        yield from range(good)
        raise KeyError("broken")

    found = []
    with Pipeline(2) as pipeline, pytest.raises(KeyError, match="broken"):
        found.extend(plus_ones(pipeline, items(), workers))
    assert found == [i + 2 for i in range(good)]


@pytest.mark.parametrize("workers", [1, 3])
def test_error_of_prepare_ends_the_flow_at_its_place(workers):
    def fail_at_seven(value):
        if value >= 7:
            raise ValueError(str(value))
        return value

    found = []
    with Pipeline(2) as pipeline, pytest.raises(ValueError, match="7"):
        found.extend(pipeline.flow(range(100), [fail_at_seven] * workers, Fours(), list))
    assert found == [[0, 1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("workers", [1, 3])
def test_error_of_judge_ends_the_flow_at_its_group(workers):
    def fail_at_twelve(values):
        if values[0] >= 12:
            raise ValueError(str(values[0]))
        return values

    found = []
    with Pipeline(2) as pipeline, pytest.raises(ValueError, match="12"):
        found.extend(pipeline.flow(itertools.count(), [int] * workers, Fours(), fail_at_twelve))
    assert found == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]


def test_error_in_the_block_stops_everything():
    def interrupted():
        with Pipeline(2) as pipeline:
            for _ in plus_ones(pipeline, iter(int, 1)):
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()


def test_a_generator_that_is_dropped_stops_its_threads():
    def numbers():
        with Pipeline(2) as pipeline:
            yield from plus_ones(pipeline, iter(int, 1))

    stream = numbers()
    assert next(stream) == 2
    assert threading.active_count() > 1
    del stream


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_taken_ahead_is_bounded(workers):
    taken = []

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    with Pipeline(2) as pipeline:
        stream = pipeline.flow(items(), [lambda value: value] * workers, Fours(), list)
        assert next(stream) == [0, 1, 2, 3]
        settle(taken)
        # The group handed out, one per thread that is held ready, one in each thread's hands, a group that
        # isn't complete yet, and two items per thread that wait for one before them.
        assert len(taken) <= 4 * (1 + 2 * workers) + 3 + 2 * workers


def test_a_slow_item_is_not_run_far_ahead_of():
    taken, release = [], threading.Event()

    def items():
        for i in range(1000):
            taken.append(i)
            yield i

    def first_waits(value):
        if value == 0:
            release.wait(5)
        return value

    with Pipeline(2) as pipeline:
        stream = pipeline.flow(items(), [first_waits] * 2, Fours(), list)
        settle(taken)
        assert len(taken) <= 5
        release.set()
        assert next(stream) == [0, 1, 2, 3]


def settle(values):
    """Wait until nothing is added for a while."""
    count = -1
    while len(values) != count:
        count = len(values)
        time.sleep(0.05)


@pytest.mark.parametrize("method", ["add", "rest"])
def test_error_of_gathering_reaches_the_caller(method):
    def fail(*_):
        raise ValueError("gather")

    gather = Fours()
    setattr(gather, method, fail)
    with Pipeline(2) as pipeline, pytest.raises(ValueError, match="gather"):
        list(pipeline.flow(range(3), [int] * 3, gather, list))


def test_after_an_error_the_rest_of_the_source_is_left(monkeypatch):
    taken = []

    def items():
        for i in range(100_000):
            taken.append(i)
            yield i

    def fail(_):
        raise ValueError("broken")

    with Pipeline(2) as pipeline:
        stream = pipeline.flow(items(), [int] * 2, Fours(), fail)
        settle(taken)
        assert len(taken) < 50
        with pytest.raises(ValueError, match="broken"):
            next(stream)


def test_nobody_waits_for_a_timeout(monkeypatch):
    """Whoever can go on is woken: no result comes late because a notification is missing."""
    monkeypatch.setattr("fauxface.pipeline._WAIT_S", 60)
    start = time.monotonic()
    for cores, workers in ((1, 3), (2, 2), (3, 4)):
        with Pipeline(cores) as pipeline:
            assert len(list(plus_ones(pipeline, range(300), workers))) == 300
        with Pipeline(cores) as pipeline, pytest.raises(ZeroDivisionError):
            list(pipeline.flow(range(300), [lambda value: 1 // (250 - value)] * workers, Fours(), list))
        with Pipeline(cores) as pipeline:
            next(plus_ones(pipeline, itertools.count(), workers))
    assert time.monotonic() - start < 30


def test_a_second_interrupt_waits_for_the_threads(monkeypatch):
    inside, leave = threading.Event(), threading.Event()

    def slow(value):
        inside.set()
        leave.wait(5)
        return value

    pipeline = Pipeline(2)
    pipeline.flow(range(9), [slow], Fours(), list)
    assert inside.wait(5)
    waits = iter([KeyboardInterrupt, None])
    real = pipeline._ended.wait

    def interrupted(timeout):
        if next(waits, None) is not None:
            raise KeyboardInterrupt
        leave.set()
        return real(timeout)

    monkeypatch.setattr(pipeline._ended, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipeline.close()
    assert leave.is_set()
    assert not pipeline._running


@pytest.mark.parametrize("launched", [True, False])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_while_a_thread_starts_leaves_nothing_waiting(monkeypatch, launched, error):
    start = threading.Thread.start

    def starting(thread):
        if launched:
            start(thread)
        raise error

    def opened():
        with Pipeline(2) as pipeline:
            monkeypatch.setattr(threading.Thread, "start", starting)
            pipeline.flow(itertools.count(), [abs], Fours(), list)

    before = threading.active_count()
    with pytest.raises(error):
        opened()
    assert threading.active_count() == before


def test_a_pipeline_may_be_closed_in_a_thread_of_its_own():
    """As the garbage collector does it, in whatever thread it happens to run."""
    with Pipeline(2) as pipeline:

        def prepare(value):
            pipeline.close()
            return value

        stream = pipeline.flow(range(9), [prepare], Fours(), list)
        while pipeline._running:
            time.sleep(0.001)
        del stream


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


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8)])
def test_half_of_the_cores_decode(cores, threads):
    assert decoding_threads(cores) == threads


def said_by(program):
    """Return what a program of its own writes to standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout, done.stderr


def test_program_may_end_while_a_pipeline_is_open():
    code = (
        "import itertools, time\n"
        "from fauxface.pipeline import Pipeline\n"
        "pipeline = Pipeline(2).__enter__()\n"
        "class Single:\n"
        "    add = staticmethod(lambda item: [item])\n"
        "    rest = staticmethod(list)\n"
        "stream = pipeline.flow(itertools.count(), [int, int], Single(), sum)\n"
        "print(next(stream))\n"
    )
    assert said_by(code) == ("0\n", "")


def test_program_may_end_while_a_thread_waits_for_a_result():
    """It gets no error then that it might recover from, such as by opening its camera again."""
    code = (
        "import threading, time\n"
        "from fauxface.pipeline import newest\n"
        "waiting = threading.Event()\n"
        "def frames():\n"
        "    waiting.set()\n"
        "    time.sleep(0.3)\n"
        "    yield 1\n"
        "def watch():\n"
        "    try:\n"
        "        list(newest(frames()))\n"
        "    except Exception as error:\n"
        "        print(repr(error))\n"
        "threading.Thread(target=watch, daemon=True).start()\n"
        "waiting.wait()\n"
    )
    assert said_by(code) == ("", "")
