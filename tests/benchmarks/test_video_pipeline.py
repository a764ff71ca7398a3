import ctypes

import numpy as np
import pytest

from fauxface.errors import GateError


def test_rates_of_stages_and_pipeline(load, scanner, clip):
    row = load("video_pipeline").measure(scanner, clip, rounds=1)
    assert (row["frames"], row["faces"]) == (12, 10)
    rates = row["frames_per_s"]
    assert list(rates) == [
        "decode", "locate", "classify", "one after the other", "pipeline", "independent processes",
    ]  # fmt: skip
    assert all(value > 0 for value in rates.values())
    stages = {name: rates[name] for name in ("decode", "locate", "classify")}
    assert row["slowest_stage"] == min(stages, key=lambda name: stages[name])
    assert row["of_slowest_stage"] == pytest.approx(rates["pipeline"] / min(stages.values()), rel=0.01)
    assert row["of_independent"] == pytest.approx(
        rates["pipeline"] / rates["independent processes"], rel=0.01
    )
    used = sum(row["threads_of_stages"][name] / rate for name, rate in stages.items())
    assert row["bound"] == pytest.approx(2 / used, rel=0.01)
    assert row["held"] == (row["of_slowest_stage"] >= 0.85 and row["grown_mb"] <= 16)
    assert len(row["resident_mb"]) == 6
    assert row["grown_mb"] == pytest.approx(row["resident_mb"][-1] - row["resident_mb"][0], abs=0.11)


@pytest.mark.parametrize(
    ("most", "indices"), [(5, [0, 3, 6, 9]), (6, [0, 2, 4, 6, 8, 10]), (40, list(range(12)))]
)
def test_frames_in_memory_are_from_all_over_the_clip(load, clip, monkeypatch, most, indices):
    script = load("video_pipeline")
    monkeypatch.setattr(script, "IN_MEMORY", most)
    assert [frame.index for frame in script.sampled(clip, 1)] == indices


def test_other_results_end_the_run(load, scanner, clip, monkeypatch):
    script = load("video_pipeline")
    scan = script.scan

    def cut_short(*arguments, overlap):
        found, seconds = scan(*arguments, overlap=overlap)
        return found[:-1] if overlap else found, seconds

    monkeypatch.setattr(script, "scan", cut_short)
    with pytest.raises(GateError, match="something else"):
        script.measure(scanner, clip, rounds=1)


def test_growing_memory_is_not_held(load, scanner, clip, monkeypatch):
    script = load("video_pipeline")
    kept, scanned = [], scanner.scan_frames

    def leaking(*arguments, **options):
        for found in scanned(*arguments, **options):
            kept.append(np.ones(400_000, np.uint8))
            yield found

    monkeypatch.setattr(scanner, "scan_frames", leaking)
    monkeypatch.setattr(script, "LIMIT", 0.0)
    row = script.measure(scanner, clip, rounds=1)
    # 12 frames of each of five passes after the first one
    assert row["grown_mb"] == pytest.approx(5 * 12 * 0.4, abs=6)
    assert not row["held"]


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="needs glibc")
def test_free_memory_does_not_count(load):
    script = load("video_pipeline")
    before = script.resident_mb()
    # Small pieces, which the C library keeps for later when they are freed.
    pieces = [b"x" * (50_000 + i) for i in range(1000)]
    full = script.resident_mb()
    last = pieces[-1]
    del pieces
    assert full >= before + 40
    assert script.resident_mb() <= before + 10, len(last)
