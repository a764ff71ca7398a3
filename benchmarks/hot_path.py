"""Measure where the time of a scanned frame goes, call by call, in the path that a scan takes.

Usage: python benchmarks/hot_path.py [CLIP ...] [--provider cpu] [--batches 1 8] [--busy] [--out FILE]

Without a clip, one is made of the demo's faces. The functions of the path are timed in place; a time that
stands for a call doesn't hold that of the timed calls inside it. Stages don't overlap here: see
video_pipeline.py for that. Ends with exit code 1 when cutting and preprocessing take more than 5 % of the
time between a decoded frame and its verdicts.
"""

import functools
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cv2

import harness
import recording
import start
from fauxface import Scanner, cutting, locator
from fauxface.session import Classifier
from fauxface.video import Frame, FrameReader

LIMIT = 0.05
CROP_STEPS = ("extract", "to_input", "cut")
OUTSIDE = ("decode", "other")


class Clock:
    """Adds up the seconds of named steps; a step inside another one is taken from it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._inner = [0.0]

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a block."""
        self._inner.append(0.0)
        since = time.perf_counter()
        try:
            yield
        finally:
            whole = time.perf_counter() - since
            self.seconds[name] += whole - self._inner.pop()
            self._inner[-1] += whole

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        @functools.wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            with self.step(name):
                return function(*arguments, **options)

        return run


@contextmanager
def instrumented(clock: Clock) -> Iterator[None]:
    """Time the steps of the path while the block runs."""
    places: list[tuple[Any, str, str]] = [
        (cutting, "cut", "cut"),
        (cutting, "extract", "extract"),
        (cutting, "to_input", "to_input"),
        (locator, "shrink", "shrink"),
        (locator, "decode", "decode maps"),
        (locator.Locator, "_tensor", "tensor"),
        (locator.Locator, "locate", "network"),
        (Classifier, "logits", "classify"),
        (Scanner, "_face", "verdict"),
    ]
    with ExitStack() as stack:
        for owner, name, step in places:
            original = getattr(owner, name)
            setattr(owner, name, clock.timed(step, original))
            stack.callback(setattr, owner, name, original)
        yield


def measure(scanner: Scanner, clip: Path, batches: list[int], rounds: int) -> list[dict[str, Any]]:
    """Return a row per batch: the time of each step of a clip, and the share of cutting and preprocessing.

    A round runs every batch, the next one starts with another, so that drift of the machine hits all alike.
    """
    clocks = {batch: Clock() for batch in batches}
    order = list(clocks)
    frames = faces = 0
    for turn in range(rounds + 1):
        for batch in harness.turned(order, turn):
            clock = clocks[batch] if turn else Clock()  # the first round warms up
            frames, faces = _scan(scanner, clip, batch, clock)
    return [_row(clip, batch, clock, rounds * frames, rounds * faces) for batch, clock in clocks.items()]


def _scan(scanner: Scanner, clip: Path, batch: int, clock: Clock) -> tuple[int, int]:
    """Return the frames and faces of one timed scan."""
    frames = faces = 0
    with FrameReader(clip, threads=1) as reader, instrumented(clock), clock.step("other"):
        shown = _timed_frames(reader, clock)
        for result, _ in scanner.scan_frames(shown, "clip", batch=batch, pictures=False, overlap=False):
            frames += 1
            faces += len(result.faces)
    return frames, faces


def _row(clip: Path, batch: int, clock: Clock, frames: int, faces: int) -> dict[str, Any]:
    inside = {name: seconds for name, seconds in clock.seconds.items() if name not in OUTSIDE}
    share = sum(inside.get(name, 0.0) for name in CROP_STEPS) / sum(inside.values())
    return {
        "clip": clip.name,
        "batch": batch,
        "frames": frames,
        "faces": faces,
        "ms_per_frame": {name: round(1000 * s / frames, 4) for name, s in sorted(clock.seconds.items())},
        "crop_share": round(share, 4),
        "held": share <= LIMIT,
    }


def _timed_frames(reader: FrameReader, clock: Clock) -> Iterator[Frame]:
    frames, end = iter(reader), object()
    while True:
        with clock.step("decode"):
            frame = next(frames, end)
        if not isinstance(frame, Frame):
            return
        yield frame


def main() -> None:
    """Measure, print, write the JSON.

    Raises:
        GateError: The limit isn't held.
    """
    parser = recording.parser(__doc__, "hot_path")
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--batches", type=harness.positive, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=harness.positive, default=3)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        clips = recording.clips(arguments.clips, Path(folder))
        began = start.before(arguments)
        scanner = Scanner(arguments.bundle, provider=arguments.provider)
        rows = [row for c in clips for row in measure(scanner, c, arguments.batches, arguments.rounds)]
    body = {"provider": scanner.provider, "rounds": arguments.rounds, "limit": LIMIT, "rows": rows}
    recording.save(arguments, began, body)
    for row in rows:
        steps = ", ".join(f"{name} {value:.2f}" for name, value in row["ms_per_frame"].items())
        sys.stdout.write(
            f"{row['clip']} batch {row['batch']}: {row['faces'] / row['frames']:.1f} faces per frame; ms per "
            f"frame: {steps}; cutting and preprocessing {row['crop_share']:.1%}\n"
        )
    recording.require_held(rows, "clip")


if __name__ == "__main__":
    harness.run(main)
