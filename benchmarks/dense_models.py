"""Dense products as ONNX models: the most operations per second that ONNX Runtime reaches on given cores.

Weights are constants, so that ONNX Runtime packs them once, as it does a classifier's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18


@dataclass(frozen=True, slots=True)
class Product:
    """A dense product in a file.

    Attributes:
        name: Kind and size.
        precision: "int8" or "fp32".
        model: The ONNX file.
        inputs: Its inputs, .npz.
        operations: Operations per run; a multiply-add is two.
    """

    name: str
    precision: str
    model: Path
    inputs: Path
    operations: float


Entry = tuple[str, str, onnx.ModelProto, np.ndarray, float]
"""Name, precision, model, input and operations of a product."""


def write_all(folder: Path, sizes: tuple[int, ...] = (512, 1024, 2048)) -> list[Product]:
    """Write every kind of product at each size, and a convolution of a layer of ResNet18."""
    made = []
    for name, precision, model, value, operations in chain(*map(_squares, sizes), _layer()):
        stem = folder / name.replace(" ", "-")
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, stem.with_suffix(".onnx"))
        np.savez(stem.with_suffix(".npz"), a=value)
        files = (stem.with_suffix(".onnx"), stem.with_suffix(".npz"))
        made.append(Product(name, precision, *files, operations))
    return made


def _squares(size: int) -> Iterator[Entry]:
    """Yield products of [size, size] by [size, size], and as large 1x1 convolutions."""
    rng = np.random.default_rng(size)
    signed = rng.integers(-64, 64, (size, size), np.int8)
    unsigned = rng.integers(0, 256, (size, size), np.uint8)
    real = rng.standard_normal((size, size), np.float32)
    operations = 2.0 * size**3
    yield f"MatMulInteger {size}", "int8", _matmul_integer(signed), unsigned, operations
    yield f"QLinearMatMul {size}", "int8", _qlinear_matmul(signed), unsigned, operations
    yield f"MatMul {size}", "fp32", _matmul(real), real, operations
    picture, pixels = _picture(real), _picture(unsigned)
    kernel, weights = real[:, :, None, None], signed[:, :, None, None]
    yield f"QLinearConv 1x1 {size}", "int8", _qlinear_conv(weights, pixels), pixels, operations
    yield f"Conv 1x1 {size}", "fp32", _conv(kernel, picture), picture, operations


def _layer(channels: int = 128, side: int = 16, batch: int = 8) -> Iterator[Entry]:
    """Yield the 3x3 convolution of ResNet18's second stage, which is so large for pictures of 128 px."""
    rng = np.random.default_rng(channels)
    shape, window = (batch, channels, side, side), (channels, channels, 3, 3)
    operations = 2.0 * batch * (3 * channels * side) ** 2
    pixels, weights = rng.integers(0, 256, shape, np.uint8), rng.integers(-64, 64, window, np.int8)
    yield f"QLinearConv 3x3 {channels}", "int8", _qlinear_conv(weights, pixels), pixels, operations
    picture, kernel = rng.standard_normal(shape, np.float32), rng.standard_normal(window, np.float32)
    yield f"Conv 3x3 {channels}", "fp32", _conv(kernel, picture), picture, operations


def _picture(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix [pixels, channels] as a picture [1, channels, height, width]."""
    size = len(matrix)
    height = 2 ** (int(np.log2(size)) // 2)
    return np.ascontiguousarray(matrix.T.reshape(1, size, height, size // height))


def _matmul_integer(weights: np.ndarray) -> onnx.ModelProto:
    node = helper.make_node("MatMulInteger", ["a", "b", "a_zero"], ["y"])
    constants = {"b": weights, "a_zero": np.array(128, np.uint8)}
    return _model(node, constants, TensorProto.UINT8, list(weights.shape), TensorProto.INT32)


def _qlinear_matmul(weights: np.ndarray) -> onnx.ModelProto:
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
    node = helper.make_node("QLinearMatMul", names, ["y"])
    constants = _scales() | {"b": weights}
    return _model(node, constants, TensorProto.UINT8, list(weights.shape), TensorProto.UINT8)


def _qlinear_conv(kernel: np.ndarray, picture: np.ndarray) -> onnx.ModelProto:
    names = ["a", "a_scale", "a_zero", "b", "b_scale", "b_zero", "y_scale", "y_zero"]
    node = helper.make_node("QLinearConv", names, ["y"], pads=[kernel.shape[2] // 2] * 4)
    constants = _scales() | {"b": kernel}
    return _model(node, constants, TensorProto.UINT8, list(picture.shape), TensorProto.UINT8)


def _matmul(weights: np.ndarray) -> onnx.ModelProto:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    return _model(node, {"b": weights}, TensorProto.FLOAT, list(weights.shape), TensorProto.FLOAT)


def _conv(kernel: np.ndarray, picture: np.ndarray) -> onnx.ModelProto:
    node = helper.make_node("Conv", ["a", "b"], ["y"], pads=[kernel.shape[2] // 2] * 4)
    return _model(node, {"b": kernel}, TensorProto.FLOAT, list(picture.shape), TensorProto.FLOAT)


def _scales() -> dict[str, np.ndarray]:
    one, many = np.array(0.01, np.float32), np.array(20.0, np.float32)
    return {
        "a_scale": one,
        "a_zero": np.array(128, np.uint8),
        "b_scale": one,
        "b_zero": np.array(0, np.int8),
        "y_scale": many,
        "y_zero": np.array(128, np.uint8),
    }


def _model(
    node: onnx.NodeProto, constants: dict[str, np.ndarray], dtype: int, shape: list[int], out: int
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "dense",
        [helper.make_tensor_value_info("a", dtype, shape)],
        [helper.make_tensor_value_info("y", out, shape)],
        [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    made.ir_version = 10
    return made
