import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import torch

from fauxface.errors import BundleError, CheckpointError, DataError, GateError, OutputError
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export import reading
from fauxface_export.export import Options, export
from fauxface_train import checkpoint

DATA = Path(__file__).parents[1] / "data"


def metrics_with(path, inputs, **changes):
    return text(path, json.dumps(json.loads(inputs.metrics.read_text()) | changes))


def other_head(inputs):
    state = dict(checkpoint.load(inputs.checkpoint).net.state_dict())
    return state | {"fc.weight": torch.zeros(3, 512), "fc.bias": torch.zeros(3)}


BAD = {
    "no checkpoint": (CheckpointError, lambda p, i: {"checkpoint": p / "none"}),
    "corrupt checkpoint": (CheckpointError, lambda p, i: {"checkpoint": text(p / "a.safetensors", "no")}),
    "other architecture": (
        CheckpointError,
        lambda p, i: {"checkpoint": i.checkpoint_with(p / "a", architecture="vgg11")},
    ),
    "other head": (
        CheckpointError,
        lambda p, i: {"checkpoint": i.checkpoint_with(p / "a", state=other_head(i))},
    ),
    "unfinished run": (
        CheckpointError,
        lambda p, i: {
            "checkpoint": i.checkpoint_with(p / "a", calibration={"temperature": 1.0, "bias": 0.0})
        },
    ),
    "thresholds in the wrong order": (
        CheckpointError,
        lambda p, i: {
            "checkpoint": i.checkpoint_with(
                p / "a", thresholds={"bona_fide_below": 1.0, "generated_from": 0.0}
            )
        },
    ),
    "no locator": (BundleError, lambda p, i: {"locator": p / "none.onnx"}),
    "empty locator": (BundleError, lambda p, i: {"locator": text(p / "a.onnx", "")}),
    "locator isn't ONNX": (BundleError, lambda p, i: {"locator": text(p / "a.onnx", "no")}),
    "locator of another format": (BundleError, lambda p, i: {"locator": i.other_locator}),
    "classifier as locator": (BundleError, lambda p, i: {"locator": DATA / "tiny_bundle/classifier.onnx"}),
    "locator beside its file": (BundleError, lambda p, i: {"locator": DATA / "attacks/external_data.onnx"}),
    "no metrics": (DataError, lambda p, i: {"metrics": p / "none.json"}),
    "metrics aren't JSON": (DataError, lambda p, i: {"metrics": text(p / "m.json", "{")}),
    "metrics of something else": (DataError, lambda p, i: {"metrics": text(p / "m.json", "[1]")}),
    "metrics whose model is no object": (
        DataError,
        lambda p, i: {"metrics": metrics_with(p / "m.json", i, model="x")},
    ),
    "metrics of another model": (
        DataError,
        lambda p, i: {"metrics": metrics_with(p / "m.json", i, operating_point={"temperature": 0.9})},
    ),
    "metrics that name another checkpoint": (
        DataError,
        lambda p, i: {"metrics": metrics_with(p / "m.json", i, model={"checkpoint_sha256": "0" * 64})},
    ),
    "metrics that miss a requirement": (
        GateError,
        lambda p, i: {
            "metrics": i.metrics,
            "require": text(p / "r.toml", "[overall]\nauroc = { min = 0.99 }"),
        },
    ),
    "requirements without metrics": (
        DataError,
        lambda p, i: {"require": text(p / "r.toml", "[overall]\nauroc = { min = 0.9 }")},
    ),
    "gates out of range": (
        CheckpointError,
        lambda p, i: {"checkpoint": i.checkpoint_with(p / "a", gates={"max_yaw": 200})},
    ),
    "terms without a column": (
        DataError,
        lambda p, i: {"terms": text(p / "t.csv", "source,label\na,real\n")},
    ),
    "terms of no label": (
        DataError,
        lambda p, i: {"terms": text(p / "t.csv", "source,label,origin,terms\na,maybe,b,c\n")},
    ),
    "empty terms": (DataError, lambda p, i: {"terms": text(p / "t.csv", "")}),
    "no licence": (DataError, lambda p, i: {"weights_license": p / "none.md"}),
    "int8 without data": (DataError, lambda p, i: {"precisions": ("int8",)}),
    "fp16 without data": (DataError, lambda p, i: {"precisions": ("fp16",)}),
    "no golden folder": (DataError, lambda p, i: {"golden": p / "none"}),
    "no picture at all": (DataError, lambda p, i: {"golden": folder(p / "empty")}),
    "data that aren't prepared": (DataError, lambda p, i: {"data": folder(p / "data")}),
    "out exists": (OutputError, lambda p, i: {"out": folder(p / "taken")}),
    "out isn't a bundle": (
        OutputError,
        lambda p, i: {"out": text(p / "taken" / "a.txt", "mine").parent, "overwrite": True},
    ),
    "out below a file": (OutputError, lambda p, i: {"out": text(p / "file", "mine") / "bundle"}),
}


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def folder(path):
    path.mkdir()
    return path


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, options, inputs, tmp_path):
    error, change = BAD[case]
    chosen = options(**change(tmp_path, inputs))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(error) as caught:
        export(chosen)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_locator_the_shipped_one_is_taken(monkeypatch, inputs):
    shipped = SimpleNamespace(
        locator_bytes=lambda: b"shipped",
        manifest=SimpleNamespace(locator=SimpleNamespace(score_threshold=0.55)),
    )
    monkeypatch.setattr(reading.Bundle, "load", lambda *_: shipped)
    options = Options(checkpoint=inputs.checkpoint, out=inputs.checkpoint)
    assert reading.read_locator(options.locator, options.locator_score) == (b"shipped", 0.55)


def test_a_locator_in_int8_goes_with_the_one_that_it_was_made_of(inputs, tmp_path, monkeypatch):
    locator = inputs.locator.read_bytes()
    assert reading.read_locator_int8(None, locator) is None
    shipped = SimpleNamespace(
        locator_bytes=lambda precision="fp32": {"fp32": locator, "int8": b"int8"}[precision],
        manifest=SimpleNamespace(locator=SimpleNamespace(int8="locator.int8.onnx")),
    )
    monkeypatch.setattr(reading.Bundle, "load", lambda *_: shipped)
    assert reading.read_locator_int8(None, locator) == b"int8"
    assert reading.read_locator_int8(None, locator + b"\n") is None
    model = onnx.load_model_from_string(locator)
    onnx.helper.set_model_props(model, {"quantised_from": hashlib.sha256(locator).hexdigest()})
    path = tmp_path / "int8.onnx"
    path.write_bytes(model.SerializeToString())
    assert reading.read_locator_int8(path, locator) == path.read_bytes()
    for other in (path, inputs.locator):
        with pytest.raises(DataError, match="wasn't made from the bundle's locator"):
            reading.read_locator_int8(other, path.read_bytes())


def test_labels_of_terms_may_be_spelled_as_folders_are(tmp_path):
    rows = "".join(
        f"s{n},{label},o,t\n" for n, label in enumerate(("Real", "bona fide", "GENERATED", "fake"))
    )
    path = text(tmp_path / "t.csv", f"source,label,origin,terms\n{rows}")
    assert [row["label"] for row in reading.read_terms(path)] == ["real", "real", "fake", "fake"]


def test_terms_may_have_several_lines(tmp_path):
    path = text(
        tmp_path / "t.csv", 'source,label,origin,terms\na,real,o,"research only\nno redistribution"\n'
    )
    assert reading.read_terms(path)[0]["terms"] == "research only\nno redistribution"


def test_metrics_nested_beyond_all_bounds_are_one_line(tmp_path):
    path = text(tmp_path / "m.json", "[" * 200_000)
    with pytest.raises(DataError, match="isn't JSON"):
        reading.read_metrics(path, "", Calibration(), Thresholds(0.3, 0.7))


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ({"kind": "checkpoint", "checkpoint_sha256": "ab"}, True),
        ({"kind": "checkpoint", "checkpoint_sha256": "cd"}, False),
        ({"kind": "checkpoint"}, False),
        ({"kind": "bundle"}, True),
    ],
)
def test_metrics_name_the_checkpoint_that_they_measured(model, taken, tmp_path):
    calibration, thresholds = Calibration(), Thresholds(0.3, 0.7)
    point = {"temperature": calibration.temperature, "bias": calibration.bias}
    point |= {"bona_fide_below": 0.3, "generated_from": 0.7}
    path = text(tmp_path / "m.json", json.dumps({"overall": {}, "model": model, "operating_point": point}))
    if taken:
        assert reading.read_metrics(path, "ab", calibration, thresholds)["model"] == model
        return
    with pytest.raises(DataError, match="measured another model"):
        reading.read_metrics(path, "ab", calibration, thresholds)
