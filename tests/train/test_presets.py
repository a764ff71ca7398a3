import dataclasses
import json

import pytest

from fauxface.errors import CheckpointError, DataError
from fauxface_train.presets import PRESETS, Recipe, preset


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch": 1}, "batch"),
        ({"samples": 5, "epochs": 1}, "either samples or epochs"),
        ({"lr": 0.0}, "lr"),
        ({"pretrained_lr": 1.5}, "factor on pretrained"),
        ({"metric": "f1"}, "metric"),
        ({"precision": "int8"}, "precision"),
        ({"source_weights": {"a": 0.0}}, "source weights"),
        ({"source_weights": {"a": float("inf")}}, "source weights must be finite"),
        ({"label_smoothing": 1.0}, "label smoothing"),
        ({"seed": -1}, "seed must"),
        ({"consistency": -1.0}, "consistency must"),
        ({"matched": 1.5}, "matched share"),
        ({"matched": 0.5, "balanced": False}, "balanced batches"),
        ({"source_weights": {"a": 2.0}, "balanced": False}, "weight sources"),
        ({"mixed": 1.5}, "mixed share"),
        ({"mixed": 0.5, "consistency": 0.5}, "parts are pasted without"),
        ({"bpcer": 0.0}, "BPCER target"),
        ({"bpcer": 0.6}, "BPCER target"),
    ],
)
def test_recipes_are_checked(changes, message):
    with pytest.raises(DataError, match=message):
        preset("robust").changed(**changes)


def test_consistency_needs_degradations():
    with pytest.raises(DataError, match="degradations"):
        preset("article").changed(consistency=1.0)


def test_recipes_survive_json():
    for recipe in PRESETS.values():
        weights = {"c": 2.0} if recipe.balanced else {}
        changed = dataclasses.replace(recipe, exclude=("a", "b"), source_weights=weights)
        assert Recipe.from_dict(json.loads(json.dumps(changed.to_dict()))) == changed
    with pytest.raises(DataError, match="robust"):
        preset("best")


def test_a_recipe_of_another_release_is_told():
    with pytest.raises(CheckpointError, match=r"of another release of fauxface: .*'parts'"):
        Recipe.from_dict(preset("robust").to_dict() | {"parts": 0.7})
    changed = preset("robust").to_dict()
    changed["degradations"]["fog"] = 0.1
    with pytest.raises(CheckpointError, match=r"of another release of fauxface: .*'fog'"):
        Recipe.from_dict(changed)
