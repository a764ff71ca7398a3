"""Rounding of a quantised graph's weights, in which those still to come make up for those already rounded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import numpy_helper

from fauxface_export.onnx_graph import INPUT, exposing
from fauxface_export.quantize import batches

_POSITIONS = 16
_BATCHES = 16
_DAMPING = 0.01
_BLOCK = 128


def compensate(prepared: Path, path: Path, crops: np.ndarray) -> None:
    """Round each quantised convolution's weights anew, so that its outputs on given crops change least.

    Source: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained
    Transformers", 2022; a convolution is the matrix product of its patches.

    Args:
        prepared: The float graph that was quantised; see `quantize.prepare`.
        path: What `quantize.quantise` made of it; it is written anew. Scales stay.
        crops: uint8 [N, 128, 128, 3] RGB of the train split.
    """
    model, fp32 = onnx.load(path), onnx.load(prepared)
    floats = {tensor.name: tensor for tensor in fp32.graph.initializer}
    originals = {node.name: floats[node.input[1]] for node in fp32.graph.node if node.op_type == "Conv"}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sources = {node.output[0]: node for node in model.graph.node if node.op_type == "DequantizeLinear"}
    nodes = {n.name: n for n in model.graph.node if n.op_type == "Conv" and n.input[1] in sources}
    moments = _second_moments(model, nodes, crops)
    for place, node in nodes.items():
        name, scale = sources[node.input[1]].input[:2]
        weight = numpy_helper.to_array(originals[place])
        rounded = numpy_helper.to_array(tensors[name])
        made = rounded_jointly(
            weight.reshape(len(weight), -1),
            numpy_helper.to_array(tensors[scale]).reshape(-1),
            moments.pop(place),
            int(np.abs(rounded.astype(int)).max()),
        )
        tensors[name].CopyFrom(numpy_helper.from_array(made.reshape(rounded.shape), name))
    path.write_bytes(model.SerializeToString(deterministic=True))


def rounded_jointly(weight: np.ndarray, scale: np.ndarray, moments: np.ndarray, limit: int) -> np.ndarray:
    """Round a matrix column by column; what a column loses is made up for by those after it.

    Args:
        weight: float [O, K].
        scale: float [O], the step of each row.
        moments: float [K, K], products of the inputs that the rows meet, of any scale.
        limit: Largest whole number.

    Returns:
        int8 [O, K] in -limit to limit; times `scale` it stands for `weight`.
    """
    rest, steps = weight.astype(np.float64), scale.astype(np.float64)[:, None]
    damping = _DAMPING * float(np.trace(moments)) / len(moments) or 1.0
    inverse = np.linalg.inv(moments + damping * np.eye(len(moments)))
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    made = np.empty(weight.shape, np.int8)
    for start in range(0, weight.shape[1], _BLOCK):
        end = min(start + _BLOCK, weight.shape[1])
        lost = np.empty((len(weight), end - start))
        for k in range(start, end):
            column = rest[:, k : k + 1]
            whole = np.clip(np.rint(column / steps), -limit, limit)
            made[:, k] = whole[:, 0]
            lost[:, k - start] = ((column - whole * steps) / upper[k, k])[:, 0]
            rest[:, k:end] -= lost[:, k - start, None] * upper[k, k:end]
        rest[:, end:] -= lost @ upper[start:end, end:]
    return made


def _second_moments(
    model: onnx.ModelProto, nodes: Mapping[str, onnx.NodeProto], crops: np.ndarray
) -> dict[str, np.ndarray]:
    """Run crops; return the products of the patches that each convolution meets, summed: float64 [K, K]."""
    wanted = [node.input[0] for node in nodes.values()]
    session, rng = exposing(model, wanted), np.random.default_rng(0)
    found, rows = dict[str, np.ndarray](), dict[str, list[np.ndarray]]()
    given = batches(crops)
    for number, part in enumerate(given, 1):
        inputs: list[Any] = list(session.run(wanted, {INPUT: part}))
        full = number % _BATCHES == 0 or number == len(given)
        for (name, node), values in zip(nodes.items(), inputs, strict=True):
            rows.setdefault(name, []).append(_patches(node, values, rng))
            if full:
                met = np.concatenate(rows.pop(name))
                found[name] = found.get(name, 0.0) + (met.T @ met).astype(np.float64) / len(crops)
    return found


def _patches(node: onnx.NodeProto, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return some patches of a convolution's input [N, C, H, W]: float32 [rows, C * kernel's size]."""
    given = {attribute.name: list(attribute.ints) for attribute in node.attribute if attribute.ints}
    top, left, bottom, right = given["pads"]
    padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = sliding_window_view(padded, given["kernel_shape"], axis=(2, 3))
    down, across = given["strides"]
    windows = windows[:, :, ::down, ::across]
    count = windows.shape[2] * windows.shape[3]
    y, x = np.divmod(rng.choice(count, min(_POSITIONS, count), replace=False), windows.shape[3])
    chosen = windows[:, :, y, x]  # [N, C, positions, kernel, kernel]
    return np.ascontiguousarray(chosen.transpose(0, 2, 1, 3, 4)).reshape(-1, chosen[0, :, 0].size)
