import gc
import subprocess
import sys
import textwrap
import threading
import weakref

import pytest

from fauxface.crew import Crew
from fauxface.pipeline import Pipeline


def test_results_and_errors_come_back():
    crew = Crew(2, "crew")
    tasks = [crew.submit(lambda n=n: 6 // n) for n in (0, 1, 2, 3)]
    with pytest.raises(ZeroDivisionError):
        tasks[0].result()
    assert [task.result() for task in tasks[1:]] == [6, 3, 2]
    assert all(task.done for task in tasks)
    assert [task.made for task in tasks] == [[], [6], [3], [2]]
    crew.close()


@pytest.mark.parametrize("end", ["close", "drop"])
def test_its_threads_end_with_it_and_what_was_not_begun_is_forgotten(end):
    before, gate, ran = threading.active_count(), threading.Event(), []
    crew = Crew(1, "crew")
    begun = threading.Event()

    def wait():
        begun.set()
        gate.wait(10)
        ran.append("first")

    first = crew.submit(wait)
    assert begun.wait(10)
    later = crew.submit(lambda: ran.append("later"))
    threading.Timer(0.05, gate.set).start()
    if end == "close":
        crew.close()
    else:
        gc.disable()
        del crew
        gc.enable()
    assert first.done
    assert not later.done
    assert ran == ["first"]
    while threading.active_count() > before:  # the timer's
        pass


def test_a_crew_that_is_collected_in_one_of_its_own_threads_does_not_wait_for_itself():
    crews = [Crew(2, "crew")]
    task = crews[0].submit(crews.clear)
    task.result()
    assert task.done


def test_a_pipeline_that_is_collected_in_a_crews_thread_waits_for_nobody():
    """Its threads may wait for that very one, as those of a video wait for the GPU's."""
    crew, asked, closed = Crew(1, "crew"), threading.Event(), threading.Event()
    pipeline = Pipeline(2).__enter__()
    crew.submit(lambda: (asked.wait(10), pipeline.close(), closed.set()))  # before what waits for its thread
    pipeline.newest(waiting_for(crew, asked))
    assert closed.wait(10)
    pipeline.close()  # before the crew, for whose thread the pipeline's waits
    crew.close()


def waiting_for(crew, asked):
    asked.set()
    crew.submit(lambda: None).result()
    yield 1


def test_a_failed_task_holds_nothing_that_its_work_had_in_hands():
    class Pixels:
        pass

    def fail():
        pixels = Pixels()
        held.append(weakref.ref(pixels))
        raise ValueError("broken")

    held = []
    crew = Crew(1, "crew")
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(ValueError, match="broken") as caught:
            crew.submit(fail).result()
        caught.value.__traceback__ = None
        del caught
        crew.close()
        assert held[0]() is None
    finally:
        gc.enable()


def test_work_that_hangs_is_left_at_a_second_interrupt(monkeypatch):
    gate, joins = threading.Event(), []
    crew = Crew(1, "crew")
    crew.submit(lambda: gate.wait(10))

    def interrupted(thread, timeout=None):
        joins.append(timeout)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        crew.close()
    assert len(joins) == 2
    gate.set()


def test_it_works_when_the_main_thread_has_ended():
    """`concurrent.futures` refuses work then: a program with a thread for each camera would lose them all."""
    program = """
        import threading
        from fauxface.crew import Crew

        def camera():
            threading.main_thread().join()
            crew = Crew(2, "crew")
            print([crew.submit(lambda n=n: n * n).result() for n in range(3)])

        threading.Thread(target=camera).start()
    """
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "[0, 1, 4]\n", "")
