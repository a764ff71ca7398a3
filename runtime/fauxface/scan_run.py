"""One run of `fauxface scan`: goes through the items, writes results and annotated files, counts."""

import itertools
import os
import re
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext, suppress
from pathlib import Path

import numpy as np

from fauxface import images
from fauxface.annotate import draw
from fauxface.errors import FauxfaceError, NoFaceError, OutputError, SourceError, VideoError, printable
from fauxface.memory import told_alike
from fauxface.output import ResultLog, alone, annotated_paths
from fauxface.progress import Progress
from fauxface.recording import Recording, free, of_size, reserved
from fauxface.results import ItemError, Result
from fauxface.scan_items import Item
from fauxface.scanner import Scanner
from fauxface.signals import ENDING
from fauxface.sources import Kind, Source, fixed_folder, parse
from fauxface.table import Table, Tally
from fauxface.video import usable_fps, writable_size

EXIT_SOME_UNREADABLE, EXIT_INTERRUPTED = 3, 130


class ScanRun:
    """Scans items and writes what is found.

    Args:
        scanner: Judges the faces.
        place: What is scanned.
        items: What `list_items` found in it.
        table: Where rows and the summary go.
        log: The JSON Lines file, or None.
        to_stdout: Write JSON Lines to standard output instead.
        annotate: Folder of the annotated files, or None.
        every: Judge every N-th frame.
        max_frames: Stop a camera or stream after so many judged frames.
        locate_every: Search every N-th judged frame for faces as a whole, the others near the last boxes.
        overwrite: Replace annotated files that other scans made, and files that lie among them.

    Raises:
        OutputError: An output can't be written or would overwrite a source.
    """

    def __init__(
        self,
        scanner: Scanner,
        place: Source,
        items: list[Item],
        table: Table,
        *,
        log: ResultLog | None = None,
        to_stdout: bool = False,
        annotate: Path | None = None,
        every: int = 1,
        max_frames: int | None = None,
        locate_every: int = 1,
        overwrite: bool = False,
    ) -> None:
        self._scanner, self._place, self._table, self._overwrite = scanner, place, table, overwrite
        self._items = [item for item in items if item.kind != "aside"]
        self._log, self._to_stdout, self._every, self._max_frames = log, to_stdout, every, max_frames
        self._locate_every = locate_every
        self._batch = place.kind in (Kind.FOLDER, Kind.GLOB)
        self._tally = Tally()
        self._stop: BaseException | None = None
        self._ending = ExitStack()
        self._write: Callable[[Result], None] = self._write_stdout
        written = [] if log is None else [path for path in (log.path, log.part) if path.exists()]
        if log is not None and written and place.is_files:
            sources = {os.path.realpath(item.source) for item in items}
            if not sources.isdisjoint(map(os.path.realpath, written)):
                raise OutputError(f"{log.path} is a source of this scan; choose another file")
        if log is not None and not place.is_files:
            log.resume = "rename it, since cameras, streams and standard input can't be resumed"
        self._made: list[Path] = []
        self._reserved: list[Path] = []
        self._targets = self._plan(annotate) if annotate is not None else {}

    def run(self) -> int:
        """Scan what isn't recorded yet.

        Returns:
            The exit code: 0 all scanned; 3 some of a batch couldn't be read; 130 interrupted.

        Raises:
            FauxfaceError: A single source can't be scanned, or its recorded result is an error; a batch
                records that and goes on.
            OutputError: An annotated file would replace one that isn't this scan's.
        """
        try:
            return self._scanned()
        finally:
            self._tidy()

    def _scanned(self) -> int:
        todo = [item for item in self._items if not self._is_done(item)]
        done = {item.source for item in self._items} - {item.source for item in todo}
        self._keep_others(todo)
        if self._log is not None and not todo:
            self._log.finish(*self._kept(set()))
            self._table.line(f"nothing to do: {self._log.path} has all results; --overwrite scans again")
            if not self._batch and (error := self._log.recorded[self._items[0].source].error) is not None:
                raise _typed(error, self._items[0].source)
            return self._code(done)
        start = time.monotonic()
        failure: FauxfaceError | None = None
        try:
            with self._ending, self._sink({item.source for item in todo}) as self._write:
                if self._batch:
                    self._run_batch(todo, len(done))
                else:
                    failure = self._run_single(todo[0])
        except KeyboardInterrupt:
            sys.stderr.write(f"\n{self._how_to_resume()}\n")
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # nobody reads the table any more
            sys.stderr.write(f"\n{self._how_to_resume()}\n")
            raise
        if isinstance(self._stop, OSError):
            raise self._stop
        if done:
            self._table.line(f"{len(done)} of {len(self._items)} files were recorded by an earlier scan")
        seconds = time.monotonic() - start
        where = f"{self._scanner.provider} in {self._scanner.precision}"
        self._table.line(f"{self._tally.summary()}; {seconds:.1f} s on {where}")
        if self._stop is not None:
            sys.stderr.write("interrupted; what was scanned until then is complete\n")
            return EXIT_INTERRUPTED
        if failure is not None:
            raise failure
        return self._code(done)

    def _tidy(self) -> None:
        """Remove the files and folders that were made for annotated ones and that stayed empty."""
        for path in self._reserved:
            free(path)
        for folder in self._made:
            with suppress(OSError):
                folder.rmdir()

    def _plan(self, annotate: Path) -> dict[str, Path]:
        try:
            self._made = [folder for folder in (annotate, *annotate.parents) if not folder.exists()]
            annotate.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"can't make the folder {annotate}: {error.strerror}; choose another"
            ) from error
        if self._place.kind is Kind.STDIN:
            return {self._items[0].source: self._reserve(annotate / "stdin.png")}
        if not self._place.is_files:
            name = re.sub(r"[^A-Za-z0-9._]+", "-", self._items[0].source).strip("-.")[:80]
            return {self._items[0].source: self._reserve(annotate / f"{name or 'stream'}.mp4")}
        files = [item for item in self._items if item.kind != "folder"]
        path = self._place.text
        root = fixed_folder(path) if self._place.kind is Kind.GLOB else Path(path)
        if not self._batch:
            root = root.parent
        return annotated_paths([(item.source, item.kind == "video") for item in files], root, annotate)

    def _reserve(self, path: Path) -> Path:
        path = reserved(path)
        self._reserved.append(path)
        return path

    def _keep_others(self, todo: list[Item]) -> None:
        """Refuse to replace files that were there before and that no result of this scan is about.

        A source isn't replaced even so: by another spelling, the folder may be that of the sources.
        """
        for item in todo:
            target = self._targets.get(item.source)
            if target is not None and _is_same_file(target, item.source):
                raise OutputError(f"annotating would overwrite {item.source}; give --annotate another folder")
        if self._overwrite or not self._targets:
            return
        ours = set() if self._log is None else self._log.about()
        for item in todo:
            target = self._targets.get(item.source)
            if target is not None and item.source not in ours and _has_content(target):
                raise OutputError(
                    f"{target} is there already and isn't of this scan; annotate into another folder, "
                    "or --overwrite"
                )

    def _is_done(self, item: Item) -> bool:
        """Tell whether an earlier scan recorded the item; raise if it did so in another way."""
        if self._log is None:
            return False
        if item.source == self._log.interrupted and not self._place.is_files:
            with alone(self._log.path):  # else that scan still runs
                raise OutputError(
                    f"{self._log.part} holds what a scan of {item.source} recorded before it broke off; "
                    "rename it, choose another file or --overwrite"
                )
        record = self._log.recorded.get(item.source)
        if record is None:
            return False
        if not self._place.is_files:
            problem = ""
        elif not record.fits(self._every, whole=self._scanner.faces == "whole"):
            problem = " with other --faces or --every"
        elif record.unreadable and not record.frames:
            return self._log.begun  # a finished scan's may have been mended since
        elif item.kind == "video" and record.frames == 1 and not record.unreadable:
            return False  # it may be the first of a longer step, which a single one doesn't tell
        else:
            target = self._targets.get(item.source)
            return target is None or _has_content(target)
        raise OutputError(
            f"{self._log.path} already holds results of {item.source}{problem}; "
            "choose another file or --overwrite"
        )

    def _sink(self, todo: set[str]) -> AbstractContextManager[Callable[[Result], None]]:
        if self._log is None:
            return nullcontext(self._write_stdout)
        return self._log.writing(*self._kept(todo))

    def _kept(self, todo: set[str]) -> tuple[set[str], set[str]]:
        """Return the sources whose earlier records stay, and those that this scan is about."""
        assert self._log is not None
        items = {item.source for item in self._items}
        mended = {  # folders that couldn't be listed before, and were now
            source
            for source, record in self._log.recorded.items()
            if record.unlisted
            and source not in items
            and self._went_through(source)
            and os.path.isdir(source)  # noqa: PTH112  (never raises)
        }
        keep = set(self._log.recorded) - todo - mended
        if self._log.interrupted is not None and not _is_file(self._log.interrupted):
            keep.add(self._log.interrupted)  # nobody can scan it again
        return keep, items | mended

    def _went_through(self, folder: str) -> bool:
        """Tell whether this scan listed a folder, or would have."""
        if self._place.kind not in (Kind.FOLDER, Kind.GLOB):
            return False
        text = self._place.text
        return Path(folder).is_relative_to(fixed_folder(text) if self._place.kind is Kind.GLOB else text)

    def _write_stdout(self, result: Result) -> None:
        if self._to_stdout:
            sys.stdout.write(result.to_json_line() + "\n")
            sys.stdout.flush()

    def _code(self, done: set[str]) -> int:
        recorded = self._log.recorded if self._log is not None else {}
        if not self._batch:
            return 0
        unreadable = self._tally.unreadable + sum(recorded[source].unreadable for source in done)
        return EXIT_SOME_UNREADABLE if unreadable else 0

    def _how_to_resume(self) -> str:
        if self._log is None:
            return "interrupted; a scan with --jsonl FILE can be resumed"
        if not self._log.begun:
            return "interrupted before the first result; run the same command again"
        return f"interrupted; results so far are in {self._log.part}; {self._log.resume}"

    def _run_batch(self, todo: list[Item], done: int) -> None:
        with Progress(len(self._items), "scan", "files", done=done) as progress:
            # The pictures together, which are read ahead.
            ordered = sorted(todo, key=lambda item: item.kind != "picture")
            for kind, group in itertools.groupby(ordered, key=lambda item: item.kind):
                if kind == "picture":
                    names = (item.source for item in group)
                    with closing(self._scanner.scan_pictures(names, keep=bool(self._targets))) as scanned:
                        for result, image in scanned:
                            self._picture(result, image)
                            progress.advance()
                    continue
                for item in group:
                    try:
                        if kind == "folder":
                            raise SourceError(f"{item.source}: the folder can't be listed; check its rights")
                        self._video(item, progress)
                    except (VideoError, SourceError) as error:
                        self._picture(self._error(item, error), None)
                    progress.advance()

    def _run_single(self, item: Item) -> FauxfaceError | None:
        """Scan a single source; return the error that its results record."""
        if item.kind == "video":
            error = self._video(item, None)
            return None if error is None else _typed(error, item.source)
        stdin = self._place.kind is Kind.STDIN
        image = images.read_stdin() if stdin else images.read(item.source)
        result = self._scanner.image(image, item.source)
        self._picture(result, image)
        return None if result.error is None else _typed(result.error, item.source)

    def _picture(self, result: Result, image: np.ndarray | None) -> None:
        target = None if image is None else self._targets.get(result.source)
        if target is not None and target not in self._reserved:
            target.unlink(missing_ok=True)  # an earlier scan's, which the record isn't about
        self._write(result)  # first, so that there is no annotated file without a record
        if target is not None and image is not None:
            drawn = draw(image, result)
            if target.suffix.lower() in images.JPEG_SUFFIXES:
                size = writable_size(image.shape[1], image.shape[0], images.LONGEST_JPEG_SIDE)
                drawn = of_size(drawn, size)
            images.write(target, drawn)
        self._tally.add(result)
        self._table.result(result)

    def _video(self, item: Item, progress: Progress | None) -> ItemError | None:
        """Scan a video, camera or stream; return the error that ended it early.

        Raises:
            VideoError: It can't be opened, has no frame, or its frames don't fit the memory.
        """
        try:
            with told_alike():
                return self._frames(item, progress)
        except MemoryError:
            raise VideoError(f"{item.source}: its frames don't fit the memory; scale it down") from None

    def _frames(self, item: Item, progress: Progress | None) -> ItemError | None:
        live = not self._place.is_files
        tally = Tally()
        error: ItemError | None = None
        recording: Recording | None = None
        target = self._targets.get(item.source)
        with ExitStack() as stack:
            place = self._place if not self._batch else Source(Kind.VIDEO, item.source)
            reader, frames = stack.enter_context(self._scanner.open_frames(place, self._every))
            if progress is None and not live:
                count = None if reader.frame_count is None else -(-reader.frame_count // self._every)
                progress = stack.enter_context(Progress(count, "scan", "frames"))
            scanned = self._scanner.scan_frames(
                itertools.islice(frames, self._max_frames),
                item.source,
                live=live,
                pictures=target is not None,
                locate_every=self._locate_every,
            )
            stack.enter_context(closing(scanned))
            with self._completing(tally):
                for result, image in scanned:
                    if target is not None and image is not None:
                        if recording is None:
                            fps = usable_fps(reader.fps) / self._every
                            recording = stack.enter_context(Recording(target, fps, live=live))
                        recording.write(image, result)
                    self._write(result)
                    tally.add(result)
                    self._tally.add(result)
                    if result.frame is None:
                        error = result.error
                    elif live:
                        self._table.result(result)
                    if progress is not None:
                        if self._batch:
                            name = printable(Path(item.source).name)
                            progress.advance(0, f"{tally.frames} frames of {name}")
                        else:
                            progress.advance()
        if self._stop is not None and not isinstance(self._stop, KeyboardInterrupt | OSError):
            raise self._stop
        self._tally.videos += 1
        with self._completing(tally):
            self._table.video(item.source, tally, error)
        return error

    @contextmanager
    def _completing(self, tally: Tally) -> Iterator[None]:
        """Let the files of a camera or stream be completed whatever ends the block, and whatever comes then.

        What it saw can't be had again. The end's reason is kept in `_stop`; an OSError is of standard output.
        """
        try:
            yield
        except BaseException as reason:
            if self._place.is_files or not tally.frames:
                raise
            self._stop = reason
        if not self._place.is_files:
            self._ending.enter_context(_deaf())

    def _error(self, item: Item, error: FauxfaceError) -> Result:
        return Result(item.source, None, None, ItemError.of(error), (), self._scanner.model)


def _typed(error: ItemError, source: str) -> FauxfaceError:
    """Return a single source's recorded error as it is raised."""
    if error.type == NoFaceError.__name__:
        return NoFaceError(f"{source}: {error.message}")
    return VideoError(error.message)


def _has_content(path: Path) -> bool:
    """Tell whether there is such a path, and no empty file, which a power cut leaves of one just written."""
    try:
        found = path.stat()
    except OSError:  # a name that the file system refuses among them
        return False
    return not (stat.S_ISREG(found.st_mode) and found.st_size == 0)


def _is_same_file(path: Path, source: str) -> bool:
    try:
        return path.samefile(source)
    except OSError:  # one of them isn't there
        return False


def _is_file(source: str) -> bool:
    """Tell whether the source of a record is, or was, a file and no camera, stream or standard input."""
    try:
        return parse(source).is_files
    except SourceError:  # a file that is gone, or a camera that is unplugged
        return not source.startswith("/dev/")


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignore what ends a program while files are completed; only the main thread is told of it anyway."""
    ours = ENDING if threading.current_thread() is threading.main_thread() else ()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
