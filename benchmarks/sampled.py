"""Sample where a whole scan of a clip spends its time, from outside the process, with py-spy.

Usage: python benchmarks/sampled.py [CLIP ...] [--rate 250] [--rounds 5] [--busy] [--out FILE]

py-spy, which must be installed (`pip install py-spy`), looks at the stacks of all busy threads many times a
second while another process scans each clip a few times, pipelined as `fauxface scan` does. Nothing in the
path is timed or wrapped, so that what hot_path.py doesn't wrap is seen too. A sample counts for the innermost
function of fauxface on the stack, so that time in OpenCV, FFmpeg or ONNX Runtime counts for the function that
called them; what comes before the first frame is left out. Without a clip, one is made of the demo's faces.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import harness
import recording
import start
from fauxface import Scanner
from fauxface.errors import BenchmarkError, MissingExtraError

SHOWN = 0.005
OUTSIDE = "no function of fauxface"
_FRAME = re.compile(r"^(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)$")
_STARTS = ("Scanner.__init__", "_call_with_frames_removed")
_DRIVER = """
import sys, cv2
from fauxface import Scanner, heap
heap.share_among_threads()
cv2.setNumThreads(1)
scanner = Scanner(sys.argv[1], provider=sys.argv[2])
for _ in range(int(sys.argv[4])):
    for _ in scanner.video(sys.argv[3]):
        pass
"""


def by_function(raw: str) -> Counter[str]:
    """Count samples by innermost function of fauxface.

    Args:
        raw: What `py-spy record --format raw` wrote: "outer (file:line);inner (file:line) COUNT" per line.

    Returns:
        Samples by "file.py: function", or `OUTSIDE`, without those of imports and of making the scanner, and
        without threads that wait for another one, which py-spy takes for busy.

    Raises:
        BenchmarkError: A line is something else.
    """
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_FRAME.match(frame) for frame in stack.split(";")] if stack else []
        if not count.isdigit() or None in frames:
            raise BenchmarkError(f"can't read a line of py-spy: {line[:100]!r}")
        known = [frame for frame in frames if frame is not None]
        if any(frame["function"] in _STARTS for frame in known) or (known and _waits(known[-1])):
            continue
        ours = [frame for frame in known if "fauxface" in Path(frame["file"]).parts]
        name = f"{Path(ours[-1]['file']).name}: {ours[-1]['function']}" if ours else OUTSIDE
        counts[name] += int(count)
    return counts


def _waits(frame: re.Match[str]) -> bool:
    return Path(frame["file"]).name == "threading.py" and frame["function"].rpartition(".")[2] == "wait"


def measure(clip: Path, bundle: Path, provider: str, rate: int, rounds: int) -> dict[str, Any]:
    """Return the share of each function while a clip is scanned.

    Raises:
        BenchmarkError: py-spy fails.
        MissingExtraError: py-spy isn't installed.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "stacks.txt"
        driver = [sys.executable, "-c", _DRIVER, str(bundle), provider, str(clip), str(rounds)]
        sampler = [_py_spy(), "record", "--format", "raw", "--rate", str(rate), "--output", str(out)]
        done = subprocess.run([*sampler, "--", *driver], capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip().rpartition("\n")[2] or f"exit code {done.returncode}"
            raise BenchmarkError(f"py-spy can't sample the scan of {clip.name}: {words}")
        counts = by_function(out.read_text(encoding="utf-8"))
    total = counts.total()
    shown = {name: round(count / total, 4) for name, count in counts.most_common() if count >= SHOWN * total}
    return {"clip": clip.name, "samples": total, "shares": shown}


def _py_spy() -> str:
    found = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if found is None:
        raise MissingExtraError("py-spy isn't installed; run: pip install py-spy")
    return found


def main() -> None:
    """Sample, print, write the JSON."""
    parser = recording.parser(__doc__, "sampled")
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--provider", default="cpu")
    parser.add_argument("--rate", type=harness.positive, default=250, help="samples per second")
    parser.add_argument("--rounds", type=harness.positive, default=5, help="scans of each clip")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clips = recording.clips(arguments.clips, Path(folder))
        began = start.before(arguments)
        # Opened here too: what is wrong with the bundle or the provider is told before a process starts.
        bundle = Scanner(arguments.bundle, provider=arguments.provider).bundle
        settings = (bundle.path, arguments.provider, arguments.rate, arguments.rounds)
        rows = [measure(clip, *settings) for clip in clips]
    body = {"provider": arguments.provider, "rate": arguments.rate, "rounds": arguments.rounds, "rows": rows}
    recording.save(arguments, began, body)
    for row in rows:
        sys.stdout.write(f"{row['clip']}, {row['samples']} samples\n")
        for name, share in row["shares"].items():
            sys.stdout.write(f"  {share:6.1%}  {name}\n")


if __name__ == "__main__":
    harness.run(main)
