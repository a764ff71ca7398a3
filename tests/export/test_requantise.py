"""`fauxface quantise`: a bundle with another precision, from its own fp32 graph."""

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx.checker import ValidationError

from fauxface.bundle import Bundle, write_manifest
from fauxface.errors import BundleError, DataError, GateError, OutputError
from fauxface.manifest import OperatingPoint
from fauxface.verdicts import Calibration, Thresholds
from fauxface_export import cli, requantise
from fauxface_export.requantise import requantise as run
from fauxface_export.variants import Variant
from fauxface_train.dataset import PreparedData
from fauxface_train.metrics import Scored

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"
DATA = PreparedData(
    Path("prepared"), {"crop": {"margin": 1.2}}, [SimpleNamespace(sha256="a"), SimpleNamespace(sha256="b")]
)

SCORED = Scored(np.array([0.1, 0.9]), np.array([0, 1]), np.array(["camera", "gan"]))


@pytest.fixture
def stand_in(monkeypatch):
    """Variants made elsewhere: copies of the float graph; returns what each was to be held against."""
    seen = []
    monkeypatch.setattr(requantise.variants, "check_data", lambda *_, **__: None)
    monkeypatch.setattr(requantise.variants, "reference", lambda _, __, point, info: point)

    def make(precision, fp32, target, against, say):
        seen.append((precision, against))
        say(f"made {precision}")
        shutil.copy(fp32, target)
        point = OperatingPoint(Calibration(1.5, 0.25, "tests"), Thresholds(0.35, 0.65, precision))
        report = {"test": {"samples": 9, "auroc_loss": 0.0012, "flips": 0.0034}, "data": {"split": "test"}}
        return Variant(precision, point, report, SCORED)

    monkeypatch.setattr(requantise.variants, "make", make)
    return seen


def test_a_bundle_gets_another_precision_and_keeps_the_rest(stand_in, tmp_path):
    parent = Bundle.load(TINY)
    said = []
    made = run(parent, DATA, tmp_path / "new", ["int8"], say=said.append)
    manifest = made.manifest
    assert (said, stand_in) == (["made int8"], [("int8", parent.manifest.operating_point())])
    assert (manifest.version, manifest.int8_weight_bits) == ("1.2", 7)
    assert dict(manifest.classifier) == {**parent.manifest.classifier, "int8": "classifier.int8.onnx"}
    assert manifest.operating_point() == parent.manifest.operating_point()
    assert manifest.operating_point("int8").thresholds == Thresholds(0.35, 0.65, "int8")
    for name in set(parent.manifest.files) - {"golden.npz", "MODEL_CARD.md"}:
        assert made.read(name) == parent.read(name)
    for before, after in zip(parent.golden(), made.golden(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_allclose(made.golden("int8")[1], parent.golden()[1], atol=1e-4)
    (record,) = manifest.provenance["quantisations"]
    assert record["parent"] == {"sha256": parent.sha256, "name": "tiny"}
    assert (record["precisions"], record["data"]["name"]) == (["int8"], "prepared")
    assert made.card().startswith(parent.card().rstrip())
    unknown = " | ".join(["not measured"] * 4)
    assert f"| int8 | 0.0012 | 0.34% | 9 | {unknown} | 0.35 | 0.65 |" in made.card()
    assert list(tmp_path.iterdir()) == [tmp_path / "new"]


@pytest.mark.usefixtures("stand_in")
def test_a_precision_is_replaced_and_others_stay(variant_bundle):
    document = json.loads((variant_bundle / "bundle.json").read_text())
    document["classifier"]["int8"] = "older.onnx"
    document["files"]["older.onnx"] = document["files"].pop("classifier.int8.onnx")
    document["provenance"] = {"failures": {"pictures": 3}, "quantisations": [{"created": "before"}]}
    (variant_bundle / "classifier.int8.onnx").rename(variant_bundle / "older.onnx")
    (variant_bundle / "bundle.json").write_text(json.dumps(document))
    parent = Bundle.load(variant_bundle)
    made = run(parent, DATA, variant_bundle, ["int8"], overwrite=True)
    assert "older.onnx" not in made.manifest.files
    assert made.classifier_bytes("int8") == made.classifier_bytes("fp32")
    assert made.classifier_bytes("fp16") == parent.classifier_bytes("fp16")
    np.testing.assert_array_equal(made.golden("fp16")[1], parent.golden("fp16")[1])
    provenance = made.manifest.provenance
    assert provenance["failures"] == {"model": parent.sha256, "pictures": 3}
    assert len(provenance["quantisations"]) == 2
    again = run(made, DATA, variant_bundle, ["int8"], overwrite=True)
    assert again.manifest.provenance["failures"]["model"] == parent.sha256
    assert again.card().count("## Other precisions") == 1


@pytest.mark.usefixtures("stand_in")
def test_a_card_says_what_is_newer_than_its_calibration_on_site(variant_bundle, tmp_path):
    card = variant_bundle / "MODEL_CARD.md"
    mark = '**These no longer hold: see "Calibrated on site" at the end.**'
    card.write_text(f"# A\n\n## Other precisions\n\n{mark}\n\nX.\n\n## Calibrated on site\n\n| int8 |\n")
    document = json.loads((variant_bundle / "bundle.json").read_text())
    document["variants"] = {"fp16": {"test": {"samples": 9, "auroc_loss": 0.1, "flips": 0.2}}, "later": 5}
    document["provenance"] = {"failures": 3, "quantisations": "none"}
    write_manifest(variant_bundle, document)
    made = run(Bundle.load(variant_bundle), DATA, tmp_path / "new", ["int8"])
    assert made.card().endswith(": int8. What stands here of that is of the file before.\n")
    assert "X." not in made.card()
    assert made.card().count(mark) == 1
    assert f"## Other precisions\n\n{mark}\n\n" in made.card()
    assert "| fp16 | 0.1000 | 20.00% |" in made.card()
    # What calibrate took the figures of has no row, so that nothing in the section is old.
    document["variants"] = {"fp16": {"test": {"samples": 9, "auroc_loss": "n/a", "flips": 0}}, "later": 5}
    write_manifest(variant_bundle, document)
    newer = run(Bundle.load(variant_bundle), DATA, tmp_path / "newer", ["int8"]).card()
    assert mark not in newer
    assert "| fp16 |" not in newer
    assert len(made.manifest.provenance["quantisations"]) == 1
    assert made.manifest.provenance["failures"] == 3


@pytest.fixture
def command():
    app = typer.Typer()
    cli.register(app)
    return lambda *arguments: CliRunner().invoke(app, ["quantise", *map(str, arguments)])


@pytest.fixture
def prepared(monkeypatch):
    monkeypatch.setattr(PreparedData, "load", lambda _: DATA)


@pytest.mark.usefixtures("prepared")
def test_bad_input_is_one_line_and_leaves_nothing(command, tmp_path, monkeypatch):
    out = tmp_path / "new"
    assert "give --int8, --fp16 or both" in command(TINY, tmp_path, "--out", out).output
    (tmp_path / "taken").mkdir()
    for bundle, target, error, message in (
        (tmp_path / "nowhere", out, BundleError, "nowhere"),
        (TINY, tmp_path / "taken", OutputError, "exists"),
        (TINY, out, DataError, "train split"),
    ):
        monkeypatch.setattr(PreparedData, "samples", lambda *_, **__: [])
        result = command(bundle, tmp_path, "--out", target, "--int8")
        assert isinstance(result.exception, error)
        assert message in str(result.exception)
        assert "\n" not in str(result.exception)
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"]


@pytest.mark.usefixtures("stand_in")
def test_data_cut_with_another_locator_are_refused(tmp_path):
    bundle = Bundle.load(TINY)
    for digest in ("ab" * 32, bundle.manifest.files["locator.onnx"].sha256):
        data = PreparedData(
            Path("prepared"), {"crop": {"margin": 1.2}, "locator_sha256": digest}, DATA.samples()
        )
        if digest == "ab" * 32:
            with pytest.raises(DataError, match="cut with another locator"):
                run(bundle, data, tmp_path / "new", ["int8"])
            assert list(tmp_path.iterdir()) == []
        else:
            assert "int8" in run(bundle, data, tmp_path / "new", ["int8"]).manifest.classifier


@pytest.mark.usefixtures("prepared", "stand_in")
def test_a_miss_leaves_the_parent_as_it_is(command, variant_bundle, monkeypatch):
    def fail(*_):
        raise GateError("int8 failed; no bundle was written")

    before = Bundle.load(variant_bundle).sha256
    monkeypatch.setattr(requantise.variants, "make", fail)
    result = command(variant_bundle, "data", "--out", variant_bundle, "--int8", "--overwrite")
    assert isinstance(result.exception, GateError)
    assert Bundle.load(variant_bundle).sha256 == before


@pytest.mark.usefixtures("prepared", "stand_in")
def test_the_command_names_the_new_model(command, tmp_path):
    result = command(TINY, "data", "--out", tmp_path / "new", "--int8", "--fp16")
    assert result.exit_code == 0, result.output
    model = Bundle.load(tmp_path / "new").sha256
    assert result.output.splitlines() == [
        "made int8",
        "made fp16",
        f"wrote {tmp_path / 'new'}: model {model}",
    ]


@pytest.mark.usefixtures("stand_in")
def test_a_name_that_the_parent_uses_otherwise_is_refused(tmp_path):
    parent = tmp_path / "parent"
    shutil.copytree(TINY, parent)
    document = json.loads((parent / "bundle.json").read_text())
    (parent / "classifier.onnx").rename(parent / "classifier.int8.onnx")
    document["classifier"] = {"fp32": "classifier.int8.onnx"}
    write_manifest(parent, document)
    with pytest.raises(BundleError, match=r"uses the name classifier\.int8\.onnx otherwise"):
        run(Bundle.load(parent), DATA, tmp_path / "new", ["int8"])
    assert list(tmp_path.iterdir()) == [parent]


@pytest.mark.parametrize("error", [KeyError("pads"), ValueError("no\nGemm"), ValidationError("bad")])
@pytest.mark.usefixtures("stand_in")
def test_a_graph_that_export_did_not_write_is_one_line(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(requantise.variants, "make", fail)
    with pytest.raises(
        GateError, match=r"no int8 can be made of classifier\.onnx, which export didn't write"
    ):
        run(Bundle.load(TINY), DATA, tmp_path / "new", ["int8"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("prepared", "stand_in")
def test_nothing_is_left_when_it_is_ended(command, tmp_path, monkeypatch, number):
    def end(*_):
        signal.raise_signal(number)

    monkeypatch.setattr(requantise.variants, "make", end)
    result = command(TINY, "data", "--out", tmp_path / "new", "--int8")
    assert result.exit_code == 130
    assert "interrupted; nothing was written" in result.output
    assert list(tmp_path.iterdir()) == []
