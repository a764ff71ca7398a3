import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("onnxruntime")

import torch

from fauxface.errors import BundleError, CheckpointError, ProviderError
from fauxface_train import checkpoint, model, scorers

DATA = Path(__file__).parents[1] / "data"
TINY = DATA / "tiny_bundle"


class Tiny(torch.nn.Module):
    """The tiny bundle's classifier in PyTorch: see tests/data/make_tiny_bundle.py."""

    def forward(self, crops):
        colour = crops.to(torch.float32).mean(dim=(1, 2))
        half = (10 * (colour[:, 0] - (colour[:, 1] + colour[:, 2]) / 2) / 255 - 1).unsqueeze(1)
        return torch.cat([-half, half], dim=1)


class ThreeLabels(torch.nn.Module):
    def forward(self, crops):
        return crops.to(torch.float32).mean(dim=(1, 2))


class FloatInput(torch.nn.Module):
    def forward(self, crops):
        return torch.nn.functional.linear(crops, torch.zeros(2, 3)).mean(dim=(1, 2))


class NotANumber(torch.nn.Module):
    def forward(self, crops):
        return crops.to(torch.float32).mean(dim=(1, 2))[:, :2] * float("nan")


class Double(torch.nn.Module):
    def forward(self, crops):
        return crops.to(torch.float64).mean(dim=(1, 2))[:, :2]


def save_torchscript(module, path):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        torch.jit.save(torch.jit.script(module), str(path))
    return path


def save_exported(module, path):
    batch = torch.export.Dim("batch", min=1, max=4096)
    example = torch.zeros((2, 128, 128, 3), dtype=torch.uint8)
    torch.export.save(torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},)), str(path))
    return path


@pytest.fixture(scope="module")
def crops():
    return np.random.default_rng(0).integers(0, 256, (5, 128, 128, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["bundle", "onnx", "torchscript", "torch.export"])
def test_every_kind_gives_the_same_scores(kind, crops, tmp_path):
    path = {
        "bundle": lambda: TINY,
        "onnx": lambda: TINY / "classifier.onnx",
        "torchscript": lambda: save_torchscript(Tiny(), tmp_path / "tiny.pt"),
        "torch.export": lambda: save_exported(Tiny(), tmp_path / "tiny.pt2"),
    }[kind]()
    scorer = scorers.open_scorer(path, provider="cpu")
    red, green, blue = crops.reshape(5, -1, 3).mean(axis=1).T
    half = 10 * (red - (green + blue) / 2) / 255 - 1
    got = scorer.logits(crops)
    assert (scorer.kind, scorer.provider, got.dtype) == (kind, "cpu", np.float32)
    np.testing.assert_allclose(got, np.stack([-half, half], axis=1), atol=1e-5)


class Precise(torch.nn.Module):
    """Tells by its logits whether convolutions may be rounded to TF32."""

    def forward(self, crops):
        return torch.full((len(crops), 2), float(torch.backends.cudnn.allow_tf32))


def test_pytorch_computes_in_the_precision_that_a_scan_has():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        run = scorers._runner(Precise(), "cpu")
        assert run(np.zeros((1, 128, 128, 3), np.uint8)).tolist() == [[0.0, 0.0]]
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return model.build().eval()


def stand_in(net, info, folder, monkeypatch):
    """Make `checkpoint.load` return a description without writing the weights each time."""
    path = folder / "best.safetensors"
    path.touch()
    monkeypatch.setattr(checkpoint, "load", lambda given: checkpoint.Checkpoint(net, info, given))
    return path


def test_a_checkpoint_scores_as_the_module_that_is_exported(net, crops, tmp_path):
    crops = crops[:1]
    info = checkpoint.describe(
        1.3,
        calibration={"temperature": 2.0, "bias": 0.5, "fitted_on": "val"},
        thresholds={"bona_fide_below": 0.2, "generated_from": 0.9, "rule": "r"},
        data={"manifest_sha256": "ab" * 32},
    )
    checkpoint.save(tmp_path / "run" / "best", net.state_dict(), info)
    scorer = scorers.open_scorer(tmp_path / "run", provider="cpu")
    assert scorer.trained_on == ("ab" * 32,)
    with torch.no_grad():
        want = model.Deployed(net)(torch.from_numpy(crops)).numpy()
    np.testing.assert_allclose(scorer.logits(crops), want, atol=1e-6)
    assert (scorer.calibration.temperature, scorer.calibration.bias) == (2.0, 0.5)
    assert (scorer.thresholds.bona_fide_below, scorer.thresholds.generated_from) == (0.2, 0.9)
    assert scorer.point.shipped
    assert scorer.point.margin == 1.3


def test_a_file_of_a_bundle_knows_what_the_bundle_was_trained_on(tmp_path):
    from fauxface.bundle import write_manifest

    shutil.copytree(TINY, tmp_path / "bundle")
    document = json.loads((TINY / "bundle.json").read_text())
    document["provenance"] = {
        "data": {"manifest_sha256": "ab" * 32},
        "calibrations": [{"data": {"manifest_sha256": "cd" * 32, "pictures": ["ef" * 8]}}],
    }
    write_manifest(tmp_path / "bundle", document)
    name = document["classifier"]["fp32"]
    for given in (tmp_path / "bundle", tmp_path / "bundle" / name):
        scorer = scorers.open_scorer(given, provider="cpu", precision="auto")
        assert (scorer.trained_on, scorer.fitted_to) == (("ab" * 32,), ("cd" * 32, "ef" * 8))
        assert scorer.locator_sha256 == document["files"]["locator.onnx"]["sha256"]


def test_the_stand_in_of_an_unfinished_run_is_not_an_operating_point(net, tmp_path, monkeypatch):
    info = checkpoint.describe(
        1.2,
        calibration={"temperature": 1.0, "bias": 0.0, "fitted_on": ""},
        thresholds={"bona_fide_below": 0.5, "generated_from": 0.5, "rule": "not chosen"},
    )
    path = stand_in(net, info, tmp_path, monkeypatch)
    assert not scorers.open_scorer(path, "cpu").point.shipped


def test_the_operating_point_comes_from_the_bundle_beside(tmp_path):
    alone = scorers.open_scorer(shutil.copy(TINY / "classifier.onnx", tmp_path / "alone.onnx"), "cpu")
    beside = scorers.open_scorer(TINY / "classifier.onnx", "cpu")
    assert not alone.point.shipped
    assert (alone.thresholds.bona_fide_below, alone.thresholds.generated_from) == (0.5, 0.5)
    assert beside.point == scorers.open_scorer(TINY, "cpu").point
    assert (beside.thresholds.generated_from, beside.point.margin) == (0.7, 1.2)


@pytest.mark.parametrize(
    ("module", "match"),
    [
        (ThreeLabels(), r"float32 \[1, 3\] for 1 crops"),
        (FloatInput(), "isn't a fauxface classifier"),
        (NotANumber(), "aren't finite"),
        (Double(), "float64"),
    ],
    ids=["three labels", "float input", "not a number", "float64"],
)
def test_another_contract_is_refused(module, match, tmp_path):
    path = save_torchscript(module, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=match):
        scorers.open_scorer(path, "cpu")


@pytest.mark.parametrize(
    "name", ["three_labels", "float_input", "other_size", "not_a_number", "external_data"]
)
def test_an_onnx_file_of_another_contract_is_refused(name):
    with pytest.raises(BundleError):
        scorers.open_scorer(DATA / "attacks" / f"{name}.onnx", "cpu")


@pytest.mark.parametrize("name", ["m.pt", "m.pt2", "m.safetensors", "m.bin", "m.onnx"])
@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 broken"])
def test_damaged_files_are_one_line(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((CheckpointError, BundleError)) as caught:
        scorers.open_scorer(path, "cpu")
    assert "\n" not in str(caught.value)


def test_a_missing_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no model at"):
        scorers.open_scorer(tmp_path / "none.onnx")


def test_a_folder_without_model_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        scorers.open_scorer(tmp_path)


def test_a_tampered_bundle_is_refused(tmp_path):
    folder = Path(shutil.copytree(TINY, tmp_path / "bundle"))
    data = bytearray((folder / "classifier.onnx").read_bytes())
    data[-1] ^= 1
    (folder / "classifier.onnx").write_bytes(data)
    for path in (folder, folder / "classifier.onnx"):
        with pytest.raises(BundleError, match="classifier"):
            scorers.open_scorer(path, "cpu")


@pytest.mark.parametrize("point", [{"temperature": -1.0}, {"temperature": 1.0, "extra": 2}, "text"])
def test_a_bad_operating_point_is_refused(point, net, tmp_path, monkeypatch):
    info = checkpoint.describe(
        1.2, calibration=point, thresholds={"bona_fide_below": 0.2, "generated_from": 0.9, "rule": ""}
    )
    path = stand_in(net, info, tmp_path, monkeypatch)
    with pytest.raises(CheckpointError, match="bad operating point"):
        scorers.open_scorer(path, "cpu")


@pytest.mark.parametrize(("provider", "match"), [("npu", "cpu or cuda"), ("cuda", "CUDA")])
def test_an_unavailable_provider_is_refused(provider, match, tmp_path):
    if provider == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    path = save_torchscript(Tiny(), tmp_path / "tiny.pt")
    with pytest.raises(ProviderError, match=match):
        scorers.open_scorer(path, provider)


@pytest.mark.parametrize(("precision", "temperature"), [("fp32", 1.0), ("int8", 2.0), ("fp16", 1.0)])
def test_a_bundle_is_scored_in_the_precision_asked_for(precision, temperature, variant_bundle):
    scorer = scorers.open_scorer(variant_bundle, provider="cpu", precision=precision)
    assert (scorer.precision, scorer.point.calibration.temperature) == (precision, temperature)
    gray = scorer.logits(np.full((1, 128, 128, 3), 128, np.uint8))
    np.testing.assert_allclose(gray[0, 1], {"fp32": -1, "int8": -2, "fp16": -3}[precision], atol=1e-5)
    alone = variant_bundle / f"classifier.{precision}.onnx"
    if alone.exists():
        assert scorers.open_scorer(alone, provider="cpu").point == scorer.point


@pytest.mark.parametrize(
    ("path", "precision", "error", "match"),
    [
        (TINY, "int4", ProviderError, "unknown precision"),
        (TINY, "int8", BundleError, "no int8 classifier"),
        (TINY / "classifier.onnx", "int8", ProviderError, "isn't a bundle"),
    ],
)
def test_a_precision_that_can_not_be_had(path, precision, error, match):
    with pytest.raises(error, match=match):
        scorers.open_scorer(path, provider="cpu", precision=precision)


def test_a_file_beside_a_bundle_is_none_of_it(tmp_path):
    """Its figures would count as those of the bundle's own classifier."""
    folder = tmp_path / "bundle"
    shutil.copytree(TINY, folder)
    shutil.copyfile(TINY / "classifier.onnx", folder / "new.onnx")
    assert scorers.open_scorer(folder / "classifier.onnx", "cpu").point.shipped
    assert not scorers.open_scorer(folder / "new.onnx", "cpu").point.shipped
    assert scorers.open_scorer(folder / "new.onnx", "cpu").trained_on == ()


def test_a_checkpoint_tells_what_cut_its_faces(net, tmp_path, monkeypatch):
    info = checkpoint.describe(1.0, locator_sha256="ab" * 32)
    path = stand_in(net, info, tmp_path, monkeypatch)
    assert scorers.open_scorer(path, "cpu").locator_sha256 == "ab" * 32
