import pytest

from fauxface.errors import GateError


def test_rates_of_stages_and_pipeline(load, scanner, clip):
    row = load("video_pipeline").measure(scanner, clip, rounds=1)
    assert (row["frames"], row["faces"]) == (12, 10)
    rates = row["frames_per_s"]
    assert list(rates) == ["decode", "locate", "classify", "one after the other", "pipeline"]
    assert all(value > 0 for value in rates.values())
    stages = {name: rates[name] for name in ("decode", "locate", "classify")}
    assert row["slowest_stage"] == min(stages, key=lambda name: stages[name])
    assert row["of_slowest_stage"] == pytest.approx(rates["pipeline"] / min(stages.values()), rel=0.01)
    used = sum(row["threads_of_stages"][name] / rate for name, rate in stages.items())
    assert row["bound"] == pytest.approx(2 / used, rel=0.01)
    assert row["held"] == (row["of_slowest_stage"] >= 0.85 and row["grown"] <= 1.1)
    assert len(row["resident_mb"]) == 2


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
    held = iter(range(100, 10_000, 100))
    monkeypatch.setattr(script, "resident_mb", lambda: next(held))
    monkeypatch.setattr(script, "LIMIT", 0.0)
    row = script.measure(scanner, clip, rounds=1)
    assert row["grown"] > 1.1
    assert not row["held"]
