import pytest

from fauxface import Bundle
from fauxface.locator import Location


def face(x, y, side):
    return Location((x, y, side, side), ((x, y),) * 5, 0.9)


def test_recall_counts_faces_of_the_reference(load):
    script = load("locator_policies")
    tally = script.Tally()
    tally.seconds = [0.01, 0.01]
    tally.add([face(10, 10, 100), face(300, 10, 30)], [face(15, 10, 100)], 40)
    tally.add([], [face(0, 0, 50)], 40)
    reference = script.Tally(seconds=[0.02, 0.02])
    row = tally.row("every 2", "a.mp4", reference)
    assert (row["faces"], row["recall"], row["recall_judged"], row["extra"]) == (2, 0.5, 1.0, 1)
    assert row["box_shift_p95"] == pytest.approx(0.05)
    assert (row["mean_ms"], row["speed"]) == (10.0, 2.0)


def test_a_clip_without_faces_has_no_recall(load):
    script = load("locator_policies")
    tally = script.Tally(seconds=[0.01])
    tally.add([], [], 40)
    row = tally.row("every 2", "a.mp4", tally)
    assert (row["recall"], row["recall_judged"], row["box_shift_p95"]) == (None, None, None)


def test_every_side_is_held_against_the_whole_frame(load, scanner, clip):
    rows = load("locator_sides").measure(clip, Bundle.load(scanner.bundle.path), [640], 1)
    assert [row["policy"] for row in rows] == ["whole frame", "640 px"]
    assert [row["judged"] for row in rows] == [10, 10]
    assert [row["recall_judged"] for row in rows] == [1.0, 1.0]


def test_policies_take_turns_and_the_first_frame_is_not_timed(load, clip, monkeypatch):
    script, order = load("locator_policies"), []
    clock = iter(range(1000))
    monkeypatch.setattr(script.time, "perf_counter", lambda: next(clock))

    def policy(name):
        return lambda _: order.append(name) or []

    rows = script.compare(clip, {name: policy(name) for name in "abc"}, 4, 40)
    assert "".join(order) == "abcbcacab"
    assert [(row["frames"], row["mean_ms"]) for row in rows] == [(3, 1000.0)] * 3


def test_every_policy_has_a_row(load, scanner, clip):
    rows = load("locator_policies").measure(clip, Bundle.load(scanner.bundle.path), [3], 1)
    searches = ["float locator", "INTER_AREA copy", "FaceDetectorYN"]
    assert [row["policy"] for row in rows] == ["every frame", "every 3", *searches]
    by_name = {row["policy"]: row for row in rows}
    assert all(row["faces"] == 10 and row["frames"] == 12 for row in rows)
    for same in ("every frame", *searches):
        assert (by_name[same]["recall"], by_name[same]["extra"]) == (1.0, 0)
        assert by_name[same]["box_shift_p95"] < 0.01
    assert by_name["every 3"]["recall"] >= 0.8
