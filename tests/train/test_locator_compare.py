import dataclasses
import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from typer.testing import CliRunner

from fauxface.cli import build_app
from fauxface.errors import DataError, GateError, OutputError
from fauxface.locator import Location
from fauxface_train.intervals import clopper_pearson
from fauxface_train.locator import compare as compare_module
from fauxface_train.locator.compare import Settings, compare, gather
from fauxface_train.locator.conditions import CONDITIONS, choose, is_child, rng_for
from fauxface_train.locator.cost import multiply_adds
from fauxface_train.locator.tally import Tally, nominal_scale
from fauxface_train.locator.verdict import Bar, render

SMALL = Settings(sides=(96,), smallest=4)


def location(x, y, side, shift=0.0):
    points = tuple((x + side * a + shift, y + side * b) for a, b in ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6)))
    return Location((x, y, side, side), (*points, points[0], points[1]), 0.9)


def test_small_faces_are_counted_but_not_judged():
    tally = Tally(smallest=24)
    reference = [location(0, 0, 100), location(200, 0, 30), location(400, 0, 10)]
    found = [location(0, 0, 100, 5.0), location(201, 0, 23), location(600, 0, 20), location(800, 0, 50)]
    tally.add(reference, found, 1.0)
    rates = tally.to_dict()
    assert (rates["reference_faces"], rates["found_faces"]) == (2, 2)
    assert rates["recall"] == 1  # the second one is found, if a pixel below the limit
    assert rates["precision"] == 0.5
    assert rates["any_size"]["recall"] == pytest.approx(2 / 3, abs=1e-4)
    assert rates["any_size"]["precision"] == 0.5
    assert rates["mean_iou"] == pytest.approx((1 + 23 * 23 / (30 * 30)) / 2, abs=1e-4)
    assert [band["reference_faces"] for band in rates["bands"]] == [1, 0, 1, 0, 1]
    assert [band["matched"] for band in rates["bands"]] == [0, 0, 1, 0, 1]
    low, high = rates["recall_interval"]
    assert low < 1 == high


def test_the_landmark_error_is_a_share_of_the_box():
    tally = Tally(smallest=24)
    tally.add([location(0, 0, 100)], [location(0, 0, 100, 5.0)], 1.0)
    assert tally.to_dict()["landmark_error"] == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("shape", "side", "judged"), [((960, 640), 70, 0), ((960, 640), 74, 1), ((200, 100), 25, 1)]
)
def test_sizes_are_those_in_the_nominal_copy(shape, side, judged):
    tally = Tally(smallest=24)
    tally.add([location(0, 0, side)], [], nominal_scale(np.zeros((*shape, 3), np.uint8)))
    assert tally.reference == judged
    assert tally.reference_all == 1


def test_nothing_to_count_gives_no_rates():
    rates = Tally().to_dict()
    assert rates["recall"] is rates["precision"] is rates["mean_iou"] is rates["recall_interval"] is None


def test_a_picture_that_is_given_twice_counts_once(drawn_faces, random_teacher):
    one = drawn_faces / "faces" / "0.png"
    files = gather([drawn_faces / "faces", one, drawn_faces / "faces"], [one])
    assert len(files) == 8
    assert files[0].groups == [str(drawn_faces / "faces"), str(one)]
    assert files[0].negatives == [str(one)]
    content = random_teacher.read_bytes()
    report = compare(content, content, [drawn_faces / "faces", one], SMALL, negatives=[one])
    side = report["sides"]["96"]
    assert side["all"]["pictures"] == 8
    assert [group["pictures"] for group in side["groups"].values()] == [8, 1]
    assert side["negatives"][str(one)]["pictures"] == 1


def test_frames_of_one_clip_are_not_independent():
    apart, clips = Tally(smallest=24), Tally(smallest=24)
    face = [location(0, 0, 100)]
    for clip in range(5):
        for _ in range(20):
            found = face if clip else []
            apart.add(face, found, 1.0)
            clips.add(face, found, 1.0, f"clip {clip}")
    rates = apart.to_dict(), clips.to_dict()
    assert rates[0]["recall"] == rates[1]["recall"] == 0.8
    (low, high), (lower, higher) = (r["recall_interval"] for r in rates)
    assert (low, high) == pytest.approx(clopper_pearson(80, 100), abs=1e-5)
    assert lower < 0.5 < low < high < higher == 1
    assert rates[1]["precision_interval"] == pytest.approx([clopper_pearson(80, 80)[0], 1], abs=1e-5)


def test_a_locator_agrees_with_itself(random_teacher, drawn_faces):
    content = random_teacher.read_bytes()
    report = compare(content, content, [drawn_faces / "faces", drawn_faces / "backgrounds"], SMALL)
    side = report["sides"]["96"]
    assert side["all"]["pictures"] == 12
    assert side["all"]["reference_faces"] > 0
    assert side["all"]["recall"] == side["all"]["precision"] == 1
    assert side["all"]["mean_iou"] == pytest.approx(1)
    assert side["all"]["landmark_error"] == 0
    assert sum(group["pictures"] for group in side["groups"].values()) == 12
    assert side["time"]["locator_ms"] > 0
    assert side["time"]["locator_macs"] == side["time"]["reference_macs"] > 0
    strict = Bar(min_recall=1, min_precision=1, min_iou=0.99, max_landmark_error=0, max_time_ratio=100)
    assert strict.misses(report) == []
    text = render(report, [])
    assert "at most 96 px" in text
    assert "All kept." in text


def test_a_deaf_locator_finds_nothing_and_fails(random_teacher, drawn_faces):
    content = random_teacher.read_bytes()
    deaf = Settings(sides=(96,), smallest=4, threshold=1.0)
    report = compare(content, content, [drawn_faces / "faces"], deaf, negatives=[drawn_faces / "backgrounds"])
    rates = report["sides"]["96"]["all"]
    assert rates["found_faces"] == 0
    assert rates["recall"] == 0
    assert rates["precision"] is None
    misses = Bar(min_recall=0.97, min_precision=0.97, max_extra_false=0).misses(report)
    assert len(misses) == 2
    assert "recall 0.0000, asked 0.97" in misses[0]
    assert "precision -, asked 0.97" in misses[1]
    assert "- missed: " in render(report, misses)


def test_more_false_faces_than_the_reference_fail(random_teacher, drawn_faces):
    content = random_teacher.read_bytes()
    eager = Settings(sides=(96,), smallest=4, reference_threshold=1.0)
    negatives = [drawn_faces / "backgrounds"]
    report = compare(content, content, [drawn_faces / "faces"], eager, negatives=negatives)
    seen = report["sides"]["96"]["negatives"][str(negatives[0])]
    assert seen["found_faces"] > seen["reference_faces"] == 0
    assert len(Bar(max_extra_false=0).misses(report)) == 1
    assert Bar(max_extra_false=seen["found_faces"]).misses(report) == []
    assert "no face that is large enough" in Bar(min_recall=0.5).misses(report)[0]
    report["sides"]["96"]["negatives"] = {}
    assert "no negatives" in Bar(max_extra_false=0).misses(report)[0]


def test_a_folder_that_cannot_be_read_counts_as_missed(random_teacher, drawn_faces, tmp_path):
    bad = [tmp_path / "bad", tmp_path / "worse"]
    for folder in bad:
        folder.mkdir()
        (folder / "a.jpg").write_bytes(b"no picture")
    content = random_teacher.read_bytes()
    report = compare(content, content, [drawn_faces / "faces", bad[0]], SMALL, negatives=[bad[1]])
    assert len(report["skipped"]) == 2
    both = "2 files couldn't be read or broke off; see skipped"
    unread = " at 96 px: none of its files could be read"
    assert Bar(min_recall=0.5).misses(report) == [f"{bad[0]}{unread}", both]
    assert Bar(max_extra_false=0).misses(report) == [f"{bad[1]}{unread}", both]
    assert Bar(max_time_ratio=100).misses(report) == []


def test_large_pictures_are_searched_as_the_runtime_does(random_teacher, drawn_faces, monkeypatch):
    seen = []
    opened = compare_module.Locator

    def noted(*arguments, **options):
        seen.append(options)
        return opened(*arguments, **options)

    monkeypatch.setattr(compare_module, "Locator", noted)
    content = random_teacher.read_bytes()
    settings = dataclasses.replace(SMALL, min_scale=0.6)
    report = compare(content, content, [drawn_faces / "faces"], settings)
    assert seen == [{"max_side": 96, "min_scale": 0.6}] * 2
    assert "copies of 0.6 of a picture" in render(report)


def test_comparing_needs_pictures(random_teacher, tmp_path):
    content = random_teacher.read_bytes()
    with pytest.raises(DataError, match="no such file"):
        compare(content, content, [tmp_path / "absent"])
    with pytest.raises(DataError, match="no picture or video"):
        compare(content, content, [tmp_path])
    (tmp_path / "bad.png").write_bytes(b"")
    with pytest.raises(DataError, match="none of the files"):
        compare(content, content, [tmp_path])


@pytest.mark.parametrize("name", CONDITIONS)
def test_a_condition_depends_on_name_and_seed_alone(name, tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    face = location(20, 25, 40)
    made = [
        CONDITIONS[name](picture, face, rng_for(folder / "a.png", name, seed))
        for folder, seed in ((tmp_path, 0), (tmp_path / "other", 0), (tmp_path, 1))
    ]
    assert all(p.shape == picture.shape and p.dtype == np.uint8 for p in made)
    assert (made[0] == made[1]).all()
    assert (made[0] == picture).all() == (name == "as given")


@pytest.mark.parametrize(
    ("name", "measure", "low", "high"),
    [
        ("dark", lambda p: p.mean(), 0.05, 0.3),
        ("blurred", lambda p: p.std(), 0.1, 0.9),
        ("partly hidden", lambda p: len(np.unique(p.reshape(-1, 3), axis=0)), 0.85, 0.99),
    ],
)
def test_a_condition_does_what_it_says(name, measure, low, high):
    picture = np.random.default_rng(0).integers(0, 256, (90, 80, 3), np.uint8)
    for seed in range(5):
        changed = CONDITIONS[name](picture, location(20, 25, 40), np.random.default_rng(seed))
        assert low < measure(changed) / measure(picture) < high


def test_turning_is_about_the_face_by_thirty_degrees():
    picture = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(picture, (150, 100), 3, (255, 255, 255), -1)
    turned = CONDITIONS["rotated by 30 degrees"](picture, location(80, 80, 40), np.random.default_rng(0))
    rows, columns = np.nonzero(turned[..., 0] > 128)
    degrees = np.degrees(np.arctan2(rows.mean() - 100, columns.mean() - 100))
    assert abs(degrees) == pytest.approx(30, abs=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("3_0_1_20170110213500903.jpg.chip.jpg", True),
        ("12_1_0_20170110213500903.jpg", True),
        ("13_1_0_20170110213500903.jpg", False),
        ("portrait.jpg", False),
    ],
)
def test_children_are_known_by_their_names(tmp_path, name, expected):
    assert is_child(tmp_path / name) == expected


def test_the_choice_of_pictures_does_not_hang_on_their_order(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(50)]
    chosen = choose(paths, 10, 0)
    assert len(chosen) == 10
    assert set(choose(paths[::-1], 10, 0)) == set(chosen) != set(choose(paths, 10, 1))
    assert choose(paths, 99, 0) == paths


def test_hard_conditions_have_a_table_of_their_own(random_teacher, drawn_faces, tmp_path):
    shutil.copy(drawn_faces / "faces" / "1.png", tmp_path / "4_0_1_20170110213500903.png")
    shutil.copy(drawn_faces / "faces" / "0.png", tmp_path / "4_0_1_20170110213500903.jpg")
    content = random_teacher.read_bytes()
    report = compare(content, content, [drawn_faces / "faces"], SMALL, faces=[tmp_path])
    hard = report["sides"]["96"]["conditions"]
    assert list(hard) == [*CONDITIONS, "children"]
    assert hard["as given"]["pictures"] == 2
    assert hard["children"]["pictures"] == 1
    assert all(rates["recall"] in (1, None) for rates in hard.values())
    assert report["sides"]["96"]["all"]["pictures"] == 8
    assert "Under hard conditions" in render(report)


def test_the_cost_is_that_of_the_convolutions(random_teacher):
    data = random_teacher.read_bytes()
    assert multiply_adds(data, 64) == 4 * multiply_adds(data, 32) > 32 * 32 / 4 * 27 * 4


def test_the_command_writes_its_reports_and_fails_a_gate(random_teacher, drawn_faces, tmp_path):
    arguments = ["locator", "compare", str(random_teacher), str(random_teacher), str(drawn_faces / "faces")]
    arguments += ["--side", "64", "--smallest", "4", "--json", str(tmp_path / "r.json")]
    arguments += ["--markdown", str(tmp_path / "r.md")]
    done = CliRunner().invoke(build_app(), [*arguments, "--min-recall", "0.9"], catch_exceptions=False)
    assert done.exit_code == 0
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["missed"] == []
    assert report["asked"]["min_recall"] == 0.9
    assert report["sides"]["64"]["all"]["pictures"] == 8
    assert (tmp_path / "r.md").read_text() == done.stdout
    with pytest.raises(GateError, match=r"misses what was asked: .*recall 0"):
        CliRunner().invoke(
            build_app(), [*arguments, "--min-recall", "1", "--threshold", "1"], catch_exceptions=False
        )
    assert json.loads((tmp_path / "r.json").read_text())["missed"]


@pytest.mark.parametrize("option", ["--json", "--markdown"])
def test_a_report_that_cannot_be_written_is_said_first(option, random_teacher, tmp_path):
    arguments = ["locator", "compare", str(random_teacher), str(random_teacher), str(tmp_path / "absent")]
    with pytest.raises(OutputError, match="it is a folder"):
        CliRunner().invoke(build_app(), [*arguments, option, str(tmp_path)], catch_exceptions=False)
