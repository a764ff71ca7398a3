"""Running the extraction over many files: worker processes, and a journal that survives an interruption."""

import hashlib
import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import cv2

from fauxface.bundle import Bundle
from fauxface.errors import DataError, OutputError
from fauxface.locator import MAX_SIDE, MIN_SCALE, FaceLocator, Locator
from fauxface.memory import told_alike
from fauxface.signals import leave_to_the_main_process
from fauxface_train import extraction
from fauxface_train.extraction import CropRule, Extract
from fauxface_train.layouts import Item

Stamp = tuple[int, int]
"""Size in bytes and modification time in nanoseconds: a file with the same stamp is taken as unchanged."""

_CHUNK = 16
_MOST_PROCESSES = 61 if sys.platform == "win32" else 1024
"""Of a pool: Windows can wait for no more."""


class LocatorSource(Protocol):
    """Where a worker process gets its locator; it is sent to the workers, so it must be picklable."""

    @property
    def sha256(self) -> str:
        """Hash of the locator's file."""
        ...

    def settings(self) -> dict[str, Any]:
        """Return the locator's settings as JSON values."""
        ...

    def open(self) -> FaceLocator:
        """Return a locator."""
        ...


@dataclass(frozen=True, slots=True)
class LocatorFile:
    """A locator in YuNet's format.

    Attributes:
        data: Content of the ONNX file.
        score_threshold: Faces below this confidence are dropped.
        nms_threshold: Overlap (IoU) above which the weaker of two boxes is dropped.
        max_side, min_scale: How large a copy the network sees, as in `Locator`.
    """

    data: bytes
    score_threshold: float = 0.6
    nms_threshold: float = 0.3
    max_side: int = MAX_SIDE
    min_scale: float | None = MIN_SCALE

    @classmethod
    def of(cls, bundle: Bundle) -> "LocatorFile":
        """Return a bundle's locator with its settings."""
        spec = bundle.manifest.locator
        return cls(
            bundle.locator_bytes(), spec.score_threshold, spec.nms_threshold, spec.max_side, spec.min_scale
        )

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.data).hexdigest()

    def settings(self) -> dict[str, Any]:
        """Return the thresholds and the size."""
        return {name: value for name, value in asdict(self).items() if name != "data"}

    def open(self) -> Locator:
        """Return a locator.

        Raises:
            BundleError: The file isn't in YuNet's format.
        """
        return Locator(
            self.data, self.score_threshold, self.nms_threshold, self.max_side, min_scale=self.min_scale
        )


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker does.

    Attributes:
        rule: How to crop.
        locator: Where the locator comes from; None for whole pictures.
        folder: Where crops in work lie.
    """

    rule: CropRule
    locator: LocatorSource | None
    folder: Path


Done = tuple[Path, Extract, bool]
"""A file, what came of it, and whether that lasts: a file that can't be opened is tried again next time."""


def run(job: Job, paths: Sequence[Path], workers: int) -> Iterator[Done]:
    """Extract many files, in any order.

    Args:
        job: What to do.
        paths: The files.
        workers: Number of processes; 1 works in this one.

    Raises:
        BundleError: The locator can't be used.
        DataError: A worker process died.
        OutputError: A crop can't be written.
    """
    if not paths:
        return
    worker = _Worker(job)
    if workers <= 1:
        for path in paths:
            yield worker.extract(path)
        return
    others = set(multiprocessing.active_children())
    # Spawned, not forked: OpenCV's threads don't survive a fork.
    pool = ProcessPoolExecutor(
        min(workers, -(-len(paths) // _CHUNK), _MOST_PROCESSES),
        multiprocessing.get_context("spawn"),
        _start,
        (job,),
    )
    try:
        pending: set[Future[list[Done]]] = set()
        for start in range(0, len(paths), _CHUNK):
            pending.add(pool.submit(_extract_chunk, paths[start : start + _CHUNK]))
            if len(pending) >= 4 * workers:
                finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield from future.result()
        while pending:
            finished, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in finished:
                yield from future.result()
    except BrokenProcessPool as error:
        for child in set(multiprocessing.active_children()) - others:
            child.kill()  # they ignore SIGTERM, by which the pool would end them and wait
        raise DataError(
            "a worker process died, perhaps for lack of memory; run again to go on, with fewer --workers"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def stamp(items: Iterable[Item]) -> dict[str, Stamp]:
    """Return the stamps of files by path; those that can't be looked at are left out."""
    stamps = {}
    for item in items:
        try:
            status = item.path.stat()
        except OSError:
            continue
        stamps[str(item.path)] = (status.st_size, status.st_mtime_ns)
    return stamps


def read_journal(path: Path, stamps: dict[str, Stamp]) -> dict[str, Extract]:
    """Return what an earlier run did, for files that are unchanged.

    A line that was cut off when the run was interrupted is left out.

    Args:
        path: The journal; it may be missing.
        stamps: The files' stamps by path.

    Raises:
        OutputError: The journal can't be read.
    """
    done: dict[str, Extract] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    if stamps.get(row["path"]) == tuple(row["stamp"]):
                        done[row["path"]] = Extract.from_dict(row["extract"])
                except (ValueError, KeyError, TypeError):
                    continue
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"can't read {path}: {error}; remove it to start over") from error
    return done


class Journal:
    """Appends what was done, line by line; use it as a context manager.

    Args:
        path: The journal.
        stamps: The files' stamps by path.

    Raises:
        OutputError: The journal can't be written.
    """

    def __init__(self, path: Path, stamps: dict[str, Stamp]) -> None:
        self._path, self._stamps = path, stamps

    def __enter__(self) -> Self:
        try:
            torn = self._path.exists() and self._path.stat().st_size > 0
            self._file = self._path.open("a", encoding="utf-8")
            if torn:
                self._file.write("\n")  # so that a line that was cut off doesn't spoil the next
        except OSError as error:
            raise OutputError(f"can't write {self._path}: {error.strerror}; choose another OUT") from error
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()  # writes what a full disk refused before, once more
        except OSError as error:
            raise self._full(error) from error

    def add(self, path: Path, extract: Extract) -> None:
        """Append a line.

        Raises:
            OutputError: It can't be written.
        """
        if (found := self._stamps.get(str(path))) is None:
            return
        row = {"path": str(path), "stamp": found, "extract": extract.to_dict()}
        try:
            self._file.write(json.dumps(row, separators=(",", ":")) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> OutputError:
        return OutputError(f"can't write {self._path}: {error.strerror}; free space, then run again")


class _Worker:
    """Holds a process's own locator."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._locator = None if job.locator is None or job.rule.whole else job.locator.open()

    def extract(self, path: Path) -> Done:
        try:
            with told_alike():
                extract = extraction.extract_file(path, self._job.rule, self._locator, self._job.folder)
            return path, extract, True
        except OSError as error:
            reason = f"can't be read: {error.strerror or error}"
            return path, Extract("", extraction.UNREADABLE, reason), False
        except MemoryError:
            return path, Extract("", extraction.UNREADABLE, "doesn't fit the memory"), False


_worker: _Worker | None = None


def _start(job: Job) -> None:
    """Set up a worker process."""
    global _worker  # noqa: PLW0603 - the only way to keep a locator between the calls of a pool
    leave_to_the_main_process()
    threading.Thread(target=_end_with_the_main_process, daemon=True).start()
    cv2.setNumThreads(1)
    _worker = _Worker(job)


def _end_with_the_main_process() -> None:
    """End this worker process when the main one was killed, which leaves it waiting for work."""
    if (main := multiprocessing.parent_process()) is not None:
        main.join()
        os._exit(1)


def _extract_chunk(paths: Sequence[Path]) -> list[Done]:
    assert _worker is not None
    return [_worker.extract(path) for path in paths]
