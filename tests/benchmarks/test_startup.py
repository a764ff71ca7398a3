import subprocess
import sys
from pathlib import Path

import pytest

from fauxface.errors import BenchmarkError


def test_a_process_is_timed_and_its_memory_measured(load):
    # In a small process of its own, since a child's peak is never below its parent's size.
    folder = Path(load("startup").__file__).parent
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from startup import run\n"
        "print(*run(['-c', 'pass']), *run(['-c', 'import time; b = b\"1\" * 300_000_000; time.sleep(0.3)']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    short, small, long, large = map(float, done.stdout.split())
    assert 0 < short < 20
    assert long >= 0.3
    assert large >= 300 > small


def test_a_process_that_fails_ends_the_run(load):
    with pytest.raises(BenchmarkError, match="exit code 1: last words"):
        load("startup").run(["-c", "print('some'); raise SystemExit('first\\nlast words')"])


@pytest.mark.parametrize(("measured", "held"), [((0.1, 100), True), ((0.4, 100), False), ((0.1, 500), False)])
def test_limits_are_judged_by_medians(load, monkeypatch, tmp_path, measured, held):
    script, seen = load("startup"), []
    seconds, peak = measured

    def run(arguments):
        seen.append(arguments)
        return (9.0 if len(seen) <= 4 else seconds), peak

    monkeypatch.setattr(script, "run", run)
    body = script.measure(3, Path("a.png"), Path("clip.mp4"), None, tmp_path)
    assert [row["median_s"] for row in body["rows"]] == [seconds] * 4
    assert all(row["held"] for row in body["rows"] + body["memory"]) == held
    assert len(seen) == 4 * 4 + 2 * 3
    assert body["memory"][1]["limit_mb"] is None


def test_peak_memory_is_the_median_of_runs_that_share_no_output(load, monkeypatch, tmp_path):
    script, seen = load("startup"), []
    peaks = iter([390, 500, 450, 501, 391, 502])

    def run(arguments):
        seen.append(arguments)
        return 1.0, next(peaks)

    monkeypatch.setattr(script, "run", run)
    rows = script.peaks(Path("clip.mp4"), None, tmp_path)
    assert [(row["peak_mb"], row["peaks_mb"], row["held"]) for row in rows] == [
        (391, [390, 450, 391], True),
        (501, [500, 501, 502], True),
    ]
    assert len({arguments[arguments.index("--jsonl") + 1] for arguments in seen}) == 6
    assert ["--annotate" in arguments for arguments in seen] == [False, True] * 3
