"""The video scenario: a clip end to end as `fauxface scan` works, stage by stage, and live."""

import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fauxface.bench.configurations import Configuration
from fauxface.bench.results import STAGES, Footage, VideoRound, WarmUp
from fauxface.bench.timing import Clock, warm_up
from fauxface.bench.workloads import Judge
from fauxface.bundle import Bundle
from fauxface.demo import copy_generated, make_clip
from fauxface.errors import VideoError
from fauxface.following import locate_frame
from fauxface.locator import FaceLocator
from fauxface.pipeline import decoding_threads, newest
from fauxface.scanner import Scanned, Scanner
from fauxface.video import Frame, FrameReader, usable_fps

DEMO_CLIP = "demo clip"

_WARM_UP_PARTS = 4
_WARM_UP_CAP_S = 10.0
_LIVE_S = 2.0


@dataclass(frozen=True, slots=True)
class Clip:
    """The first frames of a video file.

    Attributes:
        path: The file.
        name: What the results call it: its file name, without its folder.
        width: Width of its frames in pixels.
        height: Height of its frames in pixels.
        frames: Number of frames that a pass decodes.
        fps: Frames per second at which it is shown; `video.FALLBACK_FPS` where the file says nothing usable.
    """

    path: Path
    name: str
    width: int
    height: int
    frames: int
    fps: float

    @classmethod
    def probe(cls, path: Path, most: int, name: str | None = None) -> "Clip":
        """Decode at most `most` frames to see what there is.

        Raises:
            VideoError: The file isn't a readable video, has no frame, or ends early before `most` frames.
        """
        with FrameReader(path) as reader:
            count = sum(1 for _ in itertools.islice(reader, most))
            if not count:
                raise VideoError(f"{path} has no frame; check that it plays")
            fps = usable_fps(reader.fps)
            return cls(path, name or path.name, reader.width, reader.height, count, fps)

    @property
    def footage(self) -> Footage:
        """What the results call it, with its size."""
        return Footage(self.name, self.width, self.height, self.frames)

    def read(self, threads: int | None = None, most: int | None = None) -> Iterator[Frame]:
        """Yield the frames of a pass, decoded one by one.

        Args:
            threads: Of the configuration; decoding gets what a scan with so many would give it.
            most: Frames of a shorter pass.
        """
        share = None if threads is None else decoding_threads(threads)
        with FrameReader(self.path, threads=share) as reader:
            yield from itertools.islice(reader, self.frames if most is None else min(most, self.frames))

    def images(self, most: int) -> list[np.ndarray]:
        """Return at most `most` decoded frames, spread evenly over the pass."""
        step = -(-self.frames // most)
        return [frame.image for frame in self.read() if frame.index % step == 0]


def demo_clip(folder: Path, most: int) -> Clip:
    """Make a clip of our own generator's faces that are shipped with the package.

    Args:
        folder: Where the file is written.
        most: Frames of a pass.
    """
    pictures = copy_generated(folder, "own_generator")
    return Clip.probe(make_clip(pictures, folder / "clip.mp4"), most, DEMO_CLIP)


class FrameScanner(Protocol):
    """What takes frames to verdicts, for example `Scanner`."""

    def scan_frames(
        self, frames: Iterable[Frame], source: str, *, live: bool = ..., pictures: bool = ...
    ) -> Iterator[Scanned]:
        """Yield the result and the picture of each frame, in order."""
        ...


class VideoLoad:
    """One configuration on one clip.

    Args:
        clip: The clip.
        scanner: Takes the frames end to end.
        locator: The locator for the stages.
        judge: Crops and classifies for the stages.
        clock: The clock.
        threads: Of the configuration.
        sleep: Waits for so many seconds of the clock.
    """

    def __init__(
        self,
        clip: Clip,
        scanner: FrameScanner,
        locator: FaceLocator,
        judge: Judge,
        clock: Clock,
        *,
        threads: int | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clip, self._scanner, self._threads = clip, scanner, threads
        self._locator, self._judge, self._clock, self._sleep = locator, judge, clock, sleep

    def warm_up(self) -> WarmUp:
        """Run the clip's first quarter end to end until its time is stable; its file is then cached, too."""
        part = max(1, self.clip.frames // _WARM_UP_PARTS)
        self._stages(part)  # which has a locator and a classifier of its own
        return warm_up(lambda: self._end_to_end(part), self._clock, _WARM_UP_CAP_S)

    def round(self) -> VideoRound:
        """Run the clip three times: end to end as a file, stage by stage, and as from a camera."""
        elapsed, faces = self._end_to_end()
        stages = self._stages()
        per_frame = {name: round(1000 * value / self.clip.frames, 4) for name, value in stages.items()}
        return VideoRound(faces, round(elapsed, 6), per_frame, *self._live())

    def _end_to_end(self, most: int | None = None) -> tuple[float, int]:
        """Return the seconds of a pass over the file, or its first frames, and the number of judged faces."""
        start = self._clock()
        scanned = self._scanner.scan_frames(self.clip.read(self._threads, most), "bench", pictures=False)
        faces = sum(len(result.faces) for result, _ in scanned)
        return self._clock() - start, faces

    def _live(self) -> tuple[tuple[float, ...], int]:
        """Judge the clip's first seconds as from a camera, which drops the frames that nobody took in time.

        The clip is open, and its first frame decoded, before that one is due, since a camera is open then.
        One thread decodes: several would decode frames before they are due, and their ages would miss it.

        Returns:
            Per judged frame, the milliseconds from when the camera had it to its verdict; the dropped frames.
        """
        most = min(self.clip.frames, math.ceil(_LIVE_S * self.clip.fps))
        frames = self.clip.read(1, most)
        opened = itertools.chain(list(itertools.islice(frames, 1)), frames)
        shown: dict[int, float] = {}
        ages = []
        with closing(newest(paced(opened, self.clip.fps, self._clock, self._sleep, shown))) as taken:
            for result, _ in self._scanner.scan_frames(taken, "bench", live=True, pictures=False):
                if result.frame is not None:
                    ages.append(round(1000 * (self._clock() - shown[result.frame]), 4))
        return tuple(ages), most - len(ages)

    def _stages(self, most: int | None = None) -> dict[str, float]:
        """Return the seconds of each stage over a pass, or its first frames, one stage after the other.

        One thread decodes: several would go on with the next frames while the other stages are timed.
        """
        spent: dict[str, float] = dict.fromkeys(STAGES, 0.0)
        frames = self.clip.read(1, most)
        now = self._clock()

        def lap(stage: str) -> None:
            nonlocal now
            before, now = now, self._clock()
            spent[stage] += now - before

        while (frame := next(frames, None)) is not None:
            lap("decode")
            places = locate_frame(self._locator, frame)
            lap("locate")
            if places:
                crops = self._judge.crop_frame(frame, places)
                lap("crop")
                self._judge.classify(crops, places)
                lap("classify")
        lap("decode")
        return spent


def paced(
    frames: Iterator[Frame], fps: float, clock: Clock, sleep: Callable[[float], None], shown: dict[int, float]
) -> Iterator[Frame]:
    """Yield frames no earlier than a camera would have them, decoded when they are due.

    Args:
        frames: The frames; each is taken when it is due, or at once where it is late.
        fps: Frames per second of the camera; the first frame is due at once.
        clock: The clock.
        sleep: Waits for so many seconds.
        shown: Takes when each frame was due, by its index.
    """
    start = clock()
    for number in itertools.count():
        due = start + number / fps
        while (early := due - clock()) > 0:
            sleep(early)
        frame = next(frames, None)
        if frame is None:
            return
        shown[frame.index] = due
        yield frame


def open_scanner(bundle: Bundle, configuration: Configuration) -> Scanner:
    """Return a scanner of this configuration.

    Raises:
        BundleError: It can't be opened.
    """
    return Scanner(
        bundle,
        provider=configuration.provider,
        threads=configuration.threads,
        precision=configuration.precision,
    )
