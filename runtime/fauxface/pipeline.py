"""Overlapping stages: threads for each, bounded queues between them, and a budget of cores for all."""

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Self, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

_WAIT_S = 0.5


class _StoppedError(Exception):
    """Ends the threads of a pipeline that is closed."""


class _Channel(Generic[T]):
    """What one stage has ready for the next, by its place in the order; the pipeline's lock guards it."""

    def __init__(self, depth: int, cost: Callable[[T], float] | None, limit: float) -> None:
        self.turn = threading.Lock()
        self.taken = self.given = 0
        self.end: int | None = None
        self.error: BaseException | None = None
        self._ready: dict[int, tuple[T, float]] = {}
        self._depth, self._limit = depth, limit
        self._cost = cost or (lambda _: 0.0)

    def has_room(self, place: int) -> bool:
        """Tell whether the item at a place may be put; the one that is next in order always may."""
        cost = sum(cost for _, cost in self._ready.values())
        return place == self.given or (place < self.given + self._depth and cost < self._limit)

    def is_due(self) -> bool:
        return self.given in self._ready or self.given == self.end

    def put(self, place: int, item: T) -> None:
        self._ready[place] = item, self._cost(item)

    def get(self) -> T:
        item, _ = self._ready.pop(self.given)
        self.given += 1
        return item

    def finish(self, place: int, error: BaseException | None) -> None:
        """Let the stage end before a place, unless it ends before an earlier one."""
        if self.end is None or place < self.end:
            self.end, self.error = place, error


class Pipeline:
    """Runs stages that overlap; use it as a context manager.

    ONNX Runtime, OpenCV and FFmpeg release Python's lock while they work, so threads are enough. Order is
    preserved. An error of a stage reaches whoever takes from it, behind all that came before it. Leaving the
    block stops every thread, wherever it waits, and joins it: at most one call of each thread is still
    finished. A program that ends while a pipeline is open closes it first.

    Stages take cores for their heavy calls (`core`), first come, first served, so that never more threads
    compute than there are cores, however many stages there are: one that asks for all of them, such as an
    inference on all cores, runs alone.

    Args:
        cores: How many cores there are to share, at least 1.
    """

    def __init__(self, cores: int) -> None:
        self.cores = max(1, cores)
        self._free = self.cores
        self._tickets: deque[object] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        _open_pipelines.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all stages and wait for their threads."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        _open_pipelines.discard(self)

    @contextmanager
    def core(self, wanted: int = 1) -> Iterator[None]:
        """Hold cores while the block runs; waits for its turn.

        Args:
            wanted: How many; all of them where there are fewer. A block must not take from a stage meanwhile,
                which might wait for these very cores.
        """
        wanted, ticket = max(1, min(wanted, self.cores)), object()
        with self._changed:
            self._tickets.append(ticket)
            try:
                self._wait(lambda: self._tickets[0] is ticket and self._free >= wanted)
                self._free -= wanted
            finally:
                self._tickets.remove(ticket)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()

    def metered(self, items: Iterable[T], cores: int = 1) -> Iterator[T]:
        """Take each item on cores of the budget."""
        source = iter(items)
        end = object()
        while True:
            with self.core(cores):
                item = next(source, end)
            if item is end:
                return
            yield cast("T", item)

    def stage(
        self,
        items: Iterable[T],
        depth: int,
        *,
        cost: Callable[[T], float] | None = None,
        limit: float = float("inf"),
    ) -> Iterator[T]:
        """Take the items in a thread of their own, ahead of whoever takes them from here.

        Args:
            items: What to take; usually a generator that does this stage's work.
            depth: Most items that are held ready.
            cost: The cost of an item, for example its pixels.
            limit: Nothing more is taken ahead while the items held ready cost this much.

        Yields:
            The items, in order.
        """
        return self.spread([lambda item: item], items, depth, cost=cost, limit=limit)

    def spread(
        self,
        workers: Sequence[Callable[[T], U]],
        items: Iterable[T],
        depth: int,
        *,
        cost: Callable[[U], float] | None = None,
        limit: float = float("inf"),
    ) -> Iterator[U]:
        """Work on the items in several threads, ahead of whoever takes them from here.

        Args:
            workers: A function for each thread; any of them may get any item, one at a time.
            items: What to work on; taken by one thread at a time.
            depth: Most results that are held ready.
            cost: The cost of a result, for example its pixels.
            limit: Nothing more is done ahead while the results held ready cost this much.

        Yields:
            The results, in the order of the items.
        """
        channel: _Channel[U] = _Channel(depth, cost, limit)
        source = iter(items)
        for worker in workers:
            self._start(self._work, channel, source, worker)
        return self._drain(channel)

    def newest(self, items: Iterable[T]) -> Iterator[T]:
        """Take the items as fast as they come; yield the newest, and drop those that nobody took in time."""
        channel: _Channel[T] = _Channel(1, None, float("inf"))
        self._start(self._replace, channel, iter(items))
        return self._drain(channel)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        self._threads.append(threading.Thread(target=target, args=arguments, daemon=True))
        self._threads[-1].start()

    def _work(self, channel: _Channel[U], items: Iterator[T], function: Callable[[T], U]) -> None:
        place = 0
        try:
            while True:
                with channel.turn:
                    place = channel.taken
                    if channel.end is not None:
                        return
                    item = next(items)
                    channel.taken += 1
                result = function(item)
                del item
                with self._changed:
                    self._wait(lambda place=place: channel.has_room(place))
                    channel.put(place, result)
                    self._changed.notify_all()
                del result  # so that it isn't held while the next one is made
        except (StopIteration, _StoppedError):
            self._finish(channel, place, None)
        except BaseException as error:
            self._finish(channel, place, error)

    def _replace(self, channel: _Channel[T], items: Iterator[T]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                with self._changed:
                    if self._stopped:
                        return
                    channel.put(channel.given, item)
                    self._changed.notify_all()
        except BaseException as problem:
            error = problem
        with self._changed:
            channel.finish(channel.given + channel.is_due(), error)
            self._changed.notify_all()

    def _finish(self, channel: _Channel[Any], place: int, error: BaseException | None) -> None:
        with self._changed:
            channel.finish(place, error)
            self._changed.notify_all()

    def _drain(self, channel: _Channel[T]) -> Iterator[T]:
        while True:
            with self._changed:
                self._wait(channel.is_due)
                if channel.given == channel.end:
                    break
                item = channel.get()
                self._changed.notify_all()
            yield item
            del item
        if channel.error is not None:
            raise channel.error

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Wait until something is so; the timeout lets Ctrl-C through where a lock isn't interruptible."""
        while not self._stopped and not ready():
            self._changed.wait(_WAIT_S)
        if self._stopped:
            raise _StoppedError


def newest(items: Iterable[T]) -> Generator[T, None, None]:
    """Take items as fast as they come and hand out the newest, dropping those that nobody took in time.

    For cameras and live streams: a slow consumer then sees recent frames instead of a growing backlog. Close
    the generator before what it takes from.
    """
    with Pipeline(1) as pipeline:
        yield from pipeline.newest(items)


def decoding_threads(cores: int) -> int:
    """Return how many of the cores decode a file: half of them, since the other stages need the rest."""
    return max(1, cores // 2)


_open_pipelines: "weakref.WeakSet[Pipeline]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    # A daemon thread that still computes while the interpreter is taken down can crash it.
    for pipeline in list(_open_pipelines):
        pipeline.close()
