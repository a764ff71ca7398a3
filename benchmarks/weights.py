"""The shipped classifier in the forms that the peers load: the very same weights for every configuration."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torchvision.models import ResNet

from fauxface.bundle import Bundle
from fauxface.crops import INPUT_SIZE
from fauxface.errors import BundleError, CheckpointError
from fauxface_train.checkpoint import load_exactly
from fauxface_train.model import build

EPSILON = 1e-5
"""What torchvision's batch normalisation adds to the variance."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files that the workers read.

    Attributes:
        folder: Where they lie.
        weights: State of torchvision's ResNet18, written with torch.save.
        plain: ONNX file as people export it: float32 [N, 3, 128, 128], normalised, to logits [N, 2].
        crops: uint8 [K, 128, 128, 3] RGB, the bundle's golden crops, as .npy.
    """

    folder: Path
    weights: Path
    plain: Path
    crops: Path


@contextmanager
def files(bundle: Bundle) -> Iterator[Files]:
    """Write the files; they go when the context ends.

    Raises:
        BundleError: The bundle's classifier isn't a ResNet18 that `fauxface export` wrote.
    """
    with TemporaryDirectory(prefix="fauxface-benchmark-") as name:
        folder = Path(name)
        made = Files(folder, folder / "weights.pt", folder / "plain.onnx", folder / "crops.npy")
        net = network(bundle.classifier_bytes())
        torch.save(net.state_dict(), made.weights)
        save_plain(net, made.plain)
        np.save(made.crops, bundle.golden()[0])
        yield made


def rule(bundle: Bundle) -> dict[str, float]:
    """Return the numbers by which logits become a verdict, and the crop's margin, as JSON values."""
    manifest = bundle.manifest
    return {
        "temperature": manifest.calibration.temperature,
        "bias": manifest.calibration.bias,
        "bona_fide_below": manifest.thresholds.bona_fide_below,
        "generated_from": manifest.thresholds.generated_from,
        "min_face_px": manifest.crop.min_face_px,
        "margin": manifest.crop.margin,
    }


def precisions(bundle: Bundle) -> list[str]:
    """Return the bundle's precisions that are meant for a CPU."""
    return [name for name in ("fp32", "int8") if name in bundle.manifest.classifier]


def scanner_options(bundle: Bundle, precision: str) -> dict[str, Any]:
    """Return the Scanner's options for a precision; a bundle with one precision leaves no choice."""
    return {"precision": precision} if len(precisions(bundle)) > 1 else {}


def network(model_bytes: bytes) -> ResNet:
    """Return torchvision's ResNet18 with the weights of an exported classifier, in eval mode.

    The export folded each batch normalisation into its convolution. Here it stands again, with mean 0,
    variance 1 and the folded bias: the same function, and the layers that an unfolded network computes.

    Raises:
        BundleError: It isn't a ResNet18 that `fauxface export` wrote.
    """
    net = build()
    try:
        load_exactly(net, _state(onnx.load_model_from_string(model_bytes).graph), "the bundle's classifier")
    except (CheckpointError, ValueError) as error:
        raise BundleError(
            f"the peers can't be given these weights: {error}; use a bundle that 'fauxface export' wrote"
        ) from error
    return net.eval()


def _state(graph: onnx.GraphProto) -> dict[str, torch.Tensor]:
    """Return torchvision's state of a graph's convolutions and its last layer."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state: dict[str, torch.Tensor] = {}
    for node in graph.node:
        if node.op_type not in {"Conv", "Gemm"}:
            continue
        if not set(node.input[1:]) <= set(arrays) or len(node.input) != 3:
            raise ValueError(f"{node.op_type} {node.name} has no constant weights and bias")
        kernel, bias = (torch.tensor(arrays[name]) for name in node.input[1:])
        name = node.input[1].removeprefix("net.").removesuffix(".weight")
        state[f"{name}.weight"] = kernel
        if node.op_type == "Gemm":
            state[f"{name}.bias"] = bias
            continue
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        state[f"{norm}.weight"] = torch.full_like(bias, (1 + EPSILON) ** 0.5)
        state[f"{norm}.bias"] = bias
        state[f"{norm}.running_mean"] = torch.zeros_like(bias)
        state[f"{norm}.running_var"] = torch.ones_like(bias)
        state[f"{norm}.num_batches_tracked"] = torch.tensor(0)
    return state


def save_plain(net: ResNet, path: Path) -> None:
    """Write the ONNX file that the usual call of torch.onnx.export gives, with a dynamic batch."""
    torch.onnx.export(
        net,
        (torch.zeros(2, 3, INPUT_SIZE, INPUT_SIZE),),
        str(path),
        dynamo=True,
        external_data=False,
        input_names=["input"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        verbose=False,
    )


def multiply_adds(model_bytes: bytes) -> int:
    """Return the multiply-adds of one picture in an fp32 classifier's convolutions and matrix products."""
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model_bytes))
    graph = model.graph
    kernels = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output)
    }
    total = 0
    for node in graph.node:
        if node.op_type == "Conv":
            total += int(np.prod(kernels[node.input[1]])) * int(np.prod(shapes[node.output[0]][2:]))
        elif node.op_type in {"Gemm", "MatMul"}:
            total += int(np.prod(kernels[node.input[1]]))
    return total


def layer_values(model_bytes: bytes) -> tuple[int, int]:
    """Return how many values a classifier's convolutions move at least: weights, and activations per picture.

    Each convolution reads its input and weights once and writes its output once.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model_bytes))
    graph = model.graph
    kernels = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    weights = sum(int(np.prod(kernels[node.input[1]])) for node in convolutions)
    moved = sum(
        int(np.prod(shapes[name][1:])) for node in convolutions for name in (node.input[0], node.output[0])
    )
    return weights, moved
