"""Measure how much of the hardware the overlapped stages of a video scan use.

Usage: python benchmarks/video_pipeline.py [CLIP ...] [--rounds 5] [--threads N] [--out FILE]

Without a clip, one is made of the demo's faces. Each round runs, one after the other: decoding alone (on the
threads that decode in the pipeline), locating and cutting alone (one frame after the other, from frames in
memory), classifying alone (in the batches of the pipeline), all of it one after the other on all threads, and
the pipeline. A stage alone has the threads that one call of it has in the pipeline. Given are medians over
the rounds. `bound` is the rate at which the stages' work fills every core; no pipeline can be faster.

Ends with exit code 1 when the pipeline reaches less than 85 % of the rate of the slowest stage alone, when
the memory it holds grows by more than a tenth from a quarter of the clip to its end, or when it finds
anything else than the stages one after the other.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fauxface import Scanner
from fauxface.cutting import cut_frame
from fauxface.errors import GateError
from fauxface.following import locate_frame
from fauxface.locator import Locator
from fauxface.pipeline import decoding_threads
from fauxface.results import Result
from fauxface.session import Classifier
from fauxface.sources import Kind, Source
from fauxface.video import Frame, FrameReader
from harness import RESULTS
from recording import make_clip, rate, save

LIMIT = 0.85
MOST_GROWTH = 1.1
IN_MEMORY = 40


def decode(clip: Path, threads: int) -> tuple[int, float]:
    """Return frames and seconds of decoding alone."""
    with FrameReader(clip, threads=threads) as reader:
        start = time.perf_counter()
        count = sum(1 for _ in reader)
        return count, time.perf_counter() - start


def locate(scanner: Scanner, locator: Locator, frames: list[Frame]) -> tuple[list[np.ndarray], float]:
    """Return the crops of some frames, and the seconds that locating and cutting them took."""
    margin = scanner.bundle.manifest.crop.margin
    crops: list[np.ndarray] = []
    start = time.perf_counter()
    for frame in frames:
        crops += cut_frame("", frame, lambda f: locate_frame(locator, f), margin, picture=False).crops
    return crops, time.perf_counter() - start


def classify(classifier: Classifier, batch: int, crops: list[np.ndarray]) -> float:
    """Return the seconds that classifying some crops takes."""
    start = time.perf_counter()
    for first in range(0, len(crops), batch):
        classifier.logits(np.stack(crops[first : first + batch]))
    return time.perf_counter() - start


def scan(scanner: Scanner, clip: Path, *, overlap: bool) -> tuple[list[Result], float]:
    """Return a clip's results, and the seconds that the scan took."""
    start = time.perf_counter()
    with scanner.open_frames(Source(Kind.VIDEO, str(clip))) as (_, frames):
        found = [r for r, _ in scanner.scan_frames(frames, "clip", pictures=False, overlap=overlap)]
    return found, time.perf_counter() - start


def growth(scanner: Scanner, clip: Path, count: int) -> float:
    """Return the memory held at a clip's end over that after a quarter of it; results aren't kept."""
    early = resident_mb()
    with scanner.open_frames(Source(Kind.VIDEO, str(clip))) as (_, frames):
        for number, _ in enumerate(scanner.scan_frames(frames, "clip", pictures=False), 1):
            if number == max(1, count // 4):
                early = resident_mb()
        return resident_mb() / early


def measure(scanner: Scanner, clip: Path, rounds: int) -> dict[str, Any]:
    """Return the medians of one clip.

    Raises:
        GateError: The pipeline finds something else than the stages one after the other.
    """
    threads = decoding_threads(scanner.threads)
    locator = Locator.from_spec(scanner.bundle.locator_bytes(), scanner.bundle.manifest.locator)
    classifier = scanner.sharing_classifier()
    with FrameReader(clip, threads=threads) as reader:
        # Spread over the clip, so that they hold about as many faces as the rest.
        step = max(1, (reader.frame_count or IN_MEMORY) // IN_MEMORY)
        sample = [frame for i, frame in enumerate(reader) if i % step == 0][:IN_MEMORY]
    rates: dict[str, list[float]] = {}

    def note(name: str, count: int, seconds: float) -> None:
        rates.setdefault(name, []).append(count / seconds)

    frames = faces = 0
    memory: list[float] = []
    for turn in range(rounds + 1):
        run: Callable[[str, int, float], None] = note if turn else (lambda *_: None)  # the first warms up
        frames, seconds = decode(clip, threads)
        run("decode", frames, seconds)
        crops, seconds = locate(scanner, locator, sample)
        run("locate", len(sample), seconds)
        if crops:
            run("classify", len(sample), classify(classifier, scanner.batch, crops))
        expected, seconds = scan(scanner, clip, overlap=False)
        run("one after the other", len(expected), seconds)
        found, seconds = scan(scanner, clip, overlap=True)
        run("pipeline", len(found), seconds)
        memory.append(resident_mb())
        faces = sum(len(result.faces) for result in found)
        if found != expected:
            raise GateError(f"{clip.name}: the pipeline finds something else; its rate would mean nothing")
    grown = growth(scanner, clip, frames)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    stages = {name: medians[name] for name in ("decode", "locate", "classify") if name in medians}
    used = {"decode": threads, "locate": 1, "classify": classifier.threads}
    slowest = min(stages, key=lambda name: stages[name])
    bound = scanner.threads / sum(used[name] / value for name, value in stages.items())
    return {
        "clip": clip.name,
        "frames": frames,
        "faces": faces,
        "frames_per_s": {name: rate(1, 1 / value) for name, value in medians.items()},
        "threads_of_stages": used,
        "slowest_stage": slowest,
        "of_slowest_stage": round(medians["pipeline"] / stages[slowest], 3),
        "bound": round(bound, 2),
        "of_bound": round(medians["pipeline"] / bound, 3),
        "resident_mb": [round(value, 1) for value in memory],
        "grown": round(grown, 3),
        "held": medians["pipeline"] >= LIMIT * stages[slowest] and grown <= MOST_GROWTH,
    }


def resident_mb() -> float:
    """Return the memory that the process holds now, or its peak where the system doesn't tell."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def main() -> int:
    """Measure, print, write the JSON; 1 where the limit isn't held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "video_pipeline.json")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    scanner = Scanner(arguments.bundle, provider=arguments.provider, threads=arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        clips = arguments.clips or [make_clip(Path(folder) / "demo_1080p.mp4")]
        rows = [measure(scanner, clip, arguments.rounds) for clip in clips]
    body = {"provider": scanner.provider, "rounds": arguments.rounds, "limit": LIMIT, "rows": rows}
    save(arguments.out, "video_pipeline", scanner.bundle, body | {"scan_threads": scanner.threads})
    for row in rows:
        rates = ", ".join(f"{name} {value}" for name, value in row["frames_per_s"].items())
        sys.stdout.write(
            f"{row['clip']}: frames/s: {rates}; the pipeline reaches {row['of_slowest_stage']:.0%} of "
            f"{row['slowest_stage']}, {row['of_bound']:.0%} of what the cores allow; memory at the end "
            f"{row['grown']} times that at a quarter\n"
        )
    return 0 if all(row["held"] for row in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
