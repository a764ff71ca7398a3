"""Work that overlaps: threads that each take an item from end to end, in order, on a budget of cores."""

import atexit
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, Protocol, Self, TypeVar, cast

from fauxface.crew import Worker

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")

_WAIT_S = 0.5


class Gather(Protocol[U]):
    """Gathers items, which come in order, into groups."""

    def add(self, item: U) -> list[U]:
        """Add an item; return the group that it completes, empty where it doesn't."""
        ...

    def rest(self) -> list[U]:
        """Return what is gathered and not yet a group."""
        ...


class _StoppedError(Exception):
    """Ends the threads of a pipeline that is closed."""


class _Channel(Generic[T]):
    """Results by their place in the order, between threads; the pipeline's lock guards it.

    Each kind of waiting has a condition of its own: to wake threads that find nothing to do would slow down
    those that compute.
    """

    def __init__(self, lock: threading.RLock, depth: int) -> None:
        self.given = 0
        self.end: int | None = None
        self.error: BaseException | None = None
        self.due, self.room = threading.Condition(lock), threading.Condition(lock)
        self._ready: dict[int, T] = {}
        self._depth = depth

    def has_room(self, place: int) -> bool:
        """Tell whether the item at a place may be put; the one that is next in order always may."""
        return place < self.given + self._depth

    def is_due(self) -> bool:
        return self.given in self._ready or self.given == self.end

    def put(self, place: int, item: T) -> None:
        self._ready[place] = item
        if place == self.given:
            self.due.notify()

    def get(self) -> T:
        item = self._ready.pop(self.given)
        self.given += 1
        self.room.notify_all()
        return item

    def finish(self, place: int, error: BaseException | None) -> None:
        """End before a place, unless it ends before an earlier one."""
        if self.end is None or place < self.end:
            self.end, self.error = place, error
        self.due.notify()
        self.room.notify_all()


class _Flow(Generic[T, U, V]):
    """What the threads of one `Pipeline.flow` share; the pipeline's lock guards all but the source."""

    def __init__(
        self,
        lock: threading.RLock,
        items: Iterator[T],
        gather: Gather[U],
        judge: Callable[[list[U]], V],
        workers: int,
    ) -> None:
        self.turn = threading.Lock()
        self.items, self.judge = items, judge
        self.taken = self.groups = 0
        self.prepared: _Channel[U] = _Channel(lock, 2 * workers)
        self.judged: _Channel[V] = _Channel(lock, workers)
        self._gather = gather

    def gather(self) -> list[tuple[int, list[U]]]:
        """Gather what is prepared and next in order; return the complete groups with their places."""
        prepared, groups = self.prepared, []
        while prepared.is_due() and prepared.given != prepared.end:
            groups.append(self._gather.add(prepared.get()))
        ended = prepared.given == prepared.end and self.judged.end is None
        if ended:
            groups.append(self._gather.rest())
        found = [group for group in groups if group]
        first, self.groups = self.groups, self.groups + len(found)
        if ended:
            self.judged.finish(self.groups, prepared.error)
        return list(enumerate(found, first))


class _Ticket:
    """A thread that waits for cores; the pipeline's lock guards it."""

    def __init__(self, lock: threading.RLock, wanted: int) -> None:
        self.wanted, self.served = wanted, False
        self.turn = threading.Condition(lock)


class Pipeline:
    """Runs work that overlaps; use it as a context manager.

    ONNX Runtime, OpenCV and FFmpeg release Python's lock while they work, so threads are enough. Order is
    preserved. An error reaches whoever takes the results, behind all that came before it. Leaving the block
    stops every thread, wherever it waits, and joins it: at most one call of each thread is still finished. A
    program that ends while a pipeline is open closes it first.

    Threads take cores for their heavy calls (`core`), first come, first served, so that never more of them
    compute than there are cores; one that asks for all, such as an inference on all cores, runs alone.

    Args:
        cores: How many cores there are to share, at least 1.
    """

    def __init__(self, cores: int) -> None:
        self.cores = max(1, cores)
        self._free = self.cores
        self._tickets: deque[_Ticket] = deque()
        # Reentrant: the garbage collector may close a dropped pipeline in a thread that holds it.
        self._lock = threading.RLock()
        self._ended = threading.Condition(self._lock)
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._running: set[threading.Thread] = set()
        self._channels: list[_Channel[Any]] = []

    def __enter__(self) -> Self:
        _open_pipelines.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop all threads and wait for them; a second Ctrl-C doesn't cut the waiting short.

        What the threads use, such as a decoder, may be released afterwards.
        """
        interrupt: KeyboardInterrupt | None = None
        with self._lock:
            self._stopped = True
            for channel in self._channels:
                channel.due.notify_all()
                channel.room.notify_all()
            for ticket in self._tickets:
                ticket.turn.notify()
            if threading.current_thread() in self._threads or isinstance(threading.current_thread(), Worker):
                return  # collected in one of its own threads, or in one that these may wait for
            while any(_launched(thread) for thread in self._running):
                try:
                    self._ended.wait(_WAIT_S)
                except KeyboardInterrupt as error:
                    interrupt = error
        for thread in filter(_launched, self._threads):
            thread.join()
        _open_pipelines.discard(self)
        if interrupt is not None:
            raise interrupt

    @contextmanager
    def core(self, wanted: int = 1) -> Iterator[None]:
        """Hold cores while the block runs; waits for its turn.

        Args:
            wanted: How many; all of them where there are fewer. The block must not take results, which might
                wait for these very cores.
        """
        ticket = _Ticket(self._lock, max(1, min(wanted, self.cores)))
        with self._lock:
            self._tickets.append(ticket)
            self._serve()
            try:
                self._wait(ticket.turn, lambda: ticket.served)
            except BaseException:
                self._give_back(ticket)
                raise
        try:
            yield
        finally:
            with self._lock:
                self._give_back(ticket)

    def _serve(self) -> None:
        """Give free cores to those who wait for them, in their order."""
        while self._tickets and self._tickets[0].wanted <= self._free:
            ticket = self._tickets.popleft()
            self._free -= ticket.wanted
            ticket.served = True
            ticket.turn.notify()

    def _give_back(self, ticket: _Ticket) -> None:
        """Take a ticket's cores back, or the ticket where it has none yet."""
        if ticket.served:
            self._free += ticket.wanted
        else:
            self._tickets.remove(ticket)
        self._serve()

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

    def flow(
        self,
        items: Iterable[T],
        workers: Sequence[Callable[[T], U]],
        gather: Gather[U],
        judge: Callable[[list[U]], V],
    ) -> Iterator[V]:
        """Prepare items, gather them into groups and judge the groups, in several threads.

        Each thread takes an item, prepares it and, where that completes a group, judges the group before it
        takes the next item. A thread per stage would hand every item over, and wake and sleep for it.

        Args:
            items: What to work on; taken by one thread at a time.
            workers: For each thread, the function that prepares an item; any of them may get any item.
            gather: Gathers the prepared items.
            judge: Judges a group; called by any thread.

        Yields:
            What `judge` gave for each group, in order. At most one group per thread is held ready, one per
            thread is in its hands, and two prepared items per thread aren't gathered yet.
        """
        flow = _Flow(self._lock, iter(items), gather, judge, len(workers))
        self._channels += [flow.prepared, flow.judged]
        for worker in workers:
            self._start(self._work, flow, worker)
        return self._drain(flow.judged)

    def newest(self, items: Iterable[T]) -> Iterator[T]:
        """Take the items as fast as they come; yield the newest, and drop those that nobody took in time."""
        channel: _Channel[T] = _Channel(self._lock, 1)
        self._channels.append(channel)
        self._start(self._replace, channel, iter(items))
        return self._drain(channel)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        def run() -> None:
            try:
                if not self._stopped:  # else what it would use may be released
                    target(*arguments)
            finally:
                with self._lock:
                    self._running.discard(thread)
                    self._ended.notify_all()

        thread = threading.Thread(target=run, daemon=True)
        with self._lock:
            # Known before it starts: Ctrl-C may come while it does, after which it runs all the same.
            self._threads.append(thread)
            self._running.add(thread)
            thread.start()

    def _work(self, flow: _Flow[T, U, V], prepare: Callable[[T], U]) -> None:
        try:
            while self._prepare(flow, prepare):
                with self._lock:
                    groups = flow.gather()
                while groups:
                    self._judge(flow, *groups.pop(0))
        except _StoppedError:
            pass
        except BaseException as error:  # of `gather`
            with self._lock:
                flow.judged.finish(flow.groups, error)

    def _prepare(self, flow: _Flow[T, U, V], prepare: Callable[[T], U]) -> bool:
        """Prepare the next item; return False where there is nothing left to do."""
        prepared = flow.prepared
        with flow.turn:
            place = flow.taken
            with self._lock:
                self._wait(prepared.room, lambda: prepared.end is not None or prepared.has_room(place))
                if prepared.end is not None or flow.judged.error is not None:
                    return False
            try:
                item = next(flow.items)
            except _StoppedError:
                raise
            except BaseException as error:
                with self._lock:
                    prepared.finish(place, None if isinstance(error, StopIteration) else error)
                return True
            flow.taken += 1
        try:
            result = prepare(item)
        except _StoppedError:
            raise
        except BaseException as error:
            with self._lock:
                prepared.finish(place, error)
            return True
        with self._lock:
            prepared.put(place, result)
        return True

    def _judge(self, flow: _Flow[T, U, V], place: int, group: list[U]) -> None:
        try:
            result = flow.judge(group)
        except _StoppedError:
            raise
        except BaseException as error:
            with self._lock:
                flow.judged.finish(place, error)
            return
        with self._lock:
            self._wait(flow.judged.room, lambda: flow.judged.has_room(place))
            flow.judged.put(place, result)

    def _replace(self, channel: _Channel[T], items: Iterator[T]) -> None:
        error: BaseException | None = None
        try:
            for item in items:
                with self._lock:
                    if self._stopped:
                        return
                    channel.put(channel.given, item)
        except BaseException as problem:
            error = problem
        with self._lock:
            channel.finish(channel.given + channel.is_due(), error)

    def _drain(self, channel: _Channel[T]) -> Iterator[T]:
        while True:
            try:
                with self._lock:
                    self._wait(channel.due, channel.is_due)
                    if channel.given == channel.end:
                        break
                    item = channel.get()
            except _StoppedError:
                # Only where the program ends while a thread waits: that thread ends, too, without a word.
                raise SystemExit from None
            yield item
            del item
        if channel.error is not None:
            raise channel.error

    def _wait(self, changed: threading.Condition, ready: Callable[[], bool]) -> None:
        """Wait until something is so; the timeout lets Ctrl-C through where a lock isn't interruptible."""
        while not self._stopped and not ready():
            changed.wait(_WAIT_S)
        if self._stopped:
            raise _StoppedError


def _launched(thread: threading.Thread) -> bool:
    """Tell whether a thread runs or ran; one whose start failed, or was interrupted too early, doesn't."""
    return thread.ident is not None


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
