"""Where a scan's results go: a JSON Lines file that can be continued, a tree of annotated files."""

import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO

if sys.platform != "win32":
    import fcntl

from fauxface.captures import LOST_FRAMES
from fauxface.errors import OutputError, SourceError
from fauxface.files import atomic_write, synced
from fauxface.results import ItemError, Result

_WRITABLE_PICTURES = {".jpg", ".jpeg", ".png"}
_LONGEST_NAME = 255  # bytes
_DOUBTFUL = '<>:"|?*\\'
"""What names on some file systems may hold and on others not, beside what can't be printed."""


@dataclass(slots=True)
class Recorded:
    """What a JSON Lines file already holds of one source.

    Attributes:
        frames: Number of frames; 0 for a picture.
        every: Largest step that all frames fit, None where there is only the first. A frame that couldn't be
            decoded has no record, so the first two alone don't tell.
        error: The picture's or the whole video's error.
        whole: Whether it was scanned in whole-picture mode, in which all that can be read has a face; None
            where nothing could be read.
    """

    frames: int = 0
    every: int | None = None
    error: ItemError | None = None
    whole: bool | None = None

    @property
    def unreadable(self) -> bool:
        """Whether the picture or video couldn't be read, or not to its end."""
        return self.error is not None and self.error.type != "NoFaceError"

    @property
    def unlisted(self) -> bool:
        """Whether it is a folder that couldn't be listed."""
        return self.error is not None and self.error.type == SourceError.__name__

    def fits(self, every: int, *, whole: bool) -> bool:
        """Tell whether a scan with these settings can have recorded it.

        Where frames couldn't be decoded, which an error tells at the end, those that are left may fit a
        multiple of `every` as well.
        """
        lost = self.error is not None and LOST_FRAMES in self.error.message
        steps = self.every is None or self.every == every or (lost and self.every % every == 0)
        return steps and self.whole in (None, whole)

    def add(self, result: Result) -> None:
        """Count one more record of the source."""
        if result.frame is None:
            self.error = result.error
        else:
            self.every = math.gcd(self.every or 0, result.frame) or None
        self.frames += result.frame is not None
        if result.readable:
            self.whole = bool(result.faces) and result.faces[0].locator_score is None


class ResultLog:
    """A JSON Lines file of results.

    While a scan runs, its lines go to FILE.part, each flushed, so that an interrupted scan leaves whole
    lines; a finished scan renames it to FILE. What an earlier scan recorded is kept and need not be scanned
    again: every picture, and every video but one that was interrupted (the last one of FILE.part). Where FILE
    is a symbolic link, the file that it points to is meant.

    Args:
        path: The file.
        model: sha256 that its records must have.
        overwrite: Forget what an earlier scan recorded.

    Attributes:
        recorded: What an earlier scan recorded, by source.
        interrupted: The video, camera or stream that FILE.part holds a part of, or None.
        begun: Whether FILE.part holds results of this scan or of the one that it continues.
        resume: What to do about an interrupted scan, in words.

    Raises:
        OutputError: The file can't be read, isn't one of ours, or has results of another model; or it is a
            folder, a device or a pipe.
    """

    def __init__(self, path: Path, model: str, *, overwrite: bool = False) -> None:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; give a file, or use --out for a folder")
        if path.exists() and not path.is_file():
            raise OutputError(f"{path} is a device or a pipe; give a file, or - for standard output")
        path = Path(os.path.realpath(path)) if path.is_symlink() else path
        self.path, self.part = path, path.with_name(path.name + ".part")
        self.recorded: dict[str, Recorded] = {}
        self.interrupted: str | None = None
        self.resume = f"run the same command again {'without --overwrite ' if overwrite else ''}to resume"
        self._earlier: Path | None = None
        self._overwrite, self._model = overwrite, model
        if not overwrite:
            self._earlier = self._found()
        self._seen = _state(self._earlier)
        self.begun = self._earlier == self.part
        if self._earlier is not None:
            self._load(self._earlier, model)

    @contextmanager
    def writing(self, keep: Container[str], about: Container[str] = ()) -> Iterator[Callable[[Result], None]]:
        """Write records behind those that are kept.

        Where FILE.part of an interrupted scan is continued, what FILE alone holds is taken over at the end,
        but for what this scan is about.

        Args:
            keep: Sources whose earlier records stay in the file.
            about: Sources of which this scan says all that there is to say.

        Yields:
            A function that writes one result. When the body ends well, the file gets its name; when it
            raises, FILE.part stays: what an earlier scan left in it up to the first result, and from then on
            what is kept and what was written.

        Raises:
            OutputError: The file can't be written, or another scan is writing it.
        """
        with alone(self.path):
            self._require_unchanged()
            with self._appending(keep) as write:
                yield write
            if self._earlier == self.part and self.path.exists():
                self._take_over(about)
            try:
                synced(self.part)
                self.part.replace(self.path)
                synced(self.path.parent)
            except OSError as error:
                raise OutputError(f"can't rename {self.part} to {self.path}: {error.strerror}") from error

    def _take_over(self, about: Container[str]) -> None:
        """Append to FILE.part the records that FILE alone has."""
        known = {result.source for _, result in _records(self.part, partial=False)}
        try:
            with self.part.open("ab") as out:
                for line, result in _records(self.path, partial=False):
                    alone_there = result.source not in known and result.source not in about
                    if alone_there and result.model == self._model:
                        out.write(line)
        except OSError as error:
            raise OutputError(
                f"can't write {self.part}: {error.strerror}; make room, then {self.resume}"
            ) from error

    @contextmanager
    def _appending(self, keep: Container[str]) -> Iterator[Callable[[Result], None]]:
        """Yield what writes records to FILE.part; see `writing`."""
        out: RawIOBase | None = None

        def write(result: Result) -> None:
            nonlocal out
            line = (result.to_json_line() + "\n").encode("ascii")
            try:
                if out is None:
                    self._begin(keep, line)
                    out = stack.enter_context(self.part.open("ab", buffering=0))
                else:
                    _write_whole(out, line)
            except OSError as error:
                raise OutputError(
                    f"can't write {self.part}: {error.strerror}; make room, then {self.resume}"
                ) from error

        with ExitStack() as stack:
            yield write
        if out is None:
            self._begin(keep, b"")

    def _begin(self, keep: Container[str], line: bytes) -> None:
        """Make FILE.part of the records to keep and a first line.

        Both at once, since the last line tells which video is interrupted: without the lines of the one that
        was, it would tell of the video before.
        """
        with atomic_write(self.part) as temporary:
            with temporary.open("wb") as file:
                if self._earlier is not None:
                    for kept, result in _records(self._earlier, partial=self._earlier == self.part):
                        if result.source in keep:
                            file.write(kept)
                file.write(line)
            synced(temporary)  # it hides FILE from the next scan
        self.begun = True

    def _found(self) -> Path | None:
        """Return the file that an earlier scan left; a power cut may leave an empty FILE.part beside FILE."""
        found = [path for path in (self.part, self.path) if path.exists()]
        if len(found) == 2 and found[0].stat().st_size == 0:
            found.reverse()
        return next(iter(found), None)

    def _require_unchanged(self) -> None:
        """Raise an OutputError where another scan wrote results between the reading and the lock."""
        if self._overwrite:
            return
        found = self._found()
        if (found, _state(found)) != (self._earlier, self._seen):
            raise OutputError(f"another scan wrote {self.path} meanwhile; run the same command again")

    def about(self) -> set[str]:
        """Return the sources that earlier scans recorded, those of FILE too where FILE.part replaces it."""
        found = {*self.recorded} | ({self.interrupted} if self.interrupted else set())
        if self.begun and self.path.exists():
            with suppress(OutputError):  # a file of something else, which FILE.part replaces
                found.update(result.source for _, result in _records(self.path, partial=False))
        return found

    def finish(self, keep: Container[str], about: Container[str] = ()) -> None:
        """Give FILE.part its name where an interrupted scan had nothing left to do; see `writing`."""
        if self._earlier == self.part:
            with self.writing(keep, about):
                pass

    def _load(self, path: Path, model: str) -> None:
        last: Result | None = None
        for _, last in _records(path, partial=path == self.part):
            if last.model != model:
                raise OutputError(
                    f"{path} holds results of another model or locator; choose another file or --overwrite"
                )
            self.recorded.setdefault(last.source, Recorded()).add(last)
        if path == self.part and last is not None and last.frame is not None:
            del self.recorded[last.source]
            self.interrupted = last.source


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock beside a file while it is written, where the system has such; it ends with the process.

    Raises:
        OutputError: Another process holds it, or it can't be made.
    """
    if sys.platform == "win32":
        yield
        return
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("wb")
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror}; choose a writable path") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(file.fileno()), lock.stat())
        except (BlockingIOError, PermissionError, FileNotFoundError):  # the second on network shares
            held = False
        except OSError:  # a file system without locks
            held = True
        if not held:
            raise OutputError(f"another scan is writing {path}; wait for its end, or choose another file")
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _state(path: Path | None) -> tuple[int, int, int] | None:
    """Return what tells a file's content from an earlier one without reading it; None for no file."""
    try:
        found = None if path is None else path.stat()
    except FileNotFoundError:
        found = None
    return found and (found.st_ino, found.st_size, found.st_mtime_ns)


def _write_whole(file: RawIOBase, data: bytes) -> None:
    while data:
        data = data[file.write(data) or 0 :]


def _records(path: Path, *, partial: bool) -> Iterator[tuple[bytes, Result]]:
    """Yield each line and its result; a last line without its line break is dropped where `partial`."""
    try:
        with path.open("rb") as file:
            yield from _parsed(file, path, partial)
    except OSError as error:
        raise OutputError(f"can't read {path}: {error.strerror}; choose another file") from error


def _parsed(file: BinaryIO, path: Path, partial: bool) -> Iterator[tuple[bytes, Result]]:
    for number, line in enumerate(file, 1):
        if partial and not line.endswith(b"\n"):
            return
        try:
            yield line.rstrip(b"\r\n") + b"\n", Result.from_dict(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise OutputError(
                f"{path} isn't a file of scan results (line {number}); choose another file or --overwrite"
            ) from error


def annotated_paths(sources: Iterable[tuple[str, bool]], root: Path, folder: Path) -> dict[str, Path]:
    """Plan a file for each annotated picture and video that keeps the tree below `root`.

    JPEG, PNG and MP4 keep their names; other pictures get ".png" and other videos ".mp4" behind theirs. A
    name that is taken gets a number, so that no two sources share a file, one that gets too long for file
    systems is cut, and characters that this one refuses become "_".

    Args:
        sources: Path and whether it's a video, for each source.
        root: The folder below which the tree is kept.
        folder: Where the annotated files go; it exists.

    Raises:
        OutputError: A planned file is one of the sources.
    """
    sources = list(sources)
    inputs = {os.path.realpath(source) for source, _ in sources}
    refused = dict.fromkeys(
        map(ord, _refused((_without_anchor(source) for source, _ in sources), folder)), "_"
    )
    taken: set[str] = set()
    planned: dict[str, Path] = {}
    for source, video in sources:
        path = Path(source)
        inside = path.relative_to(root) if path.is_relative_to(root) else Path(path.name)
        inside = Path(*(part.translate(refused) for part in inside.parts if part != ".."))
        suffix = inside.suffix.lower()
        keeps = suffix == ".mp4" if video else suffix in _WRITABLE_PICTURES
        ending = inside.suffix if keeps else ".mp4" if video else ".png"
        stem = inside.stem if keeps else inside.name
        target, number = folder / inside.with_name(_fitting(stem, ending)), 1
        while str(target).casefold() in taken:
            number += 1
            target = folder / inside.with_name(_fitting(stem, f"-{number}{ending}"))
        if os.path.realpath(target) in inputs:
            raise OutputError(f"annotating would overwrite {target}; give --annotate another folder")
        taken.add(str(target).casefold())
        planned[source] = target
    return planned


def _refused(names: Iterable[str], folder: Path) -> set[str]:
    """Return the characters of these names that a folder's file system has no files with.

    Windows', FAT's and some network shares' are narrower than those that the names come from may be.
    """
    doubtful = {c for c in set().union(*names) if c in _DOUBTFUL or not c.isprintable()}
    return {character for character in doubtful if not _takes(folder, character)}


def _without_anchor(source: str) -> str:
    """Return a path without its drive and root, which no name holds."""
    path = Path(source)
    return str(path)[len(path.anchor) :]


def _takes(folder: Path, character: str) -> bool:
    probe = folder / f".{secrets.token_hex(6)}{character}x"
    try:
        probe.touch()
        probe.unlink()
    except (OSError, ValueError):
        return False
    return True


def _fitting(stem: str, ending: str) -> str:
    """Join a name's parts, cutting the first where the whole is longer than file systems have it."""
    while len(os.fsencode(stem + ending)) > _LONGEST_NAME:
        stem = stem[:-1]
    return stem + ending
