import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from fauxface.session import Classifier
from fauxface_export import half, onnx_graph


def kinds(path):
    tensors = onnx.load(path).graph.initializer
    return {t.name: t.data_type for t in tensors if t.name.endswith(".weight")}


def test_weights_are_halved_and_logits_stay(small_onnx, noisy_crops, tmp_path):
    target = tmp_path / "half.onnx"
    half.convert(small_onnx, target)
    onnx_graph.finish(target, like=small_onnx)
    found = kinds(target)
    assert found.pop("net.fc.weight") == onnx.TensorProto.FLOAT
    assert set(found.values()) == {onnx.TensorProto.FLOAT16}
    assert len(found) == 4
    assert target.stat().st_size < 0.7 * small_onnx.stat().st_size
    crops = noisy_crops(8, 120)
    before = Classifier(small_onnx.read_bytes(), provider="cpu", threads=1).logits(crops)
    after = Classifier(target.read_bytes(), provider="cpu", threads=1).logits(crops)
    assert 0 < np.abs(after - before).max() < 0.02


def test_one_layer_alone(small_onnx, tmp_path):
    half.convert(small_onnx, tmp_path / "half.onnx", only=["layer1.0.conv2"])
    halved = [name for name, kind in kinds(tmp_path / "half.onnx").items() if kind != onnx.TensorProto.FLOAT]
    assert halved == ["net.layer1.0.conv2.weight"]
