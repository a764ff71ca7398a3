import time

import pytest

from fauxface import cutting


def test_a_step_inside_another_one_is_taken_from_it(load, monkeypatch):
    clock, now = load("hot_path").Clock(), iter((0.0, 1.0, 4.0, 6.0))
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    with clock.step("outer"), clock.step("inner"):
        pass
    assert (clock.seconds["outer"], clock.seconds["inner"]) == (3.0, 3.0)


@pytest.mark.parametrize("batch", [1, 4])
def test_every_step_of_a_scan_is_timed(load, scanner, clip, batch):
    script = load("hot_path")
    original = cutting.extract
    (row,) = script.measure(scanner, clip, [batch], rounds=1)
    assert (row["frames"], row["faces"], row["clip"]) == (12, 10, "clip.mp4")
    steps = row["ms_per_frame"]
    assert set(steps) >= {
        "decode",
        "network",
        "tensor",
        "extract",
        "to_input",
        "classify",
        "verdict",
        "other",
    }
    assert all(value >= 0 for value in steps.values())
    inside = sum(value for name, value in steps.items() if name not in script.OUTSIDE)
    crop = sum(steps[name] for name in script.CROP_STEPS)
    assert row["crop_share"] == pytest.approx(crop / inside, abs=0.01)
    assert row["held"] == (row["crop_share"] <= script.LIMIT)
    assert cutting.extract is original


def test_a_round_runs_every_batch_and_the_next_one_starts_with_another(load, scanner, clip, monkeypatch):
    script = load("hot_path")
    scan, order = script._scan, []

    def noted(scanner, clip, batch, clock):
        order.append(batch)
        return scan(scanner, clip, batch, clock)

    monkeypatch.setattr(script, "_scan", noted)
    rows = script.measure(scanner, clip, [1, 8], rounds=2)
    assert order == [1, 8, 8, 1, 1, 8]
    assert [(row["batch"], row["frames"], row["faces"]) for row in rows] == [(1, 24, 20), (8, 24, 20)]
