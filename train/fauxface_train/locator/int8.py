"""A face locator in int8: rewritten so that bytes stay bytes, quantised, and held against the float one."""

import contextlib
import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
from onnx import GraphProto, NodeProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from fauxface.crops import shrink
from fauxface.errors import CheckpointError, DataError, GateError
from fauxface.locator import MAX_SIDE, MIN_SCALE, Locator
from fauxface.progress import track
from fauxface.yunet import DIVISOR
from fauxface_train.locator.compare import Settings, compare
from fauxface_train.locator.pictures import decoded, find_pictures
from fauxface_train.locator.samples import split_held_out
from fauxface_train.locator.verdict import Bar

RANGE_PICTURES, CHECK_PICTURES, SIDE = 256, 1000, 640
LIMITS = Bar(min_recall=0.98, min_precision=0.98, min_iou=0.95, max_landmark_error=0.02)
"""What it may lose of the float locator's faces: none of the two may find many that the other doesn't."""

FEWEST_FACES = 50
"""Fewer on the pictures that are held out tell next to nothing of what int8 loses."""

SOURCE = "quantised_from"
"""Key of the file's metadata: SHA-256 of the float locator's file."""

_IN_FLOAT, _OPSET = 2, 13
_QUANTISED = ["Add", "Concat", "Conv", "MatMul", "Relu", "Reshape", "Transpose", "Unsqueeze"]


def quantise(source: bytes, folders: Sequence[Path], say: Callable[[str], None]) -> bytes:
    """Return a locator with uint8 activations and int8 weights, one scale per output channel.

    The ranges are the largest that occur on pictures. The first two convolutions stay in float: they have few
    channels and most of the pixels, and ONNX Runtime computes them faster so. The outputs are float, without
    rounding of their own. Weights have 8 bits, for CPUs with instructions for sums of such products.

    Args:
        source: ONNX file in YuNet's format, of any picture size.
        folders: Of pictures with faces and without, searched recursively; all count alike. Most are for the
            ranges, those that `split_held_out` holds out for the check.
        say: Told what was measured.

    Raises:
        CheckpointError: The file isn't ONNX, is in int8 already, or takes one size of pictures only.
        DataError: A folder has no pictures, or none can be decoded.
        BundleError: The file isn't in YuNet's format.
        GateError: The result and the source find too few of each other's faces, or place them differently, or
            too few faces are held out to tell.
    """
    halves = [_halves(folder) for folder in folders]
    seen = [path for most, _ in halves for path in _spread(most, max(1, RANGE_PICTURES // len(halves)))]
    held = [path for _, few in halves for path in _spread(few, max(1, CHECK_PICTURES // len(halves)))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        plain, shaped, made = (Path(folder) / f"{name}.onnx" for name in ("plain", "shaped", "made"))
        onnx.save(_rewritten(_read(source)), plain)
        quant_pre_process(plain, shaped, skip_symbolic_shape=True)
        graph = onnx.load(shaped).graph
        quantize_static(
            shaped,
            made,
            _Reader(graph.input[0].name, seen),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=_QUANTISED,
            nodes_to_exclude=_kept(graph),
            extra_options={"OpTypesToExcludeOutputQuantization": ["MatMul"]},
        )
        model = onnx.load(made)
    model.producer_name, model.producer_version = "fauxface", ""
    helper.set_model_props(model, {SOURCE: hashlib.sha256(source).hexdigest()})
    result = model.SerializeToString(deterministic=True)
    settings = Settings(sides=(MAX_SIDE,), min_scale=MIN_SCALE)
    report = compare(result, source, held, settings)
    found: dict[str, Any] = report["sides"][str(MAX_SIDE)]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    pool = found["all"]
    say(
        f"against the float locator on {pool['pictures']} pictures: recall {pool['recall']}, precision "
        f"{pool['precision']}, mean IoU {pool['mean_iou']}, landmarks {pool['landmark_error']} of the box, "
        f"time {found['time']['ratio']}"
    )
    judged = {"skipped": [], "sides": {str(MAX_SIDE): {**found, "groups": {"all": pool}}}}
    if misses := LIMITS.misses(judged):
        raise GateError(f"the locator isn't the same in int8: {'; '.join(misses)}; nothing was written")
    if pool["reference_faces"] < FEWEST_FACES:
        raise GateError(
            f"of {pool['pictures']} pictures that are held out for the check, the float locator finds "
            f"{pool['reference_faces']} faces, fewer than {FEWEST_FACES}; give more pictures; "
            "nothing was written"
        )
    return result


def _halves(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return a folder's pictures for the ranges and those for the check, of which none is both."""
    paths = find_pictures(folder)
    if len(paths) < 2:
        raise DataError(f"{folder} has too few pictures to hold any out for the check; give more")
    return split_held_out(paths)


def _read(source: bytes) -> onnx.ModelProto:
    """Return the graph of a float locator of any picture size, in a version of operators that ours fit."""
    try:
        model = onnx.load_model_from_string(source)
        onnx.checker.check_model(model)
        if any(entry.domain in {"", "ai.onnx"} and entry.version < _OPSET for entry in model.opset_import):
            model = onnx.version_converter.convert_version(model, _OPSET)
    except Exception as error:  # protobuf's and onnx's errors share no base class
        raise CheckpointError("the locator isn't a readable ONNX file; give one in YuNet's format") from error
    Locator(source)
    if any(node.op_type in {"QuantizeLinear", "DequantizeLinear"} for node in model.graph.node):
        raise CheckpointError("the locator is in int8 already; give the float one")
    if all(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim):
        raise CheckpointError("the locator takes pictures of one size alone; give one of any size")
    return model


def _kept(graph: GraphProto) -> list[str]:
    """Return the nodes that stay in float: the first convolutions, what lies between, and biases of heads."""
    first = [node.name for node in graph.node if node.op_type == "Conv"][:_IN_FLOAT]
    names = [node.name for node in graph.node]
    between = names[: names.index(first[-1]) + 1] if first else []
    products = {node.output[0] for node in graph.node if node.op_type == "MatMul"}
    return between + [node.name for node in graph.node if node.op_type == "Add" and node.input[0] in products]


class _Reader(CalibrationDataReader):
    """Gives pictures as the locator sees them, in a copy of at most `SIDE` pixels.

    Args:
        name: Of the network's input.
        paths: The pictures; one that can't be decoded is passed over.
    """

    def __init__(self, name: str, paths: Sequence[Path]) -> None:
        self._name, self._given = name, False
        self._left = iter(track(map(decoded, paths), len(paths), "ranges", "pictures"))

    def get_next(self) -> Any:  # the base class leaves the None after the last unsaid
        """Return the next input by its name, float32 [1, 3, H, W]; None after the last."""
        picture = next((picture for picture in self._left if picture is not None), None)
        if picture is None and not self._given:
            raise DataError("none of the pictures can be decoded; give others")
        self._given = True
        return None if picture is None else {self._name: _input(picture)}


def _input(picture: np.ndarray) -> np.ndarray:
    scale = SIDE / max(picture.shape[:2])
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in picture.shape[1::-1])
        picture, _ = shrink(picture, (width, height))
    (height, width), pad = picture.shape[:2], DIVISOR
    canvas = np.zeros((1, 3, -(-height // pad) * pad, -(-width // pad) * pad), np.float32)
    canvas[0, :, :height, :width] = picture.transpose(2, 0, 1)
    return canvas


def _spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Return at most `count` paths, evenly apart."""
    return (
        [paths[index * len(paths) // count] for index in range(count)] if count < len(paths) else list(paths)
    )


def _rewritten(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes the same, in operators that ONNX Runtime is quick at in bytes.

    Enlarging by two becomes copies, and the last convolutions of the heads matrix products, which give float
    from bytes without rounding in between.
    """
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and "value" in (said := _attributes(node)):
            constants[node.output[0]] = numpy_helper.to_array(said["value"])
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    replaced: dict[str, list[NodeProto]] = {}
    gone: set[str] = set()
    for number, node in enumerate(graph.node):
        node.name = node.name or f"node_{number}"
        if _doubles(node, constants):
            replaced[node.name] = list(_copies(graph, node))
        elif (chain := _head(node, users, constants)) is not None:
            replaced[chain[-1].name] = list(_product(graph, node, chain[-1].output[0], constants))
            gone |= {part.name for part in (node, *chain[:-1])}
    nodes = [new for node in graph.node if node.name not in gone for new in replaced.get(node.name, [node])]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(left)
    del graph.value_info[:]
    onnx.checker.check_model(model)
    return model


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


def _doubles(node: NodeProto, constants: dict[str, np.ndarray]) -> bool:
    """Tell whether a node enlarges height and width by two and copies the nearest pixel."""
    if node.op_type != "Resize" or len(node.input) < 3 or node.input[2] not in constants:
        return False
    said = _attributes(node)
    nearest = said.get("mode", b"nearest") == b"nearest" and said.get("nearest_mode") == b"floor"
    at_corners = said.get("coordinate_transformation_mode") == b"asymmetric"
    return nearest and at_corners and constants[node.input[2]].tolist() == [1, 1, 2, 2]


def _copies(graph: GraphProto, node: NodeProto) -> Iterator[NodeProto]:
    """Yield what doubles rows and columns by copies, with the channels last, where they are contiguous."""
    name = node.name
    last, shape, rows, columns, size = (
        f"{name}_{part}" for part in ("last", "shape", "rows", "columns", "size")
    )

    def constant(part: str, values: list[int]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), f"{name}_{part}"))
        return f"{name}_{part}"

    def make(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
        return helper.make_node(kind, inputs, [output], name=f"{output}_{kind}", **attributes)

    yield make("Transpose", [node.input[0]], last, perm=[0, 2, 3, 1])
    yield make("Shape", [last], shape)
    yield make("Mul", [shape, constant("twice", [1, 2, 2, 1])], size)
    yield make("Unsqueeze", [last, constant("second", [2])], f"{rows}_one")
    yield make("Concat", [f"{rows}_one"] * 2, rows, axis=2)
    yield make("Unsqueeze", [rows, constant("fourth", [4])], f"{columns}_one")
    yield make("Concat", [f"{columns}_one"] * 2, columns, axis=4)
    yield make("Reshape", [columns, size], f"{name}_doubled")
    yield make("Transpose", [f"{name}_doubled"], node.output[0], perm=[0, 3, 1, 2])


def _head(
    node: NodeProto, users: dict[str, list[NodeProto]], constants: dict[str, np.ndarray]
) -> list[NodeProto] | None:
    """Return the transposition and the reshaping after a convolution of 1 x 1; None where others follow."""
    if node.op_type != "Conv" or len(node.input) < 3 or not {*node.input[1:3]} <= constants.keys():
        return None
    if constants[node.input[1]].shape[2:] != (1, 1):
        return None
    chain = []
    for kind in ("Transpose", "Reshape"):
        following = users.get((chain[-1] if chain else node).output[0], [])
        if len(following) != 1 or following[0].op_type != kind:
            return None
        chain.append(following[0])
    return chain if _attributes(chain[0]).get("perm") == [0, 2, 3, 1] else None


def _product(
    graph: GraphProto, node: NodeProto, output: str, constants: dict[str, np.ndarray]
) -> Iterator[NodeProto]:
    """Yield what computes a head's last convolution as a matrix product: [1, cells, channels out]."""
    name, weight = node.name, constants[node.input[1]][:, :, 0, 0]
    for part, values in (
        ("weight", np.ascontiguousarray(weight.T)),
        ("bias", constants[node.input[2]]),
        ("shape", np.array([1, -1, weight.shape[1]], np.int64)),
    ):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_{part}"))
    last, cells, product = (f"{name}_{part}" for part in ("last", "cells", "product"))
    yield helper.make_node("Transpose", [node.input[0]], [last], name=f"{last}_op", perm=[0, 2, 3, 1])
    yield helper.make_node("Reshape", [last, f"{name}_shape"], [cells], name=f"{cells}_op")
    yield helper.make_node("MatMul", [cells, f"{name}_weight"], [product], name=f"{product}_op")
    yield helper.make_node("Add", [product, f"{name}_bias"], [output], name=f"{name}_add")
