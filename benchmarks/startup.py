"""Measure start-up in fresh processes, and the peak memory of scanning a 1080p clip.

Usage: python benchmarks/startup.py [--clip CLIP] [--picture PICTURE] [--rounds 11] [--busy] [--out FILE]

Without a clip or picture, those of the demo are used. The cases take turns, so that drift of the machine hits
all alike. Times and peaks are medians. Ends with exit code 1 when a limit isn't held.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import harness
import recording
import start
from fauxface.errors import BenchmarkError

MAIN = "from fauxface.cli import main; main()"
LIMITS_S = {"import fauxface": 0.3, "fauxface --help": 0.5, "first verdict": 1.2}
LIMITS_MB = {"scan": 400}
"""`scan --annotate` holds frames to draw on and encode besides; the project sets itself no bound for that."""

MEMORY_RUNS = 3


def run(arguments: list[str]) -> tuple[float, float]:
    """Run Python once; return wall seconds and the peak of its resident memory in MB.

    The system counts a child's peak from its fork on, so it is never below the size of this process.

    Raises:
        BenchmarkError: The process failed.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        since = time.perf_counter()
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - since
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            words = log.read().strip().rpartition("\n")[2] or "it says nothing"
            raise BenchmarkError(f"a process ended with exit code {process.returncode}: {words}")
    unit = 1 if sys.platform == "darwin" else 1024
    return seconds, usage.ru_maxrss * unit / 1e6


def cases(picture: Path, bundle: Path | None) -> dict[str, list[str]]:
    """Return the arguments of Python by what they measure."""
    chosen = "None" if bundle is None else repr(str(bundle))
    verdict = f"from fauxface import Scanner; assert Scanner({chosen}).image({str(picture)!r}).faces"
    return {
        "python alone": ["-c", "pass"],
        "import fauxface": ["-c", "import fauxface"],
        "fauxface --help": ["-c", MAIN, "--help"],
        "first verdict": ["-c", verdict],
    }


def measure(rounds: int, picture: Path, clip: Path, bundle: Path | None, folder: Path) -> dict[str, Any]:
    """Return medians and peaks with the limits they have to hold."""
    commands = cases(picture, bundle)
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(rounds + 1):
        for name, arguments in commands.items():
            seconds, _ = run(arguments)
            if turn:  # the first round fills the disk cache and compiles modules
                times[name].append(seconds)
    rows = []
    for name, values in times.items():
        median, limit = statistics.median(values), LIMITS_S.get(name)
        row = {"case": name, "median_s": round(median, 3), "slowest_s": round(max(values), 3)}
        rows.append(row | {"limit_s": limit, "held": limit is None or median <= limit})
    return {"rounds": rounds, "clip": clip.name, "rows": rows, "memory": peaks(clip, bundle, folder)}


def peaks(clip: Path, bundle: Path | None, folder: Path) -> list[dict[str, Any]]:
    """Return the median peak memory of scanning a clip, and that of each run."""
    chosen = [] if bundle is None else ["--bundle", str(bundle)]
    found: dict[str, list[float]] = {"scan": [], "scan --annotate": []}
    for turn in range(MEMORY_RUNS):
        for name, values in found.items():
            out = folder / f"{name}-{turn}"
            options = [*chosen, "--annotate", str(out)] if "--annotate" in name else chosen
            values.append(run(["-c", MAIN, "scan", str(clip), "--jsonl", f"{out}.jsonl", *options])[1])
    rows = []
    for name, values in found.items():
        median, limit = statistics.median(values), LIMITS_MB.get(name)
        row = {"case": name, "peak_mb": round(median), "peaks_mb": [round(value) for value in values]}
        rows.append(row | {"limit_mb": limit, "held": limit is None or median <= limit})
    return rows


def main() -> None:
    """Measure, print, write the JSON.

    Raises:
        GateError: A limit isn't held.
    """
    parser = recording.parser(__doc__, "startup")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--picture", type=Path, default=sorted(recording.DEMO_MEDIA.glob("*.png"))[0])
    parser.add_argument("--rounds", type=harness.positive, default=11)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = recording.clips([arguments.clip] if arguments.clip else [], Path(folder))[0]
        began = start.before(arguments)
        body = measure(arguments.rounds, arguments.picture, clip, arguments.bundle, Path(folder))
    recording.save(arguments, began, body)
    for row in body["rows"]:
        limit = "" if row["limit_s"] is None else f" (limit {row['limit_s']} s)"
        sys.stdout.write(f"{row['case']}: {row['median_s']:.3f} s{limit}\n")
    for row in body["memory"]:
        limit = "" if row["limit_mb"] is None else f" (limit {row['limit_mb']} MB)"
        sys.stdout.write(f"{row['case']} {body['clip']}: peak {row['peak_mb']} MB{limit}\n")
    recording.require_held([*body["rows"], *body["memory"]], "case")


if __name__ == "__main__":
    harness.run(main)
