import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
import onnxruntime

from fauxface.bundle import DEFAULT_BUNDLE
from fauxface.errors import GateError
from fauxface.session import Classifier
from fauxface_export import equalise, onnx_graph, quantize


def logits(path, crops):
    return Classifier(path.read_bytes(), provider="cpu", threads=1).logits(crops)


@pytest.fixture(scope="module")
def crops(noisy_crops):
    return np.concatenate([noisy_crops(6, brightness, brightness) for brightness in (60, 120, 200)])


@pytest.fixture(scope="module")
def prepared(small_onnx, tmp_path_factory):
    path = tmp_path_factory.mktemp("prepared") / "prepared.onnx"
    quantize.prepare(small_onnx, path)
    return path


@pytest.fixture(scope="module")
def found(prepared, crops, _coarse_entropy):
    return {method: quantize.ranges(prepared, crops, method) for method in quantize.METHODS}


def test_folding_the_normalisation_changes_nothing(small_onnx, prepared, crops):
    """Not even at the border, where the padding is zero after the normalisation."""
    edges = crops.copy()
    edges[:, 4:-4, 4:-4] = 110
    for given in (crops, edges, np.zeros_like(crops[:1]), np.full_like(crops[:1], 255)):
        expected = logits(small_onnx, given)
        assert np.ptp(expected[:, 1]) > 0.01 or len(given) == 1
        np.testing.assert_allclose(logits(prepared, given), expected, atol=2e-5)


def test_layers_have_the_networks_names(prepared):
    layers = onnx_graph.layers(prepared)
    assert list(layers) == ["conv1", "layer1.0.conv1", "layer1.0.conv2", "layer2.0.conv1", "fc"]
    assert len(set(layers.values())) == 5


def test_other_graphs_are_refused(small_onnx, tmp_path):
    model = onnx.load(small_onnx)
    model.graph.node[2].op_type = "Div"
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(GateError, match="can't be quantised: it starts with Transpose, Cast, Div") as caught:
        quantize.prepare(tmp_path / "other.onnx", tmp_path / "out.onnx")
    assert "\n" not in str(caught.value)
    del model.graph.node[4:]
    onnx.save(model, tmp_path / "short.onnx")
    with pytest.raises(GateError, match="can't be quantised"):
        quantize.prepare(tmp_path / "short.onnx", tmp_path / "out.onnx")


@pytest.mark.parametrize("method", quantize.METHODS)
def test_every_layer_runs_on_bytes(method, found, prepared, small_onnx, crops, tmp_path):
    target = tmp_path / "int8.onnx"
    quantize.quantise(prepared, found[method], target)
    onnx_graph.finish(target, like=small_onnx)
    operators = quantize.operators(target.read_bytes())
    assert operators["QLinearConv"] == 4
    assert operators["QLinearAdd"] == 1
    assert operators["QuantizeLinear"] == operators["Conv"] == operators["Transpose of floats"] == 0
    quantize.require_integers(operators, 4)
    expected = logits(small_onnx, crops)
    assert np.abs(logits(target, crops) - expected).max() < 0.1 * np.ptp(expected)
    model = onnx.load(target)
    assert {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4} == {
        onnx.TensorProto.INT8
    }
    assert {entry.key: entry.value for entry in model.metadata_props} == {"margin": "1.2"}


def test_refitting_brings_the_logits_nearer(found, prepared, small_onnx, crops, tmp_path):
    target = tmp_path / "int8.onnx"
    quantize.quantise(prepared, found["minmax"], target)
    wanted = logits(small_onnx, crops)
    before = np.square(logits(target, crops) - wanted).mean()
    quantize.refit(target, crops, wanted)
    onnx_graph.finish(target, like=small_onnx)
    assert np.square(logits(target, crops) - wanted).mean() < 0.9 * before
    assert quantize.operators(target.read_bytes())["QLinearConv"] == 4


def test_calibration_prints_nothing(prepared, crops, capsys):
    quantize.ranges(prepared, crops[:2], "percentile")
    assert capsys.readouterr().out == ""


def test_weights_have_a_scale_per_channel_and_activations_one(found, prepared, tmp_path):
    quantize.quantise(prepared, found["minmax"], tmp_path / "int8.onnx")
    graph = onnx.load(tmp_path / "int8.onnx").graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    weights = [node for node in pairs if node.input[0] in tensors and tensors[node.input[0]].ndim == 4]
    assert [tensors[node.input[1]].shape for node in weights] == [
        tensors[node.input[0]].shape[:1] for node in weights
    ]
    activations = [node for node in pairs if node.input[0] not in tensors]
    assert {tensors[node.input[2]].dtype for node in activations} == {np.dtype(np.uint8)}
    assert {tensors[node.input[1]].shape for node in activations} == {()}


def test_no_sum_of_two_products_overflows_16_bits(found, prepared, crops, tmp_path):
    """CPUs without dot products of bytes add two products in 16 bits; the answer must be the same there."""
    path = tmp_path / "int8.onnx"
    quantize.quantise(prepared, found["minmax"], path)
    tensors = [onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer]
    weights = [values.astype(int) for values in tensors if values.dtype == np.int8 and values.ndim == 4]
    assert {int(np.abs(values).max()) for values in weights} == {64}
    assert np.iinfo(np.int16).max >= 2 * 255 * 64
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    in_float = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    given = np.concatenate([crops, np.full_like(crops[:1], 255)])
    np.testing.assert_allclose(logits(path, given), in_float.run(None, {"crops": given})[0], atol=0.02)


def test_the_picture_is_quantised_as_it_is(found, prepared, tmp_path):
    quantize.quantise(prepared, found["minmax"], tmp_path / "int8.onnx")
    nodes = list(onnx.load(tmp_path / "int8.onnx").graph.node)
    assert [node.op_type for node in nodes if "crops" in node.input] == ["Pad"]
    assert {"Cast", "Sub", "Mul"}.isdisjoint(node.op_type for node in nodes)


@pytest.mark.parametrize("layer", ["conv1", "layer2.0.conv1"])
def test_a_layer_can_stay_in_float(layer, found, prepared, small_onnx, crops, tmp_path):
    quantize.quantise(prepared, found["minmax"], tmp_path / "int8.onnx", in_float=[layer])
    operators = quantize.operators((tmp_path / "int8.onnx").read_bytes())
    assert operators["QLinearConv"] == 3
    assert sum(count for name, count in operators.items() if name in {"Conv", "FusedConv"}) == 1
    expected = logits(small_onnx, crops)
    assert np.abs(logits(tmp_path / "int8.onnx", crops) - expected).max() < 0.1 * np.ptp(expected)


@pytest.mark.parametrize(
    "in_float", [("layer4.1.conv2",), ("conv1", "layer4.1.conv2")], ids=["the last", "the first and the last"]
)
def test_layers_of_the_shipped_network_stay_in_float(in_float, noisy_crops, tmp_path):
    """ONNX Runtime quantises a convolution between two quantised tensors by itself."""
    crops = noisy_crops(4, 120, 120)
    quantize.prepare(DEFAULT_BUNDLE / "classifier.onnx", tmp_path / "prepared.onnx")
    ranges = quantize.ranges(tmp_path / "prepared.onnx", crops, "minmax")
    for left in ((), in_float):
        path = tmp_path / f"{len(left)}.onnx"
        quantize.quantise(tmp_path / "prepared.onnx", ranges, path, in_float=left)
        operators = quantize.operators(path.read_bytes())
        quantize.require_integers(operators, 20 - len(left))
        assert operators["Conv"] + operators["FusedConv"] == len(left)


def test_a_layer_can_be_quantised_alone(found, prepared, tmp_path):
    quantize.quantise(prepared, found["minmax"], tmp_path / "int8.onnx", only=["layer1.0.conv2"])
    assert quantize.operators((tmp_path / "int8.onnx").read_bytes())["QLinearConv"] == 1


@pytest.mark.parametrize(
    "operators", [{"QLinearConv": 3, "FusedConv": 1}, {"QLinearConv": 4, "Transpose of floats": 1}, {}]
)
def test_a_graph_that_does_not_run_on_bytes_is_refused(operators):
    with pytest.raises(GateError, match="doesn't run all 4 quantised convolutions on bytes") as caught:
        quantize.require_integers(operators, 4)
    assert "\n" not in str(caught.value)


def test_equalising_changes_the_weights_and_not_the_function(prepared, small_onnx, crops, tmp_path):
    path = tmp_path / "equal.onnx"
    shutil.copy(prepared, path)
    largest = quantize.largest(prepared, crops)
    equalise.equalise(path, largest)
    np.testing.assert_allclose(logits(path, crops), logits(small_onnx, crops), atol=2e-5)
    weights = [
        {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (prepared, path)
    ]
    changed = {name for name, value in weights[0].items() if not np.array_equal(value, weights[1][name])}
    assert changed >= {f"net.{name}.weight" for name in onnx_graph.layers(prepared)}
    name = "net.layer1.0.conv1.weight"
    assert (weights[0][name] * weights[1][name] >= 0).all()


def test_equalised_channels_use_more_of_their_range(prepared, crops, tmp_path):
    path = tmp_path / "equal.onnx"
    shutil.copy(prepared, path)
    equalise.equalise(path, quantize.largest(prepared, crops))

    def unevenness(graph):
        values = quantize.largest(graph, crops)
        inner = [v for name, v in values.items() if v.shape == (8,) and v.min() > 0]
        assert len(inner) >= 2
        return max(float(v.max() / v.min()) for v in inner)

    assert unevenness(path) < 0.7 * unevenness(prepared)


def test_corrected_biases_bring_the_outputs_back(found, prepared, crops, tmp_path):
    target = tmp_path / "int8.onnx"
    quantize.quantise(prepared, found["minmax"], target)
    nodes = {node.name: node for node in onnx.load(target).graph.node if node.op_type == "Conv"}
    fp32 = onnx.load(prepared)
    wanted = quantize._means(fp32, [n.output[0] for n in fp32.graph.node if n.name in nodes], crops)

    def moved():
        return np.abs(
            np.concatenate(quantize._means(onnx.load(target), outputs, crops)) - np.concatenate(wanted)
        )

    outputs = [nodes[n.name].output[0] for n in fp32.graph.node if n.name in nodes]
    before = moved()
    quantize.correct(prepared, target, crops)
    assert moved().mean() < 0.2 * before.mean()
