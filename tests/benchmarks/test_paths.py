import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from fauxface.errors import GateError

SCRIPT = Path(__file__).parent.parent.parent / "benchmarks" / "paths.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("paths", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(crops):
    return crops.reshape(len(crops), -1)[:, :2].astype(np.float32)


def test_every_path_and_batch_has_a_row(script):
    rows = script.measure({"pytorch": same, "other": same}, rounds=3)
    assert [(r["path"], r["batch"]) for r in rows] == [
        (p, b) for b in script.BATCHES for p in ("pytorch", "other")
    ]
    assert all(0 <= r["p50_ms"] <= r["p90_ms"] for r in rows)


def test_a_path_that_answers_otherwise_ends_the_run(script):
    with pytest.raises(GateError, match="other answers otherwise"):
        script.measure({"pytorch": same, "other": lambda crops: same(crops) + 0.001}, rounds=1)


def test_table_gives_ratios_to_eager_pytorch(script):
    rows = [
        {"path": "pytorch", "batch": 1, "p50_ms": 9.0, "p90_ms": 9.5, "ms_per_face": 9.0},
        {"path": "onnxruntime", "batch": 1, "p50_ms": 3.0, "p90_ms": 3.5, "ms_per_face": 3.0},
    ]
    assert script.table(rows).splitlines()[-1] == "| onnxruntime | 1 | 3.0 | 3.5 | 3.0 | 3.0x |"
