import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxscript")

import onnx
import torch

from fauxface.errors import GateError
from fauxface_export import onnx_graph, program


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
