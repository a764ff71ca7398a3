"""Channel equalisation: the same function with activations and weights that lose less when rounded to a byte.

An activation is rounded with one scale for all its channels, so that a channel of small values keeps few of
its 256 steps. Between convolutions there is nothing but ReLU, max pooling and addition, all of which a
positive factor per channel passes through. So each channel is enlarged by a factor where it is made, and its
weights are divided by the factor where it is used.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019; the
ranges are measured here, and residual additions are included.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

_PASSES = {"Add", "MaxPool", "Relu", "ReduceMean", "Reshape"}
_LARGEST = 16.0


def equalise(path: Path, largest: Mapping[str, np.ndarray]) -> None:
    """Rescale the channels of a float graph in place.

    Args:
        path: What `quantize.prepare` wrote.
        largest: What `quantize.largest` found.
    """
    model = onnx.load(path)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    values = {name: numpy_helper.to_array(tensor) for name, tensor in weights.items()}
    group = _groups(graph, values)
    made = {group[node.output[0]]: node for node in graph.node if node.op_type == "Conv"}
    for name in made:
        factors = _factors(graph, group, name, values, largest)
        if factors is None:
            continue
        for node in graph.node:
            if node.op_type not in {"Conv", "Gemm"}:
                continue
            weight = node.input[1]
            if node.op_type == "Conv" and group[node.output[0]] == name:
                values[weight] = values[weight] * factors[:, None, None, None]
                values[node.input[2]] = values[node.input[2]] * factors
            if group.get(node.input[0]) == name:
                shape = [1, -1] + [1] * (values[weight].ndim - 2)
                values[weight] = values[weight] / factors.reshape(shape)
    for name, tensor in weights.items():
        tensor.CopyFrom(numpy_helper.from_array(values[name], name))
    onnx.save(model, path)


def _groups(graph: onnx.GraphProto, values: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Return activation to the name of its group: activations whose channels must share their factors."""
    group: dict[str, str] = {}
    for node in graph.node:
        inputs = [name for name in node.input if name not in values]
        names = {group.setdefault(name, name) for name in inputs} if node.op_type in _PASSES else set()
        output = node.output[0]
        group[output] = min(names) if names else output
        for name, old in list(group.items()):
            if old in names:
                group[name] = group[output]
    return group


def _factors(
    graph: onnx.GraphProto,
    group: Mapping[str, str],
    name: str,
    values: Mapping[str, np.ndarray],
    largest: Mapping[str, np.ndarray],
) -> np.ndarray | None:
    """Return the factor of each channel of a group, float32 [C]; None where nothing uses the group.

    A factor makes the share that a channel has of its activation's range equal to the share that its weights
    have of theirs, so that neither loses much more than the other.
    """
    users = [
        node for node in graph.node if node.op_type in {"Conv", "Gemm"} and group.get(node.input[0]) == name
    ]
    ranges = [largest[node.input[0]] for node in users if node.input[0] in largest]
    if not ranges:
        return None
    activation = np.max(ranges, axis=0).astype(np.float64)
    columns = [np.abs(values[node.input[1]]) for node in users]
    weight = np.max([w.max(axis=tuple(i for i in range(w.ndim) if i != 1)) for w in columns], axis=0)
    alive = (activation > 0) & (weight > 0)
    if not alive.any():
        return None
    factors = np.ones(len(activation))
    factors[alive] = np.sqrt(weight[alive] / activation[alive])
    factors[alive] /= np.exp(np.mean(np.log(factors[alive])))
    return np.clip(factors, 1 / _LARGEST, _LARGEST).astype(np.float32)
