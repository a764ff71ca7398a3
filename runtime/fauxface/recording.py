"""Annotated frames on their way into MP4 files."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from fauxface.annotate import draw
from fauxface.results import Result
from fauxface.video import FrameWriter, usable_fps, writable_size

SEGMENT_S = 3600.0
"""Longest time in seconds that one file of a camera or stream covers."""


class Recording:
    """Writes the annotated frames of one source; use it as a context manager.

    A video's go into one file. A camera's or a stream's go into a new one every hour: an MP4 can't be played
    until it is complete, and its index is kept in memory until then.

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)
            self._writer = None  # not before: what an interrupt breaks off here, another call completes

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
            target = self._target if self._begun is None else unused(self._target)
            size = writable_size(image.shape[1], image.shape[0])
            self._writer = FrameWriter(target, usable_fps(self._fps), size).__enter__()
            self._begun = now
        self._writer.write(of_size(draw(image, result), self._writer.size))


def unused(path: Path) -> Path:
    """Return a path, with a number where there is such a file: what a camera saw can't be had again."""
    names = itertools.chain(
        [path], (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    )
    return next(name for name in names if not name.exists())


def of_size(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a picture to the size of a video's first frame, or of what a format can hold."""
    return image if image.shape[1::-1] == size else cv2.resize(image, size, interpolation=cv2.INTER_AREA)
