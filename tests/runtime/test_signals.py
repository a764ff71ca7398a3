"""Which process heeds the signals that end a program."""

import signal

import pytest

from fauxface.signals import ENDING, ended_as_by_ctrl_c, leave_to_the_main_process, uncut

NUMBERS = list(ENDING)


@pytest.fixture(autouse=True)
def usual():
    """Signals as a new process has them, whatever `nohup` told this one to ignore."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in NUMBERS[1:]:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_ends_as_by_ctrl_c_and_puts_back_what_was_there(number):
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) is before


def test_an_ignored_signal_stays_ignored():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_as_by_ctrl_c():
        signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


@pytest.mark.parametrize("number", NUMBERS)
def test_a_worker_hears_none(number):
    leave_to_the_main_process()
    signal.raise_signal(number)
    assert signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", NUMBERS)
def test_a_step_that_cannot_be_cut_ends(number):
    before, ended = signal.getsignal(number), False
    with ended_as_by_ctrl_c(), uncut():
        signal.raise_signal(number)
        ended = True
    assert ended
    assert signal.getsignal(number) is before
