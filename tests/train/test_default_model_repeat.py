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
    monkeypatch.setattr(sys, "argv", ["repeat.py", "figures", *map(str, files), "--out", str(out)])
    assert repeat.main() == code
    table = out.read_text()
    assert table.count("| yes |") == 5 - len(changed) * code
    assert table.count("| no |") == len(changed) * code


def test_recorded_table_is_that_of_the_recorded_evaluations(repeat):
    files = [repeat.RECORD / "repeat" / folder / "metrics.json" for folder in ("shipped", "evaluation")]
    lines, agreeing = repeat.compare(*(json.loads(path.read_text(encoding="utf-8")) for path in files))
    assert agreeing
    assert (repeat.RECORD / "repeat_figures.md").read_text(encoding="utf-8").splitlines() == lines


HEADER = "kind,samples,seconds,lr,loss,images_per_s,auroc\n"
ROWS = ["train,64,1.0,0.001,0.5,60,\n", "val,64,2.0,,0.4,,0.9\n", "train,128,3.0,0.0005,0.3,61,\n"]


@pytest.mark.parametrize(
    ("again", "code", "row"),
    [
        (ROWS, 0, "| 3 | 1 | 128 | 0 |"),
        (["train,64,9.0,0.001,0.5,30,\n", ROWS[1]], 0, "| 2 | 1 | 64 | 0 |"),
        ([ROWS[0], "val,64,2.0,,0.4,,0.90001\n"], 1, "| 2 | 1 | 64 | 1 |"),
        (ROWS[:1], 1, "| 1 | 0 | 64 | 0 |"),
        ([], 1, "| 0 | 0 | 0 | 0 |"),
    ],
    ids=["same", "shorter and slower", "another metric", "no validation", "empty"],
)
def test_logs_agree_where_all_but_the_time_is_the_same(repeat, tmp_path, monkeypatch, again, code, row):
    for name, rows in (("a", ROWS), ("b", again)):
        (tmp_path / f"{name}.csv").write_text(HEADER + "".join(rows))
    out = tmp_path / "out.md"
    files = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    monkeypatch.setattr(sys, "argv", ["repeat.py", "logs", *files, "--out", str(out)])
    assert repeat.main() == code
    assert row in out.read_text()
