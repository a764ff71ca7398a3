import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx

from fauxface_export import onnx_graph, quantize, rounding

RNG = np.random.default_rng(0)
WEIGHT = RNG.normal(size=(8, 200))
SCALE = np.abs(WEIGHT).max(axis=1) / 7


def test_inputs_that_do_not_depend_on_each_other_are_rounded_one_by_one():
    made = rounding.rounded_jointly(WEIGHT, SCALE, np.eye(200), 7)
    assert np.array_equal(made, np.rint(WEIGHT / SCALE[:, None]))


@pytest.mark.parametrize("unused", [0, 20])
def test_alike_inputs_make_up_for_each_other(unused):
    inputs = RNG.normal(size=(1000, 20)) @ RNG.normal(size=(20, 200)) + 0.1 * RNG.normal(size=(1000, 200))
    inputs[:, :unused] = 0
    made = rounding.rounded_jointly(WEIGHT, SCALE, inputs.T @ inputs, 7)
    assert made.dtype == np.int8
    assert np.abs(made).max() <= 7

    def lost(rounded):
        return np.square(inputs @ (WEIGHT - rounded * SCALE[:, None]).T).mean()

    assert lost(made) < 0.1 * lost(np.rint(WEIGHT / SCALE[:, None]))


def test_inputs_of_nothing_are_rounded_too():
    made = rounding.rounded_jointly(WEIGHT, SCALE, np.zeros((200, 200)), 7)
    assert np.array_equal(made, np.rint(WEIGHT / SCALE[:, None]))


@pytest.mark.parametrize("in_float", [(), ("conv1",)])
def test_a_graph_answers_nearer_to_fp32(in_float, small_onnx, noisy_crops, tmp_path):
    prepared, target = tmp_path / "prepared.onnx", tmp_path / "int8.onnx"
    crops = np.concatenate([noisy_crops(12, brightness, brightness) for brightness in (60, 120, 200)])
    quantize.prepare(small_onnx, prepared)
    quantize.quantise(prepared, quantize.ranges(prepared, crops, "minmax"), target, in_float=in_float)
    before, fp32 = onnx.load(target), onnx.load(prepared)

    def outputs(model):
        names = {node.name: node.output[0] for node in model.graph.node if node.op_type == "Conv"}
        session = onnx_graph.exposing(model, list(names.values()))
        return dict(zip(names, session.run(list(names.values()), {"crops": crops}), strict=True))

    wanted = outputs(fp32)

    def lost(model):
        given = outputs(model)
        return np.mean([np.square(wanted[k] - given[k]).mean() / np.square(wanted[k]).mean() for k in wanted])

    rounding.compensate(prepared, target, crops)
    after = onnx.load(target)
    assert lost(after) < 0.8 * lost(before)
    changed = {
        tensor.name
        for tensor, other in zip(after.graph.initializer, before.graph.initializer, strict=True)
        if tensor != other
    }
    assert len(changed) == len(wanted) - len(in_float)
    assert all(name.endswith("weight_quantized") for name in changed)
