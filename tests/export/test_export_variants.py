import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


from fauxface.errors import DataError, GateError
from fauxface.manifest import OperatingPoint
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export import export as exporting
from fauxface_export import variants
from fauxface_export.export import export
from fauxface_train import metrics


@pytest.fixture
def stand_in(quick, monkeypatch):
    """Data and variants that are made elsewhere: a variant is a copy of the float graph."""
    crops = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    monkeypatch.setattr(
        exporting.PreparedData, "load", lambda _: SimpleNamespace(samples=lambda **_: [], info={})
    )
    monkeypatch.setattr(exporting, "_real_crops", lambda *_: crops)
    monkeypatch.setattr(exporting.variants, "check_data", lambda *_, **__: None)
    monkeypatch.setattr(exporting.variants, "reference", lambda *_: None)

    def make(precision, fp32, target, against, say):
        shutil.copy(fp32, target)
        say(f"made {precision}")
        point = OperatingPoint(Calibration(1.5, 0.25, "tests"), Thresholds(0.35, 0.65, precision))
        report = {
            "method": "minmax",
            "data": {"split": "test", "trained_on": "these"},
            "test": {"samples": 100, "auroc_fp32": 0.99, "auroc_loss": 0.0012, "flips": 0.0034},
            "metrics": {
                "overall": {
                    "apcer": {"value": 0.2},
                    "bpcer": {"value": 0.01},
                    "unsure": {"value": 0.1},
                    "ece": {"value": 0.02},
                }
            },
        }
        p, labels = np.array([0.1, 0.7, 0.9, 0.2]), np.array([0, 0, 1, 1])
        scored = metrics.Scored(p, labels, np.array(["camera", "web", "gan", "gan"]))
        return variants.Variant(precision, point, report, scored)

    monkeypatch.setattr(exporting.variants, "make", make)


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize("precisions", [("int8",), ("int8", "fp16")])
def test_variants_are_kept_with_their_operating_points(precisions, options, tmp_path):
    said = []
    bundle = export(options(precisions=precisions, data=tmp_path, formats=("onnx",)), said.append)
    manifest = bundle.manifest
    assert (manifest.version, manifest.int8_weight_bits) == ("1.3", 7)
    assert dict(manifest.classifier) == {
        "fp32": "classifier.onnx",
        **{name: f"classifier.{name}.onnx" for name in precisions},
    }
    crops, logits = bundle.golden()
    for name in precisions:
        assert manifest.operating_point(name).calibration == Calibration(1.5, 0.25, "tests")
        assert manifest.operating_point(name).thresholds == Thresholds(0.35, 0.65, name)
        assert manifest.variants[name]["test"]["flips"] == 0.0034
        same, own = bundle.golden(name)
        np.testing.assert_array_equal(same, crops)
        np.testing.assert_allclose(own, logits, atol=1e-4)
        assert f"made {name}" in said
        rates = "0.2000 | 0.0100 | 0.1000 | 0.0200"
        assert f"| {name} | 0.0012 | 0.34% | 100 | {rates} | 0.35 | 0.65 |" in bundle.card()
    assert manifest.operating_point().calibration.temperature == 0.8


@pytest.mark.usefixtures("stand_in")
@pytest.mark.parametrize(
    ("bounds", "missed"),
    [
        (
            "[each.real_source]\nbpcer = { max = 0.03 }",
            r"each.real_source web bpcer is 1, must be at most 0.03",
        ),
        ("[overall]\napcer = { max = 0.4 }", r"overall.apcer is 0.5, must be at most 0.4"),
        (
            "[overall]\nauroc = { min = 0.7 }\n[robustness.conditions.jpeg60_half]\nauroc = { min = 0.5 }",
            None,
        ),
    ],
)
def test_each_precision_keeps_what_is_required_of_fp32(options, inputs, bounds, missed, tmp_path):
    condition = {"auroc": {"value": 0.9}}
    robustness = {"conditions": {"jpeg60_half": condition}}
    known = json.loads(inputs.metrics.read_text()) | {"robustness": robustness}
    known["sources"] = [
        {**source, "bpcer": {"value": 0.0}} if source["label"] == "bona_fide" else source
        for source in known["sources"]
    ]
    known["overall"] |= {"apcer": {"value": 0.1}, "auroc": {"value": 0.99}}
    (tmp_path / "m.json").write_text(json.dumps(known))
    (tmp_path / "require.toml").write_text(bounds)
    said = []
    chosen = options(
        precisions=("int8",),
        data=tmp_path,
        formats=("onnx",),
        metrics=tmp_path / "m.json",
        require=tmp_path / "require.toml",
    )
    if missed is None:
        export(chosen, said.append)
        assert "all 2 bounds of require.toml hold" in said
        assert "all 1 bounds of require.toml hold for int8" in said
        return
    with pytest.raises(
        GateError, match=rf"1 of \d bounds of require.toml are missed for int8, first: {missed}"
    ):
        export(chosen, said.append)
    assert any(line.startswith(f"int8 missed: {missed}") for line in said)
    assert not chosen.out.exists()


@pytest.mark.usefixtures("stand_in")
def test_a_variant_that_fails_leaves_nothing(options, monkeypatch, tmp_path):
    def fail(*_):
        raise GateError("int8 failed")

    monkeypatch.setattr(exporting.variants, "make", fail)
    chosen = options(precisions=("int8",), data=tmp_path)
    with pytest.raises(GateError, match="int8 failed"):
        export(chosen)
    assert list(chosen.out.parent.iterdir()) == []


@pytest.mark.usefixtures("stand_in")
def test_data_cut_with_another_locator_are_refused(options, monkeypatch, tmp_path):
    other = SimpleNamespace(samples=lambda **_: [], info={"locator_sha256": "0" * 64})
    monkeypatch.setattr(exporting.PreparedData, "load", lambda _: other)
    with pytest.raises(
        DataError, match="cut with another locator than the bundle's; give that with --locator"
    ):
        export(options(data=tmp_path))
