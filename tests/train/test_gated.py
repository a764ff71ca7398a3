import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

import dataclasses

from fauxface.gates import Gates
from fauxface_train import evaluate, pages, report, stopped
from fauxface_train.dataset import COLUMNS, PreparedData
from fauxface_train.scorers import open_scorer

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
NOISE = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
PLAIN = np.full((128, 128, 3), 120, np.uint8)
AHEAD = "30 40 60 40 45 57 35 70 55 70"
ASIDE = "30 40 60 40 62 57 35 70 55 70"
TILTED = "40 30 40 60 23 45 10 35 10 55"
ALL = Gates(min_sharpness=12, max_yaw=33, max_roll=17)


@pytest.fixture
def posed(write_prepared):
    """Faces straight ahead, turned aside, tilted, small, and without landmarks; of each label one."""
    extras = [
        {"landmarks": AHEAD},
        {"landmarks": ASIDE},
        {"landmarks": TILTED},
        {"landmarks": ASIDE, "box_w": 20, "box_h": 30.9},
        {},
    ]
    rows = [("test", "real", "camera", 100, extra) for extra in extras]
    rows += [("test", "fake", "gan", 100, extra) for extra in extras]
    return write_prepared(rows)


@pytest.mark.parametrize(
    ("number", "crop", "gates", "smallest", "name"),
    [
        (0, NOISE, ALL, 40, ""),
        (0, PLAIN, ALL, 40, "min_sharpness"),
        (1, NOISE, ALL, 40, "max_yaw"),
        (1, PLAIN, ALL, 40, "min_sharpness"),
        (1, NOISE, Gates(max_roll=17), 40, ""),
        (2, NOISE, ALL, 40, "max_roll"),
        (3, NOISE, ALL, 31, "min_face_px"),
        (3, NOISE, ALL, 30, "max_yaw"),
        (4, NOISE, ALL, 40, ""),
        (1, PLAIN, Gates(), 0, ""),
    ],
)
def test_the_first_limit_that_a_face_fails_is_named(number, crop, gates, smallest, name, posed):
    sample = PreparedData.load(posed).samples()[number]
    assert stopped.failed(sample, crop, gates, smallest) == name


def test_figures_with_gates_by_hand(posed):
    tiny = open_scorer(TINY, "cpu")
    point = dataclasses.replace(tiny.point, gates=Gates(max_yaw=33, max_roll=17), min_face_px=40)
    strict = dataclasses.replace(tiny, point=point)
    document = evaluate.evaluate(strict, PreparedData.load(posed), replicates=2).document
    # All ten faces are called generated; three of each label fail a gate.
    assert document["overall"]["bpcer"]["count"] == 5
    found = document["gates"]
    assert found["limits"] == {"min_face_px": 40, "max_yaw": 33, "max_roll": 17}
    assert found["failed_by"] == {"min_face_px": 2, "max_yaw": 2, "max_roll": 2}
    counts = {
        name: (found[name]["count"], found[name]["total"]) for name in ("failed", "bpcer", "apcer", "unsure")
    }
    assert counts == {"failed": (6, 10), "bpcer": (2, 5), "apcer": (3, 5), "unsure": (6, 10)}
    assert found["accuracy_when_decided"]["value"] == 0.5
    assert found["without_landmarks"] == 2
    assert [(row["source"], row["failed"]["count"]) for row in found["sources"]] == [
        ("camera", 3),
        ("gan", 3),
    ]
    text = pages.markdown(report.blocks(document))
    assert "min_face_px 40 (2), max_yaw 33 (2), max_roll 17 (2)" in text
    assert "Of 2 faces no landmarks are known" in text


def test_gates_that_stop_all_leave_no_accuracy(posed):
    tiny = open_scorer(TINY, "cpu")
    strict = dataclasses.replace(tiny, point=dataclasses.replace(tiny.point, min_face_px=1000))
    found = evaluate.evaluate(strict, PreparedData.load(posed), replicates=2).document["gates"]
    assert found["accuracy_when_decided"] == {"value": None, "reason": "no samples"}


def test_data_prepared_before_landmarks_were_kept_pass_the_gates_of_pose(posed):
    path = posed / "manifest.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [name for name in COLUMNS if name != "landmarks"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, kept, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    samples = PreparedData.load(posed).samples()
    assert [sample.landmarks for sample in samples] == [()] * 10
    assert stopped.failed(samples[1], NOISE, ALL) == ""
