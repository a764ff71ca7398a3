"""Threads that work on what they are given.

Unlike those of `concurrent.futures` they go on when the main thread has ended and others still run, as in a
program that starts a thread for each camera and has nothing else to do.
"""

import queue
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_WAIT_S = 0.5


class Task(Generic[T]):
    """Work that a thread does, or has done.

    Args:
        work: What to do.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work: Callable[[], T] | None = work
        self._ended = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    @property
    def done(self) -> bool:
        """Whether it is done, or failed."""
        return self._ended.is_set()

    @property
    def made(self) -> list[T]:
        """The result, alone in a list; empty where there is none, or none yet."""
        return self._result

    def run(self) -> None:
        """Do the work; an error is kept for `result`."""
        assert self._work is not None
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
        self._work = None
        self._ended.set()

    def result(self) -> T:
        """Wait for the result; raise what the work raised."""
        while not self._ended.wait(_WAIT_S):  # the timeout lets Ctrl-C through on every system
            pass
        error, self._error = self._error, None
        if error is None:
            return self._result[0]
        try:
            raise error
        finally:
            del error, self  # its traceback holds this frame, and so what the work has in hands


class Worker(threading.Thread):
    """A thread of a crew."""


class Crew:
    """Some threads that share what is to be done. Those of a crew that is dropped or closed end.

    Args:
        count: How many threads.
        name: Their name.
        outlived: Whether a program that ends closes the crew first, since threads that compute while the
            interpreter is taken down can crash it. Not for a crew that others wait for while they are closed.
    """

    def __init__(self, count: int, name: str, *, outlived: bool = True) -> None:
        self._todo: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        threads = [Worker(target=_work_off, args=(self._todo,), name=name, daemon=True) for _ in range(count)]
        self._dismissed = weakref.finalize(self, _dismiss, self._todo, threads)
        self._dismissed.atexit = outlived
        for thread in threads:
            thread.start()

    def submit(self, work: Callable[[], T]) -> Task[T]:
        """Let a thread do something."""
        task = Task(work)
        self._todo.put(task)
        return task

    def close(self) -> None:
        """Forget what hasn't been begun, and wait for the rest, unless Ctrl-C comes twice."""
        self._dismissed()


def _work_off(todo: "queue.SimpleQueue[Task | None]") -> None:
    while (task := todo.get()) is not None:
        task.run()
        del task  # a result isn't held until the next one


def _dismiss(todo: "queue.SimpleQueue[Task | None]", threads: Sequence[threading.Thread]) -> None:
    interrupts: list[KeyboardInterrupt] = []
    try:
        while True:
            todo.get_nowait()
    except queue.Empty:
        pass
    for _ in threads:
        todo.put(None)
    if isinstance(threading.current_thread(), Worker):
        return  # a dropped crew that is collected in such a thread, which others may wait for
    for thread in threads:
        while thread.is_alive() and len(interrupts) < 2:  # work that hangs, as on a network share, is left
            try:
                thread.join(_WAIT_S)
            except KeyboardInterrupt as error:
                interrupts.append(error)
    if interrupts:
        raise interrupts[0]
