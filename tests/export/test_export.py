import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import onnx
import torch

from fauxface.bundle import Bundle
from fauxface.errors import BundleError, DataError, GateError
from fauxface.locator import Location
from fauxface.session import Classifier
from fauxface_export import export as exporting
from fauxface_export import onnx_graph, program, torchscript
from fauxface_export.export import export
from fauxface_train import checkpoint


def document(folder):
    return json.loads((folder / "bundle.json").read_text())


def test_bundle_is_complete_and_nothing_lies_beside_it(made):
    assert sorted(p.name for p in made.parent.iterdir()) == ["bundle"]
    assert sorted(p.name for p in made.iterdir()) == [
        "LICENSE-WEIGHTS.md",
        "MODEL_CARD.md",
        "bundle.json",
        "classifier.onnx",
        "classifier.pt2",
        "classifier.torchscript.pt",
        "golden.npz",
        "locator.onnx",
    ]


def test_manifest(made, inputs):
    bundle = Bundle.load(made)
    manifest = bundle.manifest
    assert (manifest.name, manifest.crop.margin, manifest.crop.min_face_px) == ("made", 1.2, 40)
    assert manifest.calibration.temperature == 0.8
    assert manifest.thresholds.generated_from == 0.7
    assert manifest.weights_license == "LICENSE-WEIGHTS.md"
    assert manifest.provenance["opset"] == onnx_graph.OPSET
    assert manifest.metrics["overall"]["auroc"]["value"] == 0.9876
    assert bundle.locator_bytes() == inputs.locator.read_bytes()


def test_parity_report_names_every_backend_batch_and_input(made):
    report = document(made)["parity"]
    found = {(row["backend"], row["batch"], row["inputs"]) for row in report["rows"]}
    assert found == {
        (backend, batch, kind)
        for backend in ("eager", "torchscript", "pt2", "onnxruntime")
        for batch in (1, 2, 8, 33)
        for kind in ("real", "random", "golden")
    }
    for row in report["rows"]:
        assert row["max_logit_difference"] <= 1e-4
        assert row["max_probability_difference"] <= 1e-5
        assert row["equal_decisions"] == 1
        assert row["max_logit_error"] <= 1e-4
    assert any(row["max_logit_difference"] > 0 for row in report["rows"] if row["backend"] == "onnxruntime")
    assert report["machine"]["cpu"]
    assert report["machine"]["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_files_name_no_folder_of_this_machine(made):
    folders = [
        str(Path(torch.__file__).parents[1]),
        str(Path(exporting.__file__).parents[2]),
        "/home/someone",
    ]
    for path in made.iterdir():
        contents = [path.read_bytes()]
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                contents = [archive.read(name) for name in archive.namelist()]
        for content in contents:
            assert [folder for folder in folders if folder.encode() in content] == [], path.name
    assert document(made)["provenance"]["training"]["command"] == "fauxface train prepared --out runs/a"


def test_onnx_file(made, tmp_path):
    alone = tmp_path / "alone.onnx"
    alone.write_bytes((made / "classifier.onnx").read_bytes())
    model = onnx.load(alone)
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert {"BatchNormalization", "Range", "Gather"}.isdisjoint(kinds)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["labels"]) == ["bona_fide", "generated"]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert onnx_graph.opset(alone) == onnx_graph.OPSET
    classifier = Classifier(alone.read_bytes(), provider="cpu", threads=1)
    for count in (0, 1, 5):
        assert classifier.logits(np.zeros((count, 128, 128, 3), np.uint8)).shape == (count, 2)


def test_golden_crops_replay_on_every_format(made):
    crops, logits = Bundle.load(made).golden()
    assert len(crops) == 2 + 6
    assert np.ptp(logits[:, 0]) > 1e-3
    for scored in (
        Classifier((made / "classifier.onnx").read_bytes(), provider="cpu", threads=1).logits(crops),
        torchscript.load(made / "classifier.torchscript.pt")(crops),
        program.load(made / "classifier.pt2")(crops),
    ):
        np.testing.assert_allclose(scored, logits, rtol=0, atol=1e-4)


def test_card_is_made_of_the_metrics_and_the_terms(made):
    card = (made / "MODEL_CARD.md").read_text()
    for text in ("0.9876", "0.4321", "0.7531", "0.0456", "CC0", "research \\| only", "LICENSE-WEIGHTS.md"):
        assert text in card
    assert "Not evaluated" not in card


def damaged_onnx(made, target):
    model = onnx.load(made / "classifier.onnx")
    bias = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == [2])
    values = onnx.numpy_helper.to_array(bias) + np.float32(2e-4)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(model, target)


def damaged_torchscript(inputs, target, save=torchscript.save):
    deployed = checkpoint.load(inputs.checkpoint).deployed().requires_grad_(False)
    deployed.net.layer3[0].conv1.weight.mul_(1.01)
    save(deployed, target)


@pytest.mark.parametrize("backend", ["onnxruntime", "torchscript"])
@pytest.mark.usefixtures("quick")
def test_damaged_graph_fails_the_gate_and_leaves_nothing(backend, made, inputs, options, monkeypatch):
    if backend == "onnxruntime":
        monkeypatch.setattr(onnx_graph, "save", lambda _, target, __: damaged_onnx(made, target))
    else:
        monkeypatch.setattr(torchscript, "save", lambda _, target: damaged_torchscript(inputs, target))
    chosen = options()
    with pytest.raises(GateError, match=rf"worst: {backend} at batch .* differs by ") as caught:
        export(chosen)
    assert "\n" not in str(caught.value)
    assert list(chosen.out.parent.iterdir()) == []


def test_failures_are_shown_in_the_card_and_listed(options, quick, inputs, monkeypatch):
    """The locator of these tests finds no face, so what it would find is put in its place."""
    location = Location((10.0, 10.0, 50.0, 50.0), (), 0.9)
    monkeypatch.setattr("fauxface.locator.Locator.locate", lambda *_, **__: [location])
    bundle = export(options(formats=("onnx",), failures=inputs.golden))
    found = bundle.manifest.provenance["failures"]
    assert found["pictures"] == 2
    assert found["bona_fide"] + found["unsure"] + found["generated"] == 2
    assert "Of 2 generated pictures that may be shown" in bundle.card()
    assert ("failures.png" in bundle.manifest.files) == (found["shown"] > 0)
    assert ("](failures.png)" in bundle.card()) == (found["shown"] > 0)


def test_a_bad_folder_of_failures_is_refused_before_the_work(options, tmp_path):
    chosen = options(failures=tmp_path / "none")
    with pytest.raises(DataError, match="no folder"):
        export(chosen, pytest.fail)
    assert not chosen.out.exists()


@pytest.mark.parametrize("name", ["n" * 101, "two\nlines", "latin \udcff"])
def test_a_bad_name_is_refused_before_the_work(options, name):
    with pytest.raises(
        BundleError, match=r"name must be 1 to 100 printable characters.*with --name$"
    ) as caught:
        export(options(name=name, checkpoint=Path("none")))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("quick")
def test_names_that_are_no_utf8_are_written_as_numbers(options, monkeypatch):
    """As a file system may have them; a checkpoint keeps the command that trained it."""
    load = checkpoint.load

    def trained_in_a_latin_folder(path):
        loaded = load(path)
        loaded.info["provenance"] = {"command": "fauxface train caf\udce9"}
        return loaded

    monkeypatch.setattr(checkpoint, "load", trained_in_a_latin_folder)
    bundle = export(options(formats=("onnx",)))
    assert bundle.manifest.provenance["training"]["command"] == "fauxface train caf\\udce9"
    assert "caf\\udce9" in bundle.card()


@pytest.mark.usefixtures("quick")
def test_golden_pictures_are_searched_as_the_bundle_searches(options, monkeypatch):
    """A large picture isn't shrunk further than a scan of it with the bundle would be."""
    used = []
    monkeypatch.setattr(
        exporting.golden,
        "picture_crops",
        lambda _, locator, *rest: used.append(locator) or exporting.golden.patterns(),
    )
    spec = export(options(formats=("onnx",))).manifest.locator
    assert [(each.max_side, each.min_scale) for each in used] == [(spec.max_side, spec.min_scale)]


def test_overwriting_with_onnx_alone_and_without_metrics(options, quick, inputs):
    chosen = options(formats=("onnx",), overwrite=True)
    chosen.out.mkdir(parents=True)
    (chosen.out / "bundle.json").write_text("{}")
    (chosen.out / "failures.png").write_text("old")
    said = []
    bundle = export(chosen, said.append)
    assert bundle.manifest.name == "bundle"
    assert sorted(bundle.manifest.files) == ["MODEL_CARD.md", "classifier.onnx", "golden.npz", "locator.onnx"]
    assert {row["backend"] for row in bundle.manifest.parity["rows"]} >= {"torchscript", "pt2"}
    assert "**Not evaluated.**" in bundle.card()
    assert "**Terms not stated.**" in bundle.card()
    assert not (chosen.out / "failures.png").exists()
    assert list(chosen.out.parent.iterdir()) == [chosen.out]
    assert any("parity onnxruntime: logits within" in line for line in said)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ({"sources": [{"label": "bona_fide"}]}, "'source'"),
        ({"created": "caf\udce9"}, "surrogates not allowed"),
        ({"overall": {"auroc": {"value": 10**400}}}, "Error"),
    ],
)
def test_damaged_metrics_are_one_line(options, quick, inputs, tmp_path, damage, said):
    (tmp_path / "m.json").write_text(json.dumps(json.loads(inputs.metrics.read_text()) | damage))
    chosen = options(formats=("onnx",), metrics=tmp_path / "m.json")
    with pytest.raises(DataError, match=rf"metrics are damaged .*{said}.*evaluate` again"):
        export(chosen, lambda _: None)
    assert not chosen.out.exists()


@pytest.mark.usefixtures("quick")
def test_the_smallest_face_with_a_verdict_has_24_px_in_the_searched_copy(options):
    manifest = export(options(formats=("onnx",))).manifest
    assert manifest.version == "1.3"
    assert manifest.int8_weight_bits == 8
    assert manifest.locator.max_side == 1280
    assert manifest.locator.min_scale == pytest.approx(24 / manifest.crop.min_face_px)


def test_gates_of_the_checkpoint_reach_the_bundle(options, inputs, tmp_path, quick):
    fields = {"gates": {"min_sharpness": 5.2}, "held": {"x": 1}, "min_face_px": 80}
    gated = inputs.checkpoint_with(tmp_path / "gated", **fields)
    export(options(checkpoint=gated))
    manifest = Bundle.load(tmp_path / "out" / "bundle").manifest
    assert manifest.gates.to_dict() == {"min_sharpness": 5.2}
    assert manifest.crop.min_face_px == 80
    assert manifest.provenance["held"] == {"x": 1}


@pytest.mark.parametrize(
    ("fields", "smallest"),
    [({"min_face_px": 20}, 20), ({"min_face_px": None}, 40), ({"min_face_px": 0, "faces": "whole"}, 40)],
)
@pytest.mark.usefixtures("quick")
def test_the_smallest_face_is_that_of_the_training_data(options, inputs, tmp_path, fields, smallest):
    checkpoint = inputs.checkpoint_with(tmp_path / "small", **fields)
    assert export(options(checkpoint=checkpoint, formats=("onnx",))).manifest.crop.min_face_px == smallest


def test_what_comes_of_the_default_bundle_or_the_demo_keeps_its_licence(options, quick, inputs, tmp_path):
    shipped = Bundle.load()
    training = {
        "initial_weights": {"kind": "bundle", "sha256": "ab" * 32},
        "teachers": [{"kind": "checkpoint"}, {"kind": "bundle"}],
    }
    taken = {
        "checkpoint": inputs.checkpoint_with(tmp_path / "run", provenance=training),
        "locator": None,
        "golden": exporting.DEMO_MEDIA,
        "formats": ("onnx",),
        "overwrite": True,
    }
    bundle = export(options(**taken), lambda _: None)
    inherited = ["locator.onnx", "golden.npz", "initial weights", "teachers"]
    assert bundle.manifest.provenance["inherited"] == inherited
    assert bundle.card().partition("## Licence")[2].count("non-commercial") == 2
    shutil.copytree(exporting.DEMO_MEDIA, tmp_path / "copy")
    bundle = export(options(**taken | {"golden": tmp_path / "copy"}), lambda _: None)
    assert bundle.manifest.provenance["inherited"] == inherited
    licence = shipped.path / str(shipped.manifest.weights_license)
    bundle = export(options(**taken, weights_license=licence), lambda _: None)
    assert "inherited" not in bundle.manifest.provenance


def test_a_locator_and_weights_of_ones_own_inherit_nothing(made):
    assert "inherited" not in document(made)["provenance"]


def test_what_is_listed_by_source_is_left_out_of_a_manifest_that_grows_too_long(
    options, quick, inputs, tmp_path, monkeypatch
):
    monkeypatch.setattr(exporting, "_MOST_MANIFEST_BYTES", 6000)
    held = {"real_sources": [{"source": f"person {n}"} for n in range(200)]}
    chosen = {"checkpoint": inputs.checkpoint_with(tmp_path / "run", held=held), "formats": ("onnx",)}
    said = []
    bundle = export(options(**chosen), said.append)
    assert "held" not in bundle.manifest.provenance
    assert "provenance.held has too many sources for the manifest, so it is left out of it" in said


@pytest.mark.usefixtures("quick")
def test_a_locator_that_did_not_cut_the_training_s_faces_is_refused(options, inputs, tmp_path):
    digest = hashlib.sha256(inputs.locator.read_bytes()).hexdigest()
    own = inputs.checkpoint_with(tmp_path / "own", locator_sha256=digest)
    assert export(options(checkpoint=own, formats=("onnx",), out=tmp_path / "a"))
    other = inputs.checkpoint_with(tmp_path / "other", locator_sha256="ab" * 32)
    with pytest.raises(DataError, match="faces that another locator than the bundle's had cut"):
        export(options(checkpoint=other, formats=("onnx",), out=tmp_path / "b"))
    assert not (tmp_path / "b").exists()
