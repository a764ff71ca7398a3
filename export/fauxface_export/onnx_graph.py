"""The ONNX file: one self-contained graph with a dynamic batch and the preprocessing constants inside."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import onnx
import onnxruntime
import torch
from onnx import helper
from torch.export import ExportedProgram

from fauxface.crops import INPUT_SIZE
from fauxface.errors import GateError
from fauxface.onnx_wire import check_self_contained
from fauxface_export.program import example_input

OPSET = 18
"""The lowest that the exporter writes without converting, so that older edge runtimes read the file."""

INPUT, OUTPUT, BATCH = "crops", "logits", "batch"


def save(program: ExportedProgram, path: Path, metadata: Mapping[str, str]) -> None:
    """Convert a captured program to ONNX, check it and write it.

    The exporter folds batch normalisation into the convolutions. Its notes on every node, with file names of
    this machine, are dropped.

    Args:
        program: Maps uint8 [batch, 128, 128, 3] to float32 logits [batch, 2].
        path: Where to write.
        metadata: Goes into the file's metadata_props.

    Raises:
        GateError: The graph isn't valid ONNX with that input and output.
        BundleError: It keeps data in another file.
    """
    converted = torch.onnx.export(
        program,
        (example_input(),),
        dynamo=True,
        external_data=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        opset_version=OPSET,
        verbose=False,
    )
    assert converted is not None
    model = converted.model_proto
    _clean(model)
    onnx.helper.set_model_props(model, dict(metadata))
    _check(model)
    data = model.SerializeToString(deterministic=True)
    check_self_contained(data, path.name)
    path.write_bytes(data)


def layers(path: Path, kinds: Collection[str] = ("Conv", "Gemm")) -> dict[str, str]:
    """Return the layers with weights in order: the layer's name in the network to its node's."""
    graph = onnx.load(path, load_external_data=False).graph
    weighted = [node for node in graph.node if node.op_type in kinds]
    return {node.input[1].removeprefix("net.").removesuffix(".weight"): node.name for node in weighted}


def finish(path: Path, like: Path) -> None:
    """Give a graph that was made of another one the same metadata and signature, and check it.

    Args:
        path: The graph; it is written anew.
        like: The graph that `save` wrote.

    Raises:
        GateError: It isn't valid ONNX, or has another input or output.
        BundleError: It keeps data in another file.
    """
    model = onnx.load(path, load_external_data=False)
    _clean(model)
    model.producer_name, model.producer_version = "fauxface", ""
    source = onnx.load(like, load_external_data=False)
    onnx.helper.set_model_props(model, {entry.key: entry.value for entry in source.metadata_props})
    _check(model)
    data = model.SerializeToString(deterministic=True)
    check_self_contained(data, path.name)
    path.write_bytes(data)


def opset(path: Path) -> int:
    """Return the version of ONNX's default operator set that a file asks for."""
    model = onnx.load(path, load_external_data=False)
    return next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"})


def _clean(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes for debugging and give the batch dimension a name."""
    model.doc_string = ""
    graph = model.graph
    graph.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
    for item in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        item.doc_string = ""
        del item.metadata_props[:]
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH


def _check(model: onnx.ModelProto) -> None:
    try:
        onnx.checker.check_model(model, full_check=True)
    except onnx.checker.ValidationError as error:
        raise GateError(f"the ONNX graph isn't valid: {str(error).strip().partition(chr(10))[0]}") from None
    graph = model.graph
    expected = [
        (INPUT, onnx.TensorProto.UINT8, [BATCH, INPUT_SIZE, INPUT_SIZE, 3]),
        (OUTPUT, onnx.TensorProto.FLOAT, [BATCH, 2]),
    ]
    found = [_signature(value) for value in (*graph.input, *graph.output)]
    if found != expected:
        raise GateError(f"the ONNX graph has the signature {found}, not {expected}; no bundle was written")
    if model.functions or any(node.domain not in {"", "ai.onnx"} for node in graph.node):
        raise GateError("the ONNX graph uses operators beyond the standard's; no bundle was written")


def _signature(value: onnx.ValueInfoProto) -> tuple[str, int, list[str | int]]:
    tensor = value.type.tensor_type
    return value.name, tensor.elem_type, [dim.dim_param or dim.dim_value for dim in tensor.shape.dim]


def exposing(model: onnx.ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    """Return a session on the CPU that can give inner float tensors too."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    for name in names:
        exposed.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    return onnxruntime.InferenceSession(exposed.SerializeToString(), providers=["CPUExecutionProvider"])
