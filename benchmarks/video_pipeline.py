"""Measure how much of the hardware the overlapped stages of a video scan use.

Usage: python benchmarks/video_pipeline.py [CLIP ...] [--rounds 5] [--threads N] [--busy] [--out FILE]

Without a clip, one is made of the demo's faces. Each round runs, one after the other: decoding alone (on the
threads that decode in the pipeline), locating and cutting alone (one frame after the other, from frames in
memory), classifying alone (in the batches of the pipeline), all of it one after the other on all threads, the
pipeline, and, on the CPU, independent processes: as many scans of one thread as the pipeline has threads, all
at once, each through the whole clip. They share nothing and wait for nothing. A stage alone has the threads
that one call of it has in the pipeline. Given are medians over the rounds. `bound` is the rate at which the
stages' work fills every core; no pipeline can be faster.

After the rounds, with nothing of them kept, the pipeline goes through the clip six times more. `grown_mb` is
what the process holds after the last of these passes less what it holds after the first; memory that the C
library keeps free for later doesn't count. One crop kept per frame of a clip of 100 frames would be 25 MB.

Ends with exit code 1 when the pipeline reaches less than 85 % of the rate of the slowest stage alone, when
`grown_mb` is above 16, or when it finds anything else than the stages one after the other.
"""

import ctypes
import gc
import math
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import harness
import recording
import start
from fauxface import Scanner, heap
from fauxface.cutting import cut_frame
from fauxface.errors import GateError
from fauxface.following import locate_frame
from fauxface.locator import Locator
from fauxface.pipeline import decoding_threads
from fauxface.precision import locator_beside
from fauxface.results import Result
from fauxface.session import Classifier
from fauxface.sources import Kind, Source
from fauxface.video import Frame, FrameReader
from protocol import Worker
from recording import rate

LIMIT = 0.85
PASSES = 6
MOST_GROWN_MB = 16
IN_MEMORY = 40
INDEPENDENT = "independent processes"


def decode(clip: Path, threads: int) -> tuple[int, float]:
    """Return frames and seconds of decoding alone."""
    with FrameReader(clip, threads=threads) as reader:
        since = time.perf_counter()
        count = sum(1 for _ in reader)
        return count, time.perf_counter() - since


def locate(scanner: Scanner, locator: Locator, frames: list[Frame]) -> tuple[list[np.ndarray], float]:
    """Return the crops of some frames, and the seconds that locating and cutting them took."""
    margin = scanner.bundle.manifest.crop.margin
    crops: list[np.ndarray] = []
    since = time.perf_counter()
    for frame in frames:
        crops += cut_frame("", frame, lambda f: locate_frame(locator, f), margin, picture=False).crops
    return crops, time.perf_counter() - since


def classify(classifier: Classifier, batch: int, crops: list[np.ndarray]) -> float:
    """Return the seconds that classifying some crops takes."""
    since = time.perf_counter()
    for first in range(0, len(crops), batch):
        classifier.logits(np.stack(crops[first : first + batch]))
    return time.perf_counter() - since


def scan(scanner: Scanner, clip: Path, *, overlap: bool) -> tuple[list[Result], float]:
    """Return a clip's results, and the seconds that the scan took from the opened file on, as of `decode`."""
    with scanner.open_frames(Source(Kind.VIDEO, str(clip))) as (_, frames):
        since = time.perf_counter()
        found = [r for r, _ in scanner.scan_frames(frames, "clip", pictures=False, overlap=overlap)]
    return found, time.perf_counter() - since


def processes(scanner: Scanner, clip: Path, stack: ExitStack) -> list[Worker]:
    """Start a scan of one thread in a process of its own for each thread of the scanner; none off the CPU."""
    if scanner.provider != "cpu":
        return []
    options = {
        "bundle": str(scanner.bundle.path),
        "scanner": {"threads": 1, "precision": scanner.precision},
    }
    found = []
    for number in range(scanner.threads):
        name = f"process {number + 1}"
        worker = Worker(name, sys.executable, "pipeline.py", "fauxface", options, own_code=True)
        found.append(stack.enter_context(worker))
        worker.ask("prepare", case=clip.name, spec={"video": str(clip), "frames": None})
    return found


def at_once(workers: Sequence[Worker], clip: Path) -> float:
    """Return the frames per second of all processes together, each going through the clip once."""
    with ThreadPoolExecutor(len(workers)) as pool:
        runs = pool.map(lambda w: w.ask("time", case=clip.name, seconds=0, least=1, lead=0), workers)
        return sum(run["units"][0] / run["seconds"][0] for run in runs)


def passes(scanner: Scanner, clip: Path) -> list[float]:
    """Return the MB that the process holds after each pass through a clip; no result is kept."""
    found = []
    for _ in range(PASSES):
        with scanner.open_frames(Source(Kind.VIDEO, str(clip))) as (_, frames):
            for _ in scanner.scan_frames(frames, "clip", pictures=False):
                pass
        found.append(resident_mb())
    return found


def sampled(clip: Path, threads: int) -> list[Frame]:
    """Return at most `IN_MEMORY` frames from all over a clip: as many faces in each as in the rest."""
    count, _ = decode(clip, threads)
    with FrameReader(clip, threads=threads, every=max(1, math.ceil(count / IN_MEMORY))) as reader:
        return list(reader)


def timed(
    scanner: Scanner, clip: Path, rounds: int, workers: Sequence[Worker]
) -> tuple[dict[str, float], int, int]:
    """Return the median rate of each stage, all in turn, pipeline and processes, and the frames and faces.

    Raises:
        GateError: The pipeline finds something else than the stages one after the other.
    """
    threads = decoding_threads(scanner.threads)
    bundle = scanner.bundle
    locator = Locator.from_spec(locator_beside(bundle, scanner.precision), bundle.manifest.locator)
    sample = sampled(clip, threads)
    rates: dict[str, list[float]] = {}

    def note(name: str, count: int, seconds: float) -> None:
        rates.setdefault(name, []).append(count / seconds)

    frames = faces = 0
    for turn in range(rounds + 1):
        run: Callable[[str, int, float], None] = note if turn else (lambda *_: None)  # the first warms up
        frames, seconds = decode(clip, threads)
        run("decode", frames, seconds)
        crops, seconds = locate(scanner, locator, sample)
        run("locate", len(sample), seconds)
        if crops:
            seconds = classify(scanner.sharing_classifier(), scanner.batch, crops)
            run("classify", len(sample), seconds)
        expected, seconds = scan(scanner, clip, overlap=False)
        run("one after the other", len(expected), seconds)
        found, seconds = scan(scanner, clip, overlap=True)
        run("pipeline", len(found), seconds)
        if workers:
            run(INDEPENDENT, 1, 1 / at_once(workers, clip))
        faces = sum(len(result.faces) for result in found)
        if found != expected:
            raise GateError(f"{clip.name}: the pipeline finds something else; its rate would mean nothing")
    return {name: statistics.median(values) for name, values in rates.items()}, frames, faces


def measure(scanner: Scanner, clip: Path, rounds: int) -> dict[str, Any]:
    """Return the medians of one clip, and the memory held from pass to pass.

    Raises:
        GateError: The pipeline finds something else than the stages one after the other.
    """
    with ExitStack() as stack:
        medians, frames, faces = timed(scanner, clip, rounds, processes(scanner, clip, stack))
    memory = passes(scanner, clip)
    grown = memory[-1] - memory[0]
    stages = {name: medians[name] for name in ("decode", "locate", "classify") if name in medians}
    threads = decoding_threads(scanner.threads)
    used = {"decode": threads, "locate": 1, "classify": scanner.sharing_classifier().threads}
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
        **(
            {"of_independent": round(medians["pipeline"] / medians[INDEPENDENT], 3)}
            if INDEPENDENT in medians
            else {}
        ),
        "resident_mb": [round(value, 1) for value in memory],
        "grown_mb": round(grown, 1),
        "held": medians["pipeline"] >= LIMIT * stages[slowest] and grown <= MOST_GROWN_MB,
    }


def resident_mb() -> float:
    """Return the memory that the process holds, or its peak where the system doesn't tell.

    What is free is given back first, by Python and by glibc: else a leak could hide in the room that the
    frames of earlier work left behind.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / 1e6
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    """Measure, print, write the JSON.

    Raises:
        GateError: A limit isn't held, or the pipeline finds something else than the stages.
    """
    parser = recording.parser(__doc__, "video_pipeline")
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--threads", type=harness.positive)
    parser.add_argument("--rounds", type=harness.positive, default=5)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    heap.share_among_threads()  # as `fauxface scan` does; holes in a heap per thread would pass for growth
    with tempfile.TemporaryDirectory() as folder:
        clips = recording.clips(arguments.clips, Path(folder))
        began = start.before(arguments)
        scanner = Scanner(arguments.bundle, provider=arguments.provider, threads=arguments.threads)
        rows = [measure(scanner, clip, arguments.rounds) for clip in clips]
    limits = {"limit": LIMIT, "passes": PASSES, "most_grown_mb": MOST_GROWN_MB}
    body = {"provider": scanner.provider, "scan_threads": scanner.threads, "rounds": arguments.rounds}
    recording.save(arguments, began, body | limits | {"rows": rows})
    for row in rows:
        rates = ", ".join(f"{name} {value}" for name, value in row["frames_per_s"].items())
        sys.stdout.write(
            f"{row['clip']}: frames/s: {rates}; the pipeline reaches {row['of_slowest_stage']:.0%} of "
            f"{row['slowest_stage']}, {row['of_bound']:.0%} of what the cores allow"
            + (f", {row['of_independent']:.0%} of {INDEPENDENT}" if "of_independent" in row else "")
            + f"; memory grew by {row['grown_mb']} MB in {PASSES} passes\n"
        )
    recording.require_held(rows, "clip")


if __name__ == "__main__":
    harness.run(main)
