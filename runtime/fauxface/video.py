"""Video in and out: frames of a file, camera, stream or pipeline as RGB, and mp4 files written atomically."""

import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import cv2
import numpy as np

from fauxface.captures import (
    LOST_FRAMES,
    NO_FRAME,
    STREAM_TIMEOUT_MS,
    check_file,
    open_capture,
    quiet,
    utf8_name,
    why_closed,
)
from fauxface.containers import Layout, inspect
from fauxface.errors import OutputError, VideoError
from fauxface.files import atomic_write
from fauxface.sources import Kind, Source, camera_size

FALLBACK_FPS = 25.0
"""The frame rate that is written when the source's is unknown or absurd."""

_SHORTFALL = 0.8
_JUMP_S = 0.5
_SQUARE, _LARGEST_RATIO = 1.01, 4
_MOST_PRECISE_FPS = 65.0
_LONGEST_WRITTEN_SIDE = 8190
_LOWEST_WRITTEN_FPS = 0.01
"""In MPEG-4 part 2, a second has at most 65535 ticks; OpenCV takes a thousand per frame where it has to."""
_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}
_MOST_LOST = 250
"""Frames in a row that may be undecodable before a video counts as ended."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a video.

    Attributes:
        index: Number of the frame in the video, from 0; frames skipped by `every` are counted.
        time_s: Position in the video in seconds; of a camera or live stream, seconds since the first frame.
        pixels: uint8 [H, W, 3], upright.
        order: The order of its channels: "RGB", or "BGR" as the decoder gives it. Whoever needs a small part
            of the frame alone needn't convert the whole.
    """

    index: int
    time_s: float
    pixels: np.ndarray
    order: Literal["RGB", "BGR"] = "RGB"

    @property
    def image(self) -> np.ndarray:
        """The picture as RGB, uint8 [H, W, 3]; converted each time where the order is BGR."""
        return cv2.cvtColor(self.pixels, cv2.COLOR_BGR2RGB) if self.order == "BGR" else self.pixels


def usable_fps(fps: float | None) -> float:
    """Return a rate that can be written: `FALLBACK_FPS` for None, not finite, not positive or above 240."""
    return float(fps) if fps is not None and math.isfinite(fps) and 0 < fps <= 240 else FALLBACK_FPS


def writable_size(width: int, height: int, longest: int = _LONGEST_WRITTEN_SIDE) -> tuple[int, int]:
    """Return the size that a picture is written in: its own, or scaled down to what its format can hold.

    Args:
        width: In pixels.
        height: In pixels.
        longest: The format's longest side; by default that of frames, which are MPEG-4 part 2.
    """
    scale = min(1.0, longest / max(width, height))
    return max(1, round(scale * width)), max(1, round(scale * height))


class FrameReader:
    """Reads the frames of a video once, in order; use it as a context manager and iterate over it.

    A file that ends early yields the frames it has, then iteration raises VideoError. Early means: the
    container (MP4/MOV, AVI, Matroska/WebM) announces more bytes than the file has, and not all announced
    frames came; or, for other containers and URLs, less than 80 % of them came, and less than 80 % of the
    announced time. FFmpeg's frame count alone isn't trusted further, since trimmed and variable-rate videos
    announce more frames than they show. A camera or a stream that stops delivering raises VideoError too:
    live, or from an HTTP server that announces no length. Frames that can't be decoded are passed over, and
    of a file they are a VideoError at its end.

    Times never fall. Where a file's own jump back, as where recordings were joined, they go on from the last
    one.

    Attributes:
        width: Width of the frames in pixels, upright.
        height: Height of the frames in pixels, upright.
        fps: Frames per second, or None where the source doesn't say.
        frame_count: Estimated number of frames of the whole video, or None where there is no such number.

    Args:
        source: A path, or a source of kind video, camera, url or gstreamer.
        every: Yield frames 0, every, 2 * every, ...; the others are neither converted nor copied.
        threads: Threads that decode a file; FFmpeg's choice, one per core, when not given.

    Raises:
        VideoError: The source is missing, empty, no video, or can't be opened.
        ValueError: `every` or `threads` is less than 1.
    """

    def __init__(
        self, source: Source | str | os.PathLike[str], *, every: int = 1, threads: int | None = None
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, not {every}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        self.source = source if isinstance(source, Source) else Source(Kind.VIDEO, os.fspath(source))
        self._every = every
        # Reentrant: the garbage collector may close a dropped reader in a thread that uses it.
        self._in_use = threading.RLock()
        is_file = self.source.kind is Kind.VIDEO
        self._layout = check_file(self.source.text) if is_file else Layout(None, True)
        with quiet():
            self._capture = open_capture(self.source, threads)
        if not self._capture.isOpened():
            raise VideoError(why_closed(self.source, self._layout))
        self.width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        self.height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        asked = camera_size(self.source) if self.source.kind is Kind.CAMERA else None
        if asked not in (None, (self.width, self.height)):
            self.close()
            raise VideoError(
                f"{self.source.text}: the camera gives {self.width}x{self.height} instead; "
                "ask for a size that it has"
            )
        self._square = self._square_size()
        self.width, self.height = self._square or (self.width, self.height)
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and fps > 0 else None
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frame_count = int(count) if 0 < count < 1e9 and not self.source.is_live else None
        # Of the pictures that a camera sends over HTTP, one by one, FFmpeg makes up 25 per second.
        endless = self.source.kind is Kind.URL and self.frame_count is None
        pictures = endless and int(self._capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        self._clocked = self.source.is_live or self.source.kind is Kind.GSTREAMER or pictures

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the file or device; iterating afterwards yields nothing."""
        with self._in_use:
            self._capture.release()

    def __iter__(self) -> Iterator[Frame]:
        index, start, last = 0, None, 0
        last_s = before = offset = reached = 0.0
        lost = 0
        while (skipped := self._grab()) is not None:
            start = time.monotonic() if start is None else start
            lost, index = lost + skipped, index + skipped
            with self._in_use:
                if self.frame_count is not None:  # else nothing is announced that could be reached
                    reached = max(reached, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
                good, pixels = self._capture.retrieve() if index % self._every == 0 else (False, None)
                position = self._position_s(index, start)
            usual_s = last_s + (index - last) / usable_fps(self.fps)
            if position is None:
                last_s = usual_s
            else:
                if position < before - _JUMP_S:
                    offset = usual_s - position
                before, last_s = position, max(last_s, offset + position)
            last = index
            if good and pixels is not None and pixels.size:
                yield Frame(index, last_s, self._bgr(pixels), "BGR")
            index += 1
        if self._capture.isOpened():
            self._check_end(index, lost, reached)

    def _grab(self) -> int | None:
        """Go on to the next frame.

        OpenCV fails at a frame that FFmpeg can't decode as it does at the end; only there it goes on failing.

        Returns:
            How many undecodable frames lay before it; None at the end.
        """
        may_fail = _MOST_LOST if self.source.kind in (Kind.VIDEO, Kind.URL) else 0
        begun = time.monotonic()
        for lost in range(may_fail + 1):
            with self._in_use:
                if not self._capture.isOpened():
                    return None
                if self._capture.grab():
                    return lost
            waited_ms = 1000 * (time.monotonic() - begun)
            if self.source.kind is Kind.URL and waited_ms > 0.9 * STREAM_TIMEOUT_MS:  # nothing comes any more
                return None
        return None

    def _square_size(self) -> tuple[int, int] | None:
        """Return the size at which pixels that aren't square, such as DV's, would be; None where they are."""
        ratio = [self._capture.get(name) for name in (cv2.CAP_PROP_SAR_NUM, cv2.CAP_PROP_SAR_DEN)]
        if not all(math.isfinite(part) and part > 0 for part in ratio):
            return None
        wider = ratio[0] / ratio[1]
        if not _SQUARE < max(wider, 1 / wider) <= _LARGEST_RATIO:
            return None
        if self._capture.get(cv2.CAP_PROP_ORIENTATION_META) % 180 == 0:
            return max(1, round(self.width * wider)), self.height
        return self.width, max(1, round(self.height * wider))

    def _bgr(self, pixels: np.ndarray) -> np.ndarray:
        """Return a frame as BGR, of square pixels; pipelines may deliver gray or BGRA."""
        if self._square is not None:
            pixels = cv2.resize(pixels, self._square, interpolation=cv2.INTER_LINEAR)
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        if pixels.dtype == np.uint8 and (channels == 3 or pixels.shape[:2] == (self.height, self.width)):
            if channels == 3:
                return pixels
            if channels in _TO_BGR:
                return cv2.cvtColor(pixels, _TO_BGR[channels])
        raise VideoError(
            f"{self.source.shown}: its frames are {pixels.dtype} {list(pixels.shape)}, not pictures;"
            " end the pipeline with videoconvert ! video/x-raw,format=BGR ! appsink"
        )

    def _position_s(self, index: int, start: float) -> float | None:
        """Return where a frame lies, None where that isn't known, which 0 means but for the first one."""
        if self._clocked:
            return time.monotonic() - start
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if math.isfinite(position) and (position > 0 or index == 0):
            return max(position, 0.0)
        return None

    def _check_end(self, frames: int, lost: int, reached: float) -> None:
        name = self.source.shown
        if frames == 0:
            raise VideoError(f"{name}: {NO_FRAME}; check that it is a complete video or a working stream")
        if self.source.is_live or (self.source.kind is Kind.URL and self.frame_count is None):
            raise VideoError(
                f"{name}: stopped delivering after {frames} frames; check the camera or the network"
            )
        if self._layout.complete:
            # The count is the announced time times a rate, which a variable one may stay below.
            announced = self.frame_count / self.fps if self.frame_count and self.fps else math.inf
            share = _SHORTFALL if self._layout.container is None and reached < _SHORTFALL * announced else 0
        else:
            share = 1 if self.frame_count else math.inf
        if frames < share * (self.frame_count or 1):
            expected = f" of about {self.frame_count}" if self.frame_count else ""
            raise VideoError(f"{name}: the video ends early, after {frames} frames{expected}; copy it again")
        if lost:
            raise VideoError(f"{name}: {lost} of its {frames} frames {LOST_FRAMES}; copy it again")


class FrameWriter:
    """Writes frames to an mp4 file (MPEG-4 part 2); use it as a context manager.

    The file appears under its name only when the block ends well; on any error nothing is left. Frames of odd
    width or height are padded by one repeated column or row, since the codec wants even sizes.

    Args:
        path: The file, with the suffix .mp4.
        fps: Frames per second, see `usable_fps`. Rates above 65 are rounded to two decimals; lower ones than
            0.01, and than one pixel per second, are raised to that, since OpenCV writes no slower video.
        size: Width and height of the frames in pixels.

    Raises:
        OutputError: The file can't be written, has another suffix, or no frame was written to it.
        ValueError: The size isn't positive.
    """

    def __init__(self, path: str | os.PathLike[str], fps: float | None, size: tuple[int, int]) -> None:
        if min(size) < 1:
            raise ValueError(f"the size of a video must be positive, not {size}")
        self.path, self.size = Path(path), size
        self.fps = max(usable_fps(fps), _LOWEST_WRITTEN_FPS, 1 / (size[0] * size[1]))
        if self.fps > _MOST_PRECISE_FPS:
            self.fps = round(self.fps, 2)
        self.frames = 0
        self._stack = ExitStack()
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> Self:
        if self.path.suffix.lower() != ".mp4":
            raise OutputError(f"can't write {self.path}: videos are written as mp4; use the suffix .mp4")
        self._temporary = self._stack.enter_context(atomic_write(self.path))
        width, height = (side + side % 2 for side in self.size)
        with quiet(), utf8_name(self._temporary) as name:
            codec = cv2.VideoWriter.fourcc(*"mp4v")
            writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, codec, self.fps, (width, height))
        if writer.isOpened():
            self._writer = writer
        else:
            error = OutputError(
                f"can't write {self.path}: OpenCV opened no mp4 writer of {width}x{height};"
                " check the folder and the size"
            )
            self._leave(error)
            raise error
        return self

    def write(self, image: np.ndarray) -> None:
        """Append a frame.

        Args:
            image: uint8 [height, width, 3], RGB, of the size given to the constructor.

        Raises:
            ValueError: The frame has another size or type, or the writer isn't open.
        """
        width, height = self.size
        if image.dtype != np.uint8 or image.shape != (height, width, 3):
            wanted = [height, width, 3]
            raise ValueError(f"a frame must be uint8 {wanted}, not {image.dtype} {list(image.shape)}")
        if self._writer is None:
            raise ValueError("the writer isn't open; use it in a with statement")
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if width % 2 or height % 2:
            bgr = cv2.copyMakeBorder(bgr, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._writer.write(bgr)
        self.frames += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if self._writer is not None:
            with quiet():
                self._writer.release()
            self._writer = None
        if error is not None:
            self._leave(error)
            return
        if self.frames == 0:
            problem = OutputError(f"can't write {self.path}: no frame was given to it; check the source")
        elif not self._temporary.exists() or inspect(self._temporary) != Layout("mp4", True):
            problem = OutputError(
                f"can't write {self.path}: the file came out incomplete; free some disk space"
            )
        else:
            problem = None
        self._leave(problem)
        if problem is not None:
            raise problem

    def _leave(self, error: BaseException | None) -> None:
        """Rename the temporary file, or remove it where there is an error."""
        self._stack.__exit__(type(error) if error else None, error, error.__traceback__ if error else None)
