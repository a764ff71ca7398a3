"""Signals that end a run between two steps."""

import signal

import pytest

pytest.importorskip("torch")

from fauxface_train.run_state import interruptible


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
