import json

import numpy as np
import pytest

from fauxface.verdicts import Thresholds
from fauxface_train.conditions import select

metrics = pytest.importorskip("fauxface_train.metrics")
robustness = pytest.importorskip("fauxface_train.robustness")
POINT = Thresholds(0.3, 0.7)
GRID = select("jpeg60,blur2")
CLEAN = metrics.Scored(
    np.array([0.1, 0.2, 0.5, 0.8, 0.9, 0.9, 0.6, 0.1]),
    np.array([0, 0, 0, 0, 1, 1, 1, 1]),
    np.array(["camera", "camera", "camera", "phone", "gan", "gan", "gan", "diffusion"]),
)
DEGRADED = {
    # One camera picture becomes unsure, the phone's too; of the gan's, one becomes unsure and one bona fide.
    "jpeg60": np.array([0.1, 0.4, 0.5, 0.6, 0.9, 0.65, 0.2, 0.1]),
    "blur2": np.array([0.1, 0.75, 0.8, 0.9, 0.9, 0.9, 0.9, 0.9]),
}


@pytest.fixture(scope="module")
def found():
    return robustness.evaluate(CLEAN, DEGRADED, GRID, POINT, replicates=100)


def counts(value):
    return value["count"], value["total"]


@pytest.mark.parametrize(
    ("condition", "key", "expected"),
    [
        ("clean", "apcer", (2, 4)),
        ("clean", "bpcer", (1, 4)),
        ("clean", "unsure", (2, 8)),
        ("jpeg60", "apcer", (3, 4)),
        ("jpeg60", "bpcer", (0, 4)),
        ("jpeg60", "unsure", (4, 8)),
        ("jpeg60", "flipped", (4, 8)),
        ("blur2", "bpcer", (3, 4)),
        ("blur2", "flipped", (4, 8)),
    ],
)
def test_rates_by_hand(found, condition, key, expected):
    assert counts(found["conditions"][condition][key]) == expected


def test_flips_per_label_by_hand(found):
    per = {
        name: {label: counts(value) for label, value in entry["flipped_per_label"].items()}
        for name, entry in found["conditions"].items()
        if name != "clean"
    }
    assert per == {
        "jpeg60": {"bona_fide": (2, 4), "generated": (2, 4)},
        "blur2": {"bona_fide": (2, 4), "generated": (2, 4)},
    }


def test_sources_by_hand(found):
    got = {
        name: {source: counts(value) for source, value in entry["apcer_per_source"].items()}
        for name, entry in found["conditions"].items()
    }
    assert got == {
        "clean": {"diffusion": (1, 1), "gan": (1, 3)},
        "jpeg60": {"diffusion": (1, 1), "gan": (2, 3)},
        "blur2": {"diffusion": (0, 1), "gan": (0, 3)},
    }
    assert counts(found["conditions"]["blur2"]["bpcer_per_source"]["camera"]) == (2, 3)


def test_worst_names_condition_and_source(found):
    worst = found["worst"]
    assert (worst["apcer"]["condition"], worst["apcer"]["source"]) == ("clean", "diffusion")
    assert (worst["bpcer"]["condition"], worst["bpcer"]["source"]) == ("clean", "phone")
    assert worst["flipped"]["condition"] == "jpeg60"
    losses = {n: e["auroc_loss"]["value"] for n, e in found["conditions"].items() if n != "clean"}
    assert worst["auroc_loss"]["value"] == max(losses.values())
    assert losses[worst["auroc_loss"]["condition"]] == max(losses.values())


def test_loss_is_paired_and_bounded(found):
    clean = found["conditions"]["clean"]
    assert "auroc_loss" not in clean
    assert "flipped" not in clean
    for name in ("jpeg60", "blur2"):
        entry = found["conditions"][name]
        loss = entry["auroc_loss"]
        assert loss["value"] == pytest.approx(clean["auroc"]["value"] - entry["auroc"]["value"])
        assert loss["low"] <= loss["value"] <= loss["high"]


def test_a_condition_that_changes_nothing_loses_exactly_nothing():
    got = robustness.evaluate(CLEAN, {"jpeg60": CLEAN.p}, select("jpeg60"), POINT, replicates=50)
    entry = got["conditions"]["jpeg60"]
    assert entry["auroc_loss"] == {"value": 0.0}
    assert entry["flipped"]["count"] == 0


def test_where_nothing_is_lost_but_a_rest_of_rounding_there_is_no_interval():
    draws = np.array([0.0, 1.1e-16, -1.1e-16])
    assert metrics.bounded(0.0, draws) == {"value": 0.0}
    assert "low" in metrics.bounded(0.0, draws * 1e6)


def test_the_clean_row_is_that_of_the_overall_figures(found):
    overall = metrics.overall(CLEAN, POINT, replicates=100, seed=0)
    for key in ("auroc", "apcer", "bpcer", "unsure"):
        assert found["conditions"]["clean"][key] == overall[key]


def test_without_conditions_the_clean_row_stays():
    got = robustness.evaluate(CLEAN, {}, (), POINT, replicates=10)
    assert list(got["conditions"]) == ["clean"]
    assert got["worst"]["apcer"]["condition"] == "clean"
    assert got["worst"]["flipped"] == {"value": None, "reason": "no condition was measured"}


def test_one_label_gives_null_with_the_reason():
    mask = CLEAN.labels == 0
    degraded = {name: p[mask] for name, p in DEGRADED.items()}
    got = robustness.evaluate(CLEAN.take(mask), degraded, GRID, POINT, replicates=10)
    reason = {"value": None, "reason": "needs both bona fide and generated samples"}
    assert got["conditions"]["clean"]["auroc"] == reason
    assert got["conditions"]["blur2"]["auroc_loss"] == reason
    assert got["worst"]["auroc_loss"] == reason
    assert got["worst"]["apcer"]["value"] is None
    assert got["worst"]["bpcer"]["source"] == "phone"
    json.dumps(got, allow_nan=False)
