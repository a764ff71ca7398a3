"""Signals that end a run between two steps."""

import signal

import pytest

torch = pytest.importorskip("torch")

from fauxface.errors import CheckpointError  # noqa: E402
from fauxface_train.run_state import interruptible, read_resume  # noqa: E402


@pytest.fixture
def hang_up():
    """Set and return what SIGHUP does before a run, whatever `nohup` told this process."""
    before = signal.getsignal(signal.SIGHUP)
    yield lambda handler: signal.signal(signal.SIGHUP, handler)
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_is_an_event_and_what_was_there_comes_back(number, hang_up):
    hang_up(signal.SIG_DFL)
    before = signal.getsignal(number)
    with interruptible() as event:
        assert not event.is_set()
        signal.raise_signal(number)
        assert event.is_set()
        assert signal.getsignal(number) == before
    assert signal.getsignal(number) == before


def test_a_hang_up_that_is_ignored_stays_ignored(hang_up):
    hang_up(signal.SIG_IGN)
    with interruptible() as event:
        signal.raise_signal(signal.SIGHUP)
        assert not event.is_set()


def test_a_torch_file_of_something_else_is_no_run(tmp_path):
    torch.save({"weights": torch.zeros(2)}, tmp_path / "resume.pt")
    with pytest.raises(CheckpointError, match="is corrupt \\(not of a training run\\)"):
        read_resume(tmp_path)
