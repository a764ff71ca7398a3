from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx
import torch

from fauxface.errors import BundleError, GateError
from fauxface_export import onnx_graph, program

DATA = Path(__file__).parents[1] / "data"


class Colour(torch.nn.Module):
    def __init__(self, labels):
        super().__init__()
        self.labels = labels

    def forward(self, crops):
        return crops.to(torch.float32).mean(dim=(1, 2))[:, : self.labels]


def test_another_number_of_labels_is_refused(tmp_path):
    with pytest.raises(GateError, match="signature"):
        onnx_graph.save(program.capture(Colour(3)), tmp_path / "a.onnx", {})
    assert list(tmp_path.iterdir()) == []


def test_the_same_program_gives_the_same_bytes(tmp_path):
    for name in ("a.onnx", "b.onnx"):
        onnx_graph.save(program.capture(Colour(2)), tmp_path / name, {"b": "2", "a": "1"})
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert {entry.key: entry.value for entry in onnx.load(tmp_path / "a.onnx").metadata_props} == {
        "a": "1",
        "b": "2",
    }


def test_a_locator_without_a_stride_is_refused(inputs):
    with pytest.raises(BundleError, match=r"has 8 outputs .* not the 12 of YuNet"):
        onnx_graph.check_locator(inputs.other_locator.read_bytes(), "locator.onnx")


def test_a_locator_in_yunets_format_passes(inputs):
    onnx_graph.check_locator(inputs.locator.read_bytes(), "locator")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "isn't an ONNX model"),
        (b"\x00" * 64, "isn't an ONNX model"),
        ((DATA / "tiny_bundle/classifier.onnx").read_bytes(), "not the 12 of YuNet"),
        ((DATA / "attacks/external_data.onnx").read_bytes(), "external data"),
    ],
    ids=["empty", "zeros", "classifier", "external data"],
)
def test_other_locators_are_refused(data, message):
    with pytest.raises(BundleError, match=message):
        onnx_graph.check_locator(data, "locator.onnx")
