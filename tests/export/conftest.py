import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

MARGIN = 1.2
OPERATING_POINT = {
    "temperature": 0.8,
    "bias": -0.1,
    "bona_fide_below": 0.3,
    "generated_from": 0.7,
}


@dataclass(frozen=True)
class Inputs:
    """Files that every export needs; nothing of them comes from outside the tests."""

    checkpoint: Path
    locator: Path
    other_locator: Path
    golden: Path
    metrics: Path
    terms: Path
    licence: Path

    def checkpoint_with(self, path, **changes):
        """Save the checkpoint with other fields in its description, or with another `state`."""
        from fauxface_train import checkpoint

        loaded = checkpoint.load(self.checkpoint)
        state = changes.pop("state", loaded.net.state_dict())
        return checkpoint.save(path, state, loaded.info | changes)


def info(**changes):
    from fauxface_train import checkpoint

    point = OPERATING_POINT
    fields = {
        "config": {"preset": "robust", "lr": 0.001},
        "calibration": {
            "temperature": point["temperature"],
            "bias": point["bias"],
            "fitted_on": "made-up scores",
        },
        "thresholds": {
            "bona_fide_below": point["bona_fide_below"],
            "generated_from": point["generated_from"],
            "rule": "chosen by hand for tests",
        },
        "data": {"train": {"real": {"camera": 40}, "fake": {"gan": 30}}, "val": {"real": {"camera": 4}}},
        "provenance": {"command": "fauxface train /home/someone/prepared --out runs/a", "seconds": 12.5},
    }
    return checkpoint.describe(MARGIN, **(fields | changes))


def network():
    """A resnet18 with random weights and with batch-norm statistics that aren't the initial ones."""
    import torch

    from fauxface_train import model

    torch.manual_seed(0)
    net = model.build()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
    return net.eval()


def locator_bytes(strides=(8, 16, 32)):
    """A network in YuNet's format that finds no face."""
    from onnx import TensorProto, helper, numpy_helper

    nodes, tensors, outputs = [], [], []
    for stride in strides:
        for kind, channels in {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}.items():
            name = f"{kind}_{stride}"
            weight = np.zeros((channels, 3, stride, stride), np.float32)
            tensors.append(numpy_helper.from_array(weight, f"{name}_weight"))
            tensors.append(numpy_helper.from_array(np.array([1, -1, channels], np.int64), f"{name}_shape"))
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"{name}_weight"], [f"{name}_map"], strides=[stride, stride]
                ),
                helper.make_node("Transpose", [f"{name}_map"], [f"{name}_last"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{name}_last", f"{name}_shape"], [name]),
            ]
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "N", channels]))
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "H", "W"])
    graph = helper.make_graph(nodes, "locator", [source], outputs, tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    return made.SerializeToString()


def figure(value, **more):
    return {"value": value, "low": max(0.0, value - 0.01), "high": min(1.0, value + 0.01)} | more


def metrics_document(**changes):
    sources = [
        {"source": "camera", "label": "bona_fide", "samples": 50, "bpcer": figure(0.0123)},
        {"source": "phone", "label": "bona_fide", "samples": 20, "bpcer": figure(0.4321)},
        {"source": "gan", "label": "generated", "samples": 60, "apcer": figure(0.2345)},
    ]
    return {
        "format": "fauxface.evaluation/1",
        "created": "2026-01-31T12:00:00Z",
        "model": {"kind": "bundle", "identity": "ab", "provider": "cpu"},
        "data": {"name": "prepared", "split": "test", "margin": MARGIN},
        "operating_point": {"shipped": True, **OPERATING_POINT},
        "overall": {
            "samples": 130,
            "bona_fide": 70,
            "generated": 60,
            "auroc": figure(0.9876),
            "eer": {"value": None, "reason": "needs both bona fide and generated samples"},
        },
        "sources": sources,
        "pairs": {
            "real_sources": ["camera", "phone"],
            "fake_sources": ["gan"],
            "auroc": [[figure(0.9911)], [figure(0.7531)]],
            "worst": {"real": "phone", "fake": "gan", **figure(0.7531)},
        },
        "demographics": [{"by": ["gender", "race"], "cell": ["female", "indian"], "bpcer": figure(0.0456)}],
    } | changes


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    from fauxface_train import checkpoint

    root = tmp_path_factory.mktemp("inputs")
    checkpoint.save(root / "run" / "best", network().state_dict(), info())
    (root / "locator.onnx").write_bytes(locator_bytes())
    (root / "other.onnx").write_bytes(locator_bytes(strides=(8, 16)))
    golden = root / "golden"
    golden.mkdir()
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate([(200, 300), (90, 64)]):
        small = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
        assert cv2.imwrite(str(golden / f"{number}.png"), picture)
    (root / "metrics.json").write_text(json.dumps(metrics_document()))
    (root / "terms.csv").write_text(
        'source,label,origin,terms\ncamera,real,own camera,CC0\ngan,generated,"a, GAN",research | only\n'
    )
    (root / "LICENCE.md").write_text("# Licence of the weights\n")
    return Inputs(
        checkpoint=root / "run",
        locator=root / "locator.onnx",
        other_locator=root / "other.onnx",
        golden=golden,
        metrics=root / "metrics.json",
        terms=root / "terms.csv",
        licence=root / "LICENCE.md",
    )


@pytest.fixture
def options(inputs, tmp_path):
    """Return a function that makes Options for an export into tmp_path / "out" / "bundle"."""
    from fauxface_export.export import Options

    def make(**changes):
        fields = {
            "checkpoint": inputs.checkpoint,
            "out": tmp_path / "out" / "bundle",
            "locator": inputs.locator,
            "golden": inputs.golden,
        }
        return Options(**(fields | changes))

    return make


@pytest.fixture(scope="session")
def made(inputs, tmp_path_factory):
    """One export with everything; the other tests look at it."""
    from fauxface_export import export as exporting

    out = tmp_path_factory.mktemp("made") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "RANDOM_CROPS", 3)
        exporting.export(
            exporting.Options(
                checkpoint=inputs.checkpoint,
                out=out,
                locator=inputs.locator,
                metrics=inputs.metrics,
                terms=inputs.terms,
                weights_license=inputs.licence,
                golden=inputs.golden,
                name="made",
            )
        )
    return out


@pytest.fixture
def quick(made, monkeypatch):
    """Few comparisons of files that were exported before, for tests of the gate and of what follows it."""
    from fauxface_export import export as exporting
    from fauxface_export import onnx_graph, parity, program, torchscript

    monkeypatch.setattr(exporting, "RANDOM_CROPS", 1)
    monkeypatch.setattr(parity, "BATCHES", (1, 2))
    for module, name in ((onnx_graph, "onnx"), (torchscript, "torchscript.pt"), (program, "pt2")):
        path = made / f"classifier.{name}"
        monkeypatch.setattr(module, "save", lambda _, target, *__, path=path: shutil.copy(path, target))
    monkeypatch.setattr(program, "capture", lambda _: None)


MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
SMALL_LAYERS = {
    "conv1": (8, 3, 7, 4),
    "layer1.0.conv1": (8, 8, 3, 1),
    "layer1.0.conv2": (8, 8, 3, 1),
    "layer2.0.conv1": (16, 8, 3, 2),
}
"""Convolutions of the small graph: channels out and in, kernel, stride."""


def small_graph():
    """A residual network of four convolutions as export writes one, whose logits follow the brightness."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, tensors = [], []

    def constant(name, value):
        tensors.append(numpy_helper.from_array(value, name))
        return name

    def op(kind, *inputs, **attributes):
        output = f"{kind.lower()}_{len(nodes)}"
        nodes.append(helper.make_node(kind, list(inputs), [output], name=f"node_{output}", **attributes))
        return output

    def conv(name, value):
        out, inside, kernel, stride = SMALL_LAYERS[name]
        spread = rng.uniform(0.2, 2, (out, 1, 1, 1))
        weight = rng.normal(0.02, 0.1, (out, inside, kernel, kernel)) * spread
        pads = [kernel // 2] * 4
        parts = [
            constant(f"net.{name}.weight", weight.astype(np.float32)),
            constant(f"net.{name}.weight_bias", rng.normal(0, 0.1, out).astype(np.float32)),
        ]
        return op("Conv", value, *parts, strides=[stride] * 2, pads=pads, kernel_shape=[kernel] * 2)

    value = op("Transpose", "crops", perm=[0, 3, 1, 2])
    value = op("Cast", value, to=TensorProto.FLOAT)
    value = op("Mul", value, constant("scale", (1 / (255 * STD)).reshape(1, 3, 1, 1).astype(np.float32)))
    value = op("Add", value, constant("offset", (-MEAN / STD).reshape(1, 3, 1, 1).astype(np.float32)))
    stem = op("MaxPool", op("Relu", conv("conv1", value)), kernel_shape=[2, 2], strides=[2, 2])
    inner = op("Relu", conv("layer1.0.conv1", stem))
    value = op("Relu", op("Add", conv("layer1.0.conv2", inner), stem))
    value = op("Relu", conv("layer2.0.conv1", value))
    value = op("ReduceMean", value, constant("axes", np.array([2, 3], np.int64)))
    value = op("Reshape", value, constant("shape", np.array([-1, 16], np.int64)))
    half = rng.uniform(0, 0.4, (1, 16))
    weight = constant("net.fc.weight", np.concatenate([-half, half]).astype(np.float32))
    bias = constant("net.fc.bias", np.array([2, -2], np.float32))
    nodes.append(helper.make_node("Gemm", [value, weight, bias], ["logits"], name="node_fc", transB=1))
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("crops", TensorProto.UINT8, ["batch", 128, 128, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        tensors,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    made.ir_version = 10
    helper.set_model_props(made, {"margin": "1.2"})
    return made


@pytest.fixture(scope="session")
def small_onnx(tmp_path_factory):
    """Path of a small graph as export writes one."""
    import onnx

    path = tmp_path_factory.mktemp("small") / "classifier.onnx"
    onnx.save(small_graph(), path)
    return path


@pytest.fixture(scope="module")
def _coarse_entropy():
    """Let the entropy method try few ranges: it takes most of the time."""
    from fauxface_export import quantize

    kind, _ = quantize._SETTINGS["entropy"]
    settings = kind, {"num_bins": 128, "num_quantized_bins": 128}
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(quantize._SETTINGS, "entropy", settings)
        yield


@pytest.fixture(scope="session")
def noisy_crops():
    """Return a function that makes crops of coarse noise around a brightness."""

    def make(count, brightness, seed=0):
        rng = np.random.default_rng(seed)
        coarse = rng.normal(brightness, 25, (count, 16, 16, 3)).clip(0, 255).astype(np.uint8)
        return coarse.repeat(8, axis=1).repeat(8, axis=2)

    return make
