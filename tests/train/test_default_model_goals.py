"""train/default_model/goals.py: what the default model was to reach, held against what was recorded."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parent.parent.parent / "train" / "default_model" / "goals.py"
_spec = importlib.util.spec_from_file_location("goals", PATH)
goals = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(goals)


@pytest.mark.parametrize(
    ("value", "least", "reached"),
    [(0.95, True, True), (0.9499, True, False), (0.95, False, True), (0.9501, False, False)],
)
def test_a_bound_is_kept_on_its_own_side_only(value, least, reached):
    assert goals.Goal("AUROC", 0.95, value, least=least).reached is reached


def test_left_out_generators_are_named_worst_first_and_cameras_are_not_among_them():
    runs = [
        ("robust", "old", {"gan": {"auroc": 0.95, "apcer": 0.1}}),
        ("one-rate", "new", {"sd": {"auroc": 0.7, "apcer": 0.9}}),
        ("robust", "new", {"sd": {"auroc": 0.8, "apcer": 0.9}}),
        ("robust", "camera", {"cam": {"auroc": 0.7, "bpcer": 0.1}}),
        ("one-rate", "first", {"vae": {"auroc": 0.92, "apcer": 0.9}}),
        ("plain", "new", {"sd": {"auroc": 0.9, "apcer": 0.5}}),
        ("robust", "one source", {"s": {"auroc": 0.99}}),
    ]
    keys = ("variant", "without", "left_out")
    results = {"runs": [dict(zip(keys, run, strict=True), samples=32000) for run in runs]}
    generators = {
        "left_out": ["old", "new", "first", "never run"],
        "shipped": "plain",
        "shown": ["robust", "one-rate"],
    }
    made = list(goals.of_left_out(results, generators))
    assert [(goal.where, goal.value, goal.reached) for goal in made] == [
        ("sd", 0.9, True),
        ("sd", 0.8, False),
        ("vae", 0.92, True),
        ("gan", 0.95, True),
    ]
    used = [goal.what.partition("`")[2].partition("`")[0] for goal in made]
    assert used == ["plain", "robust", "one-rate", "robust"]


def test_a_camera_source_of_validation_is_held_to_its_worse_condition():
    rows = [("a", "clean", 100, 0.5), ("b", "clean", 50, 1.75), ("a", "web", 100, 2.0), ("b", "web", 50, 0.0)]
    held = [
        dict(zip(("source", "condition", "samples", "errors"), row, strict=True), allowed=2) for row in rows
    ]
    manifest = {"provenance": {"held": {"bpcer_target": 0.01, "real_sources": held}}}
    found = list(goals.of_validation(manifest))
    assert [(goal.value, goal.reached) for goal in found] == [(0.035, False), (0.02, False)]
    assert [goal.where for goal in found] == [
        "b, clean; 1.75 of 50, 2 allowed",
        "a, web; 2 of 100, 2 allowed",
    ]


def test_a_nuisance_without_information_is_no_goal():
    figure = {"value": 0.62, "low": 0.6, "high": 0.65, "constant": False}
    groups = [
        {"title": "Sharpness", "stages": {"view": figure}},
        {"title": "Dimensions", "stages": {"view": {"value": 0.5, "constant": True}}},
        {"title": "Age", "stages": {"view": {"value": None}}},
    ]
    (goal,) = goals.of_audit({"groups": groups})
    assert (goal.what, goal.reached) == ("AUROC from sharpness alone", False)


def test_the_locator_is_held_to_its_worst_group():
    group = {"recall": 0.99, "precision": 0.99, "mean_iou": 0.9, "landmark_error": 0.04}
    side = {
        "groups": {"faces": group, "clips": group | {"recall": 0.8, "landmark_error": 0.06}},
        "all": group,
        "negatives": {"dogs": {"found_faces": 3, "reference_faces": 1}},
        "time": {"ratio": 0.9},
    }
    found = list(goals.of_locator({"sides": {"320": side}}))
    missed = [(goal.what.split(",")[0], goal.where) for goal in found if not goal.reached]
    assert missed == [
        ("faces that the teacher finds and the locator too", "clips"),
        ("landmark error", "clips"),
        ("false faces more than the teacher's", "dogs, 320 px"),
    ]


def test_the_table_says_of_each_goal_whether_it_is_reached():
    lines = goals.table(
        {
            "Test": [
                goals.Goal("AUROC", 0.9, 0.85, least=True, where="gan", interval=(0.8, 0.9)),
                goals.Goal("false faces", 0, -1),
            ]
        }
    ).splitlines()
    assert "| AUROC (gan) | at least 0.9 | 0.8500 (0.8000 to 0.9000) | **not reached** |" in lines
    assert "| false faces | at most 0 | -1 | reached |" in lines


def test_the_page_shows_what_is_recorded():
    page = goals.PAGE.read_text(encoding="utf-8")
    assert "<!-- goals -->" in page
    assert goals.pages.fill(page, "goals", goals.table(goals.recorded())) == page
