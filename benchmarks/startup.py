"""Measure start-up in fresh processes, and the peak memory of scanning a 1080p clip.

Usage: python benchmarks/startup.py [--clip CLIP] [--picture PICTURE] [--rounds 11] [--out FILE]

Without a clip or picture, those of the demo are used. The cases take turns, so that drift of the machine hits
all alike. Ends with exit code 1 when a limit isn't held.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from fauxface.bundle import Bundle
from harness import RESULTS
from recording import DEMO_MEDIA, make_clip, save

MAIN = "from fauxface.cli import main; main()"
LIMITS_S = {"import fauxface": 0.3, "fauxface --help": 0.5, "first verdict": 1.2}
LIMIT_MB = 400


def run(arguments: list[str]) -> tuple[float, float]:
    """Run Python once; return wall seconds and the peak of its resident memory in MB.

    The system counts a child's peak from its fork on, so it is never below the size of this process.

    Raises:
        CalledProcessError: The process failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
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
    memory = []
    for name, options in {"scan": [], "scan --annotate": ["--annotate", str(folder / "annotated")]}.items():
        chosen = [] if bundle is None else ["--bundle", str(bundle)]
        out = str(folder / f"{len(memory)}.jsonl")
        _, peak = run(["-c", MAIN, "scan", str(clip), "--jsonl", out, *chosen, *options])
        limit = None if options else LIMIT_MB
        held = limit is None or peak <= limit
        memory.append({"case": name, "peak_mb": round(peak), "limit_mb": limit, "held": held})
    return {"rounds": rounds, "clip": clip.name, "rows": rows, "memory": memory}


def main() -> int:
    """Measure, print, write the JSON; 1 where a limit isn't held."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--picture", type=Path, default=sorted(DEMO_MEDIA.glob("*.png"))[0])
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--out", type=Path, default=RESULTS / "startup.json")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clip = arguments.clip or make_clip(Path(folder) / "demo_1080p.mp4")
        body = measure(arguments.rounds, arguments.picture, clip, arguments.bundle, Path(folder))
    save(arguments.out, "startup", Bundle.load(arguments.bundle), body)
    for row in body["rows"]:
        limit = "" if row["limit_s"] is None else f" (limit {row['limit_s']} s)"
        sys.stdout.write(f"{row['case']}: {row['median_s']:.3f} s{limit}\n")
    for row in body["memory"]:
        limit = "" if row["limit_mb"] is None else f" (limit {row['limit_mb']} MB)"
        sys.stdout.write(f"{row['case']} {body['clip']}: peak {row['peak_mb']} MB{limit}\n")
    return 0 if all(row["held"] for row in body["rows"] + body["memory"]) else 1


if __name__ == "__main__":
    raise SystemExit(main())
