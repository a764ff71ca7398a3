"""train/default_model/locator.py: another face locator in a bundle that keeps its classifiers."""

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch")

from fauxface.bundle import Bundle
from fauxface.errors import DataError
from fauxface_train.dataset import PreparedData

TESTS = Path(__file__).parent.parent
PATH = TESTS.parent / "train" / "default_model" / "locator.py"
_spec = importlib.util.spec_from_file_location("default_model_locator", PATH)
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


@pytest.fixture
def case(prepared, tmp_path):
    """Return a bundle, a run with another locator, and data that name it as theirs."""
    bundle, run = tmp_path / "bundle", tmp_path / "run"
    shutil.copytree(TESTS / "data" / "tiny_bundle", bundle)
    run.mkdir()
    data = Bundle.load().locator_bytes()
    (run / "locator.onnx").write_bytes(data)
    (run / "locator.json").write_text(json.dumps({"command": "fauxface locator train", "samples": 7}))
    info = json.loads((prepared / "prepare.json").read_text())
    info["locator_sha256"] = hashlib.sha256(data).hexdigest()
    (prepared / "prepare.json").write_text(json.dumps(info))
    return bundle, run, prepared


def test_the_locator_is_replaced_and_the_operating_point_chosen_with_it(case):
    folder, run, data = case
    before = Bundle.load(folder)
    after = script.replace(run, PreparedData.load(data), folder)
    assert after.locator_bytes() == (run / "locator.onnx").read_bytes() != before.locator_bytes()
    assert after.manifest.classifier == before.manifest.classifier
    faces = len(PreparedData.load(data).samples(split="val"))
    assert after.manifest.calibration.fitted_on.startswith(f"val split, {faces} faces")
    assert after.manifest.thresholds != before.manifest.thresholds
    provenance = after.document()["provenance"]
    assert {row["source"] for row in provenance["held"]["real_sources"]} == {"camera"}
    made = provenance["locator"]
    assert made["parent"]["sha256"] == before.sha256
    assert (made["command"], made["samples"]) == ("fauxface locator train", 7)


def test_a_locator_in_int8_is_put_beside_it_and_goes_with_it(case, tmp_path):
    onnx = pytest.importorskip("onnx")
    folder, run, data = case
    before = Bundle.load(folder)
    model = onnx.load_model_from_string(before.locator_bytes())
    onnx.helper.set_model_props(model, {"quantised_from": hashlib.sha256(before.locator_bytes()).hexdigest()})
    onnx.save(model, tmp_path / "int8.onnx")
    after = script.add_int8(tmp_path / "int8.onnx", folder)
    assert after.locator_bytes("int8") == (tmp_path / "int8.onnx").read_bytes()
    assert after.locator_bytes() == before.locator_bytes()
    assert after.card() == before.card()
    replaced = script.replace(run, PreparedData.load(data), folder)
    assert replaced.manifest.locator.int8 is None
    assert "locator.int8.onnx" not in replaced.manifest.files


def test_data_of_another_locator_are_refused(case):
    folder, run, data = case
    (run / "locator.onnx").write_bytes(Bundle.load(folder).locator_bytes())
    before = Bundle.load(folder).sha256
    with pytest.raises(DataError, match="prepared with another locator"):
        script.replace(run, PreparedData.load(data), folder)
    assert Bundle.load(folder).sha256 == before
