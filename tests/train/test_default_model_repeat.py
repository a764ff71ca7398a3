"""Tests of train/default_model/repeat.py."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "train" / "default_model" / "repeat.py"


@pytest.fixture(scope="module")
def repeat():
    spec = importlib.util.spec_from_file_location("repeat", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def evaluation(folder, name, **changed):
    figure = {"value": 0.9, "low": 0.85, "high": 0.95}
    keys = ("auroc", "eer", "tpr_at_fpr_0.01", "apcer", "bpcer")
    overall = {key: figure | changed.get(key, {}) for key in keys}
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"overall": overall}))
    return path


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({}, 0),
        ({"auroc": {"value": 0.86}}, 0),
        ({"auroc": {"value": 0.84, "low": 0.8}}, 1),
        ({"apcer": {"value": 0.88, "low": 0.87, "high": 0.89}}, 1),
    ],
    ids=["alike", "within both", "below the other's", "other's value outside"],
)
def test_figures_agree_within_each_others_interval(repeat, tmp_path, monkeypatch, changed, code):
    files = [evaluation(tmp_path, "a"), evaluation(tmp_path, "b", **changed)]
    out = tmp_path / "repeat.md"
    monkeypatch.setattr(sys, "argv", ["repeat.py", *map(str, files), "--out", str(out)])
    assert repeat.main() == code
    table = out.read_text()
    assert table.count("| yes |") == 5 - len(changed) * code
    assert table.count("| no |") == len(changed) * code
