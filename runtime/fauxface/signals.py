"""Which process heeds the signals that end a program: the main one, as it heeds Ctrl-C; its workers don't."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDING = tuple(getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n))
"""The signals that end a program, as far as the system has them."""


@contextmanager
def ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt, so that all that was done until then is kept.

    A signal that is ignored, as SIGHUP under nohup, stays so.
    """
    before = {number: signal.getsignal(number) for number in ENDING}
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


@contextmanager
def uncut() -> Iterator[None]:
    """Let signals that end a program come too late for a short step that can't be cut in half."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ENDING}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        signal.signal(number, lambda *_: None)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, before[number])


def leave_to_the_main_process() -> None:
    """Ignore Ctrl-C, SIGTERM and SIGHUP, which may reach a whole group; call it in a worker process."""
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)
