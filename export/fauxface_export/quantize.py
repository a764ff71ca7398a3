"""Static 8-bit quantisation of the classifier's ONNX graph: uint8 activations, int8 weights of 7 bits.

The graph that export writes normalises the picture in float before its first convolution. Here that
arithmetic is folded into the convolution's weights, so that the uint8 crop is the quantised tensor already,
without any rounding (`prepare`). ONNX Runtime then runs every convolution, addition and pooling on bytes.
"""

import contextlib
import io
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QDQQuantizer, QuantType
from onnxruntime.quantization.calibrate import CalibraterBase, TensorsData, create_calibrator
from onnxruntime.quantization.shape_inference import quant_pre_process

from fauxface.errors import GateError
from fauxface_export.onnx_graph import INPUT, exposing, layers

METHODS = ("minmax", "entropy", "percentile")
"""How the range of an activation is chosen: all that occurs, least information lost, all but outliers."""

_SETTINGS: dict[str, tuple[CalibrationMethod, dict[str, Any]]] = {
    "minmax": (CalibrationMethod.MinMax, {}),
    "entropy": (CalibrationMethod.Entropy, {"num_bins": 512, "num_quantized_bins": 256}),
    "percentile": (CalibrationMethod.Percentile, {"percentile": 99.999, "symmetric": False}),
}
WEIGHT_BITS = 7
"""Weights lie in -64 to 64: where a CPU adds two products of bytes in 16 bits, no sum overflows."""

_QUANTISED = ["Add", "Conv", "MaxPool", "Relu"]
_RIDGE = 0.01
_CALIBRATION_BATCH = 16
_PIXELS = "pixels"
_WHITE = 255


def prepare(source: Path, target: Path) -> None:
    """Fold the normalisation into the first convolution and add the shapes that quantisation needs.

    The exported graph computes `Conv(pixel * scale + offset)`, padded with zeros after the normalisation. It
    becomes `Conv4((pixel - middle) / 255)`, where a fourth channel of constant white carries what the offset
    adds, since a bias couldn't leave out the padding. The function is the same; its input is now exact in
    uint8 with scale 1/255 and zero point `middle`.

    Args:
        source: The float graph that export wrote.
        target: Where to write the float graph that `ranges` and `quantise` take.

    Raises:
        GateError: The graph doesn't start as export writes it.
    """
    model = onnx.load(source)
    _fold_normalisation(model)
    with tempfile.TemporaryDirectory() as folder:
        folded = Path(folder) / "folded.onnx"
        onnx.save(model, folded)
        # Symbolic inference is for transformers; the standard one knows all shapes of this graph.
        quant_pre_process(folded, target, skip_symbolic_shape=True)


def largest(prepared: Path, crops: np.ndarray) -> dict[str, np.ndarray]:
    """Run crops through the float graph; return the largest value of each channel of each layer's input.

    Args:
        prepared: What `prepare` wrote.
        crops: uint8 [N, 128, 128, 3], RGB.

    Returns:
        Activation to float32 [C].
    """
    settings = {"per_channel": True}
    with _calibrator(prepared, ["Conv", "Gemm"], CalibrationMethod.MinMax, settings) as calibrator:
        # All parts in one call: the calibrator can't join ranges per channel of several.
        calibrator.collect_data(_Reader(batches(crops)))
        found = calibrator.compute_data().data
    return {name: np.asarray(values.range_value[1]).reshape(-1) for name, values in found.items()}


def ranges(prepared: Path, crops: np.ndarray, method: str) -> TensorsData:
    """Run crops through the float graph and choose the range of every activation.

    Args:
        prepared: What `prepare` wrote.
        crops: uint8 [N, 128, 128, 3], RGB.
        method: One of `METHODS`.
    """
    with _calibrator(prepared, _QUANTISED, *_SETTINGS[method]) as calibrator:
        # One part at a time: the calibrator holds every activation of what it is given.
        for part in batches(crops):
            calibrator.collect_data(_Reader([part]))
        return calibrator.compute_data()


@contextlib.contextmanager
def _calibrator(
    prepared: Path, operators: list[str], method: CalibrationMethod, settings: dict[str, Any]
) -> Iterator[CalibraterBase]:
    """Yield a calibrator, and keep from the terminal what it prints."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        augmented = str(Path(folder) / "augmented.onnx")
        yield create_calibrator(prepared, operators, augmented, method, extra_options=settings)


def batches(crops: np.ndarray) -> list[np.ndarray]:
    """Cut crops into batches of what calibration holds at a time."""
    return [crops[start : start + _CALIBRATION_BATCH] for start in range(0, len(crops), _CALIBRATION_BATCH)]


def quantise(
    prepared: Path,
    found: TensorsData,
    target: Path,
    *,
    only: Collection[str] | None = None,
    in_float: Collection[str] = (),
) -> None:
    """Write the graph with QuantizeLinear and DequantizeLinear nodes and int8 weights, one scale per channel.

    Args:
        prepared: What `prepare` wrote.
        found: What `ranges` found.
        target: Where to write; one self-contained file.
        only: Quantise nothing but the convolutions of these names (keys of `onnx_graph.layers`).
        in_float: Convolutions that stay in float, with the additions and activations after them: the first,
            and such as an addition follows, since ONNX Runtime makes integers of the others by itself.
    """
    names = layers(prepared)
    model = onnx.load(prepared)
    scale, middle = _input_grid(model)
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=WEIGHT_BITS < 8,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=found,
        nodes_to_quantize=[names[name] for name in only] if only is not None else [],
        nodes_to_exclude=_with_followers(model, {names[name] for name in in_float}),
        op_types_to_quantize=_QUANTISED,
        extra_options={
            "TensorQuantOverrides": {
                _PIXELS: [{"scale": np.array(scale, np.float32), "zero_point": np.array(middle, np.uint8)}]
            }
        },
    )
    quantizer.quantize_model()
    made = quantizer.model.model
    _take_bytes_directly(made)
    quantizer.model.topological_sort()
    onnx.checker.check_model(made, full_check=True)
    target.write_bytes(made.SerializeToString(deterministic=True))


def _with_followers(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Return the names of nodes, and of the additions and activations that take their outputs.

    ONNX Runtime quantises the weights of a convolution between DequantizeLinear and QuantizeLinear by itself
    (its WeightBiasQuantization), so that one is in float only where its output isn't quantised at once.
    """
    found, outputs = set(names), set[str]()
    for node in model.graph.node:  # in the order in which they run
        follows = node.op_type in {"Add", "Relu"} and not outputs.isdisjoint(node.input)
        if follows or node.name in found:
            found.add(node.name)
            outputs |= {*node.output}
    return sorted(found)


def correct(prepared: Path, path: Path, crops: np.ndarray) -> None:
    """Shift each quantised convolution's bias by what rounding moved its outputs, channel by channel.

    The convolutions take turns in the order in which they run, so that each is measured on what the corrected
    ones before it give. Source: Nagel et al., "Data-free quantization through weight equalization and bias
    correction", 2019, section 4.2, with measured means in place of derived ones.

    Args:
        prepared: What `prepare` wrote.
        path: What `quantise` made of it; it is written anew.
        crops: uint8 [N, 128, 128, 3] RGB of the train split.
    """
    model, fp32 = onnx.load(path), onnx.load(prepared)
    outputs = {node.name: node.output[0] for node in fp32.graph.node if node.op_type == "Conv"}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    wanted = _means(fp32, [outputs[node.name] for node in convolutions], crops)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    for node, mean in zip(convolutions, wanted, strict=True):
        if node.input[2] not in sources:
            continue
        name, scale = sources[node.input[2]].input[:2]
        moved = (mean - _means(model, [node.output[0]], crops)[0]) / numpy_helper.to_array(tensors[scale])
        limits = np.iinfo(np.int32)
        bias = np.clip(numpy_helper.to_array(tensors[name]) + np.rint(moved), limits.min, limits.max)
        tensors[name].CopyFrom(numpy_helper.from_array(bias.astype(np.int32), name))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _means(model: onnx.ModelProto, names: Sequence[str], crops: np.ndarray) -> list[np.ndarray]:
    """Run crops and return the mean of each channel of inner tensors [N, C, H, W]: float64 [C] each."""
    session = exposing(model, names)
    parts: list[list[np.ndarray]] = []
    for part in batches(crops):
        found: list[Any] = list(session.run(list(names), {INPUT: part}))
        parts.append([values.mean(axis=(2, 3), dtype=np.float64) for values in found])
    return [np.concatenate(values).mean(axis=0) for values in zip(*parts, strict=True)]


def refit(path: Path, crops: np.ndarray, logits: np.ndarray) -> None:
    """Fit the last, linear layer to what fp32 says, given the features as rounding leaves them.

    Ridge regression towards the layer's own weights, a hundredth of the features' mean square as the ridge.

    Args:
        path: What `quantise` wrote; it is written anew.
        crops: uint8 [N, 128, 128, 3] RGB of the train split.
        logits: float32 [N, 2] of fp32 for the same crops.
    """
    model = onnx.load(path)
    (head,) = (node for node in model.graph.node if node.op_type == "Gemm")
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    weight, bias = (numpy_helper.to_array(tensors[name]).astype(np.float64) for name in head.input[1:3])
    features = _features(model, head.input[0], crops)
    inputs = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    layer = np.concatenate([weight.T, bias[None]])
    ridge = _RIDGE * np.square(features).sum() / features.shape[1]
    square = inputs.T @ inputs + ridge * np.eye(inputs.shape[1])
    layer += np.linalg.solve(square, inputs.T @ (logits - inputs @ layer))
    for name, values in zip(head.input[1:3], (layer[:-1].T, layer[-1]), strict=True):
        tensors[name].CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))
    path.write_bytes(model.SerializeToString(deterministic=True))


def _features(model: onnx.ModelProto, name: str, crops: np.ndarray) -> np.ndarray:
    """Run crops and return an inner tensor, float64 [N, F]."""
    session = exposing(model, [name])
    parts: list[Any] = [session.run([name], {INPUT: part})[0] for part in batches(crops)]
    return np.concatenate(parts).astype(np.float64)


def operators(model: bytes) -> Counter[str]:
    """Return how often each operator occurs in the graph that ONNX Runtime makes of a model for the CPU.

    A Transpose that moves float32 values is counted as "Transpose of floats".
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "optimised.onnx"
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        graph = onnx.load(path).graph
    in_float = {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}
    return Counter(
        "Transpose of floats" if node.op_type == "Transpose" and node.input[0] in in_float else node.op_type
        for node in graph.node
    )


def require_integers(found: Mapping[str, int], convolutions: int) -> None:
    """Raise a GateError unless so many convolutions run on bytes and no float tensor is transposed."""
    if found.get("QLinearConv", 0) == convolutions and not found.get("Transpose of floats"):
        return
    listed = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    raise GateError(
        f"ONNX Runtime doesn't run all {convolutions} quantised convolutions on bytes (it runs {listed}); "
        "no bundle was written"
    )


def _fold_normalisation(model: onnx.ModelProto) -> None:
    graph = model.graph
    try:
        transpose, cast, mul, add = list(graph.node)[:4]
        conv = graph.node[4]
        constants = {tensor.name: tensor for tensor in graph.initializer}
        kinds = [node.op_type for node in (transpose, cast, mul, add, conv)]
        if kinds != ["Transpose", "Cast", "Mul", "Add", "Conv"] or transpose.input[0] != INPUT:
            raise ValueError(f"it starts with {', '.join(kinds)}")
        scale = numpy_helper.to_array(constants[mul.input[1]]).astype(np.float64).reshape(-1)
        offset = numpy_helper.to_array(constants[add.input[1]]).astype(np.float64).reshape(-1)
        weight = numpy_helper.to_array(constants[conv.input[1]]).astype(np.float64)
        if scale.shape != (3,) or offset.shape != (3,) or weight.shape[1] != 3:
            raise ValueError("its normalisation isn't per colour")
    except (LookupError, ValueError) as error:
        raise GateError(f"the graph can't be quantised: {error}; export it with this release") from None
    middle = round(float(np.mean(-offset / scale)))
    white = (_WHITE - middle) / _WHITE
    colours = weight * (_WHITE * scale)[:, None, None]
    constant = np.tensordot(weight, (middle * scale + offset) / white, axes=([1], [0]))
    folded = np.concatenate([colours, constant[:, None]], axis=1).astype(np.float32)
    replaced = {mul.input[1], add.input[1], conv.input[1]}
    kept = [tensor for tensor in graph.initializer if tensor.name not in replaced]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(
        [
            numpy_helper.from_array(folded, conv.input[1]),
            numpy_helper.from_array(np.array([0, 0, 0, 0, 0, 0, 0, 1], np.int64), "fourth_channel"),
            numpy_helper.from_array(np.array(_WHITE, np.uint8), "white"),
            numpy_helper.from_array(np.array(middle, np.float32), "middle"),
            numpy_helper.from_array(np.array(1 / _WHITE, np.float32), "unit"),
        ]
    )
    first = [
        helper.make_node("Pad", [INPUT, "fourth_channel", "white"], ["with_white"], name="with_white"),
        helper.make_node("Transpose", ["with_white"], ["planes"], name="planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["values"], name="values", to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["values", "middle"], ["centred"], name="centred"),
        helper.make_node("Mul", ["centred", "unit"], [_PIXELS], name=_PIXELS),
    ]
    rest = list(graph.node)[4:]
    rest[0].input[0] = _PIXELS
    del graph.node[:]
    graph.node.extend([*first, *rest])


def _input_grid(model: onnx.ModelProto) -> tuple[float, int]:
    """Return scale and zero point by which the first convolution's input is the picture itself."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {node.name: node for node in model.graph.node}
    unit, middle = constants[nodes[_PIXELS].input[1]], constants[nodes["centred"].input[1]]
    return float(unit), int(middle)


def _take_bytes_directly(model: onnx.ModelProto) -> None:
    """Drop the float arithmetic before the first convolution where it is quantised back to the same bytes."""
    graph = model.graph
    quantised = [node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == _PIXELS]
    others = [node for node in graph.node if _PIXELS in node.input and node.op_type != "QuantizeLinear"]
    if len(quantised) != 1 or others:
        return
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == quantised[0].output[0]:
                node.input[index] = "planes"
    gone = {quantised[0].name, "values", "centred", _PIXELS}
    kept = [node for node in graph.node if node.name not in gone]
    del graph.node[:]
    graph.node.extend(kept)
    used = {name for node in graph.node for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(tensors)


class _Reader(CalibrationDataReader):
    def __init__(self, batches: Sequence[np.ndarray]) -> None:
        self._batches: Iterator[np.ndarray] = iter(batches)

    def get_next(self) -> Any:  # a feed, or None at the end, which the base class leaves unsaid
        batch = next(self._batches, None)
        return None if batch is None else {INPUT: batch}
