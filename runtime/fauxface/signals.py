"""Which process heeds the signals that end a program: the main one, as it heeds Ctrl-C; its workers don't."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Names of the signals that end a program; not every system has all."""


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, so that all that was done until then is kept.

    A signal that is ignored, as SIGHUP under nohup, stays so.
    """
    numbers = [getattr(signal, name) for name in ENDING[1:] if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    ours = [number for number, handler in before.items() if handler == signal.SIG_DFL]
    if threading.current_thread() is not threading.main_thread():
        ours = []
    for number in ours:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def leave_to_the_main_process() -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP, which may reach a whole group; call it in a worker process."""
    for name in ENDING:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
