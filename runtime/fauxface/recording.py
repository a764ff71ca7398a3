"""Annotated frames on their way into MP4 files."""

import itertools
import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from fauxface.annotate import draw
from fauxface.errors import OutputError
from fauxface.results import Result
from fauxface.video import FrameWriter, usable_fps, writable_size

SEGMENT_S = 3600.0
"""Longest time in seconds that one file of a camera or stream covers."""

_LONGEST_STILL_S = 10.0


class Recording:
    """Writes the annotated frames of one source; use it as a context manager.

    A video's go into one file. A camera's or a stream's go into a new one every hour: an MP4 can't be played
    until it is complete, and its index is kept in memory until then. A video's frame is repeated where it
    comes later than the rate says, so that frames of a variable rate aren't seen before their times.

    Args:
        target: The file, ending in .mp4; further ones get numbers.
        fps: Frames per second of what is written; see `usable_fps`.
        live: The source is a camera or a stream.
        clock: Seconds, from any start.
    """

    def __init__(
        self,
        target: Path,
        fps: float | None,
        *,
        live: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target, self._fps, self._live, self._clock = target, fps, live, clock
        self._writer: FrameWriter | None = None
        self._begun: float | None = None
        self._reserved: Path | None = None
        self._first_s: float | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
            self._writer = None  # not before: what an interrupt breaks off here, another call completes
        if self._reserved is not None:
            free(self._reserved)

    def write(self, image: np.ndarray, result: Result) -> None:
        """Draw a frame's faces and append it.

        Args:
            image: uint8 [H, W, 3], RGB; scaled to the size of the file's first frame, since streams change
                theirs.
            result: What was found in it.

        Raises:
            OutputError: The file can't be written.
        """
        now = self._clock()
        if self._live and self._begun is not None and now - self._begun >= SEGMENT_S:
            self.__exit__(None, None, None)
        if self._writer is None:
            target = self._target
            if self._begun is not None:
                target = self._reserved = reserved(self._target)
            size = writable_size(image.shape[1], image.shape[0])
            self._writer = FrameWriter(target, usable_fps(self._fps), size).__enter__()
            self._begun = now
        frame = of_size(draw(image, result), self._writer.size)
        for _ in range(self._times(result, self._writer)):
            self._writer.write(frame)

    def _times(self, result: Result, writer: FrameWriter) -> int:
        """Return how often to write a frame: at least once, and until it is its time."""
        if self._live or result.time_s is None:
            return 1
        if self._first_s is None:
            self._first_s = result.time_s
        due = round((result.time_s - self._first_s) * writer.fps)
        longest = math.ceil(_LONGEST_STILL_S * writer.fps)
        if due - writer.frames > longest:  # a jump in the file's times, not a picture that stands still
            self._first_s += (due - writer.frames) / writer.fps
            due = writer.frames
        return max(1, due + 1 - writer.frames)


def reserved(path: Path) -> Path:
    """Make an empty file, with a number where there is one: what a camera saw can't be had again.

    Another scan that writes into the folder takes another name, even before this file is complete.

    Raises:
        OutputError: The folder can't be written.
    """
    names = itertools.chain(
        [path], (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    )
    for name in names:
        try:
            name.touch(exist_ok=False)
        except FileExistsError:
            continue
        except OSError as error:
            raise OutputError(f"can't write {name}: {error.strerror}; choose a writable folder") from error
        return name
    raise AssertionError("there is always a next number")


def free(path: Path) -> None:
    """Remove a reserved file that stayed empty."""
    with suppress(OSError):
        if path.stat().st_size == 0:
            path.unlink()


def of_size(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a picture to the size of a video's first frame, or of what a format can hold."""
    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
