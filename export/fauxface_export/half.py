"""The classifier's ONNX graph in half precision, for GPUs: float16 weights and arithmetic, float32 logits."""

from collections.abc import Collection
from pathlib import Path

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.transformers.float16 import convert_float_to_float16

from fauxface_export.onnx_graph import layers

IN_FLOAT = ("fc",)
"""Layers that stay in float32: half precision would round the logits themselves, and it costs nothing."""


def convert(source: Path, target: Path, *, only: Collection[str] | None = None) -> None:
    """Write a graph with float16 weights; input and output keep their types.

    Args:
        source: The float graph that export wrote.
        target: Where to write; one self-contained file.
        only: Convert nothing but the layers of these names (keys of `onnx_graph.layers`).
    """
    model = onnx.load(source)
    names = {node: name for name, node in layers(source).items()}
    kept = [
        node.name
        for node in model.graph.node
        if (names.get(node.name) in IN_FLOAT if only is None else names.get(node.name) not in only)
    ]
    made = convert_float_to_float16(model, keep_io_types=True, node_block_list=kept)
    ONNXModel(made).topological_sort()
    onnx.checker.check_model(made, full_check=True)
    target.write_bytes(made.SerializeToString(deterministic=True))
