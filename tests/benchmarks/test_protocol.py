import sys
import time
from pathlib import Path

import pytest
from serve import Server, timed

import protocol
from protocol import Worker, WorkerError

FAKE = str(Path(__file__).parent / "fake_worker.py")


def open_fake(configuration="fake", options=None, **settings):
    return Worker("peer", sys.executable, FAKE, configuration, options or {}, **settings)


def test_a_worker_prepares_answers_and_times(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/own/code")
    with open_fake() as worker:
        assert worker.versions == {"pytest": pytest.__version__, "threads": 3}
        assert worker.ask("prepare", case="a", spec={"value": 7}) is None
        assert worker.ask("answer", case="a") == {"value": 7, "pythonpath": None}
        found = worker.ask("time", case="a", seconds=0.0, least=4, lead=1)
        assert found["units"] == [2] * 4
        assert len(found["seconds"]) == 4
        assert all(value >= 0 for value in found["seconds"])
    with open_fake(own_code=True) as worker:
        worker.ask("prepare", case="a", spec={})
        assert worker.ask("answer", case="a")["pythonpath"] == "/own/code"


@pytest.mark.parametrize(
    ("configuration", "options", "message"),
    [
        ("fake", {"broken": True}, "peer: RuntimeError: no such library"),
        ("absent", {}, "peer: KeyError: 'absent'"),
    ],
)
def test_a_configuration_that_cannot_be_opened_is_named(configuration, options, message):
    with pytest.raises(WorkerError) as raised:
        open_fake(configuration, options)
    assert str(raised.value) == message


def test_a_missing_interpreter_is_named(tmp_path):
    with pytest.raises(WorkerError, match=r"can't start .*absent: No such file"):
        Worker("peer", tmp_path / "absent", FAKE, "fake", {})


def test_an_error_leaves_the_worker_usable_and_its_end_is_told():
    with open_fake() as worker:
        with pytest.raises(WorkerError, match="peer: KeyError: 'unknown'"):
            worker.ask("answer", case="unknown")
        with pytest.raises(WorkerError, match="peer: ValueError: unknown request 'dance'"):
            worker.ask("dance")
        worker.ask("prepare", case="a", spec={"exit": True})
        with pytest.raises(WorkerError, match="peer ended: last words"):
            worker.ask("answer", case="a")


def test_a_worker_that_hangs_is_ended():
    with open_fake() as worker:
        worker.ask("prepare", case="a", spec={"sleep": 30})
        worker._timeout = 0.2
        start = time.monotonic()
        with pytest.raises(WorkerError, match=r"took more than 0\.2 s"):
            worker.ask("answer", case="a")
        assert time.monotonic() - start < 10


@pytest.mark.skipif(not hasattr(protocol.signal, "SIGSTOP"), reason="the system can't stop processes")
def test_a_worker_stands_still_between_requests():
    with open_fake("ticking") as worker:
        worker.ask("prepare", case="a", spec={"sleep": 0.05})
        before = worker.ask("answer", case="a")
        time.sleep(0.6)
        worker.ask("prepare", case="b", spec={})
        after = worker.ask("answer", case="b")
    assert before > 0
    assert after - before < 150, "its thread went on counting while another worker's turn was"


class Counting:
    packages, threads = (), None

    def __init__(self):
        self.count = 0

    def prepare(self, case, spec):
        pass

    def run(self, case):
        self.count += 1
        time.sleep(0.002)
        return self.count

    def units(self, outcome):
        return outcome

    def answer(self, outcome):
        return outcome


def test_timing_goes_on_for_the_seconds_and_leaves_the_lead_out():
    counting = Counting()
    found = timed(counting, "a", 0.02, 1, 2)
    assert found["units"] == list(range(3, counting.count + 1))
    assert sum(found["seconds"]) >= 0.02
    assert sum(found["seconds"][:-1]) < 0.02


def test_nothing_is_done_before_a_configuration_is_open():
    with pytest.raises(RuntimeError, match="asked to time before"):
        Server({}).handle({"do": "time", "case": "a"})
