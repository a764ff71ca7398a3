"""A walk through the wire format of an ONNX file that finds references to data outside it.

ONNX lets any tensor name a file, and ONNX Runtime lets it name an address in memory; a model from elsewhere
must be able to do neither. The walk needs no protobuf package; it enters each message as it comes to it, so
its memory is bounded by their depth.
Field numbers: onnx.proto3 of ONNX 1.23.
"""

from collections.abc import Iterator

from fauxface.errors import BundleError

# message -> field number -> message of the field, for every path that leads to a tensor or a node
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
_NODE_OP_TYPE = 4
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_MODEL_GRAPH = 7
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_DEPTH = 100
_MAX_FIELDS = 2_000_000
"""Of a whole file, which bounds the time: the shipped ones have some thousand."""


def check_self_contained(data: bytes, name: str) -> None:
    """Raise unless the bytes are one ONNX model that holds all its own data.

    Args:
        data: The whole file.
        name: What to call it in the message.

    Raises:
        BundleError: The bytes aren't the wire format of an ONNX model, a tensor lies outside them, or a node
            (EPContext) loads a compiled model from elsewhere.
    """
    if data[4:8] == b"ORTM":
        raise BundleError(f"{name} is in ONNX Runtime's own format; export it as ONNX")
    open_messages = [("Model", _fields(memoryview(data), name))]
    seen, has_graph = 0, False
    while open_messages:
        kind, fields = open_messages[-1]
        found = next(fields, None)
        if found is None:
            open_messages.pop()
            continue
        field, wire, value = found
        seen += 1
        if seen > _MAX_FIELDS:
            raise BundleError(f"{name} has more than {_MAX_FIELDS} fields; export it again")
        has_graph = has_graph or (kind == "Model" and field == _MODEL_GRAPH and wire == _BYTES)
        if kind == "Tensor" and _points_outside(field, value):
            raise BundleError(f"{name} keeps tensors in external data; export it as one self-contained file")
        if kind == "Node" and field == _NODE_OP_TYPE and value == b"EPContext":
            raise BundleError(f"{name} holds a precompiled EPContext node; export it as plain ONNX")
        child = _CHILDREN[kind].get(field)
        if wire == _BYTES and child and isinstance(value, memoryview):
            if len(open_messages) > _MAX_DEPTH:
                raise BundleError(f"{name} nests more than {_MAX_DEPTH} messages; export it again")
            open_messages.append((child, _fields(value, name)))
    if not has_graph:
        raise BundleError(f"{name} isn't an ONNX model: it has no graph; export it again")


def _points_outside(field: int, value: memoryview | int) -> bool:
    return field == _TENSOR_EXTERNAL_DATA or (field == _TENSOR_DATA_LOCATION and value != 0)


def _fields(message: memoryview, name: str) -> Iterator[tuple[int, int, memoryview | int]]:
    """Yield field number, wire type and value (a number for varints, else the bytes) of one message."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position, name)
        field, wire = tag >> 3, tag & 7
        if not 0 < field < 1 << 29:
            raise _malformed(name)
        if wire == _VARINT:
            number, position = _varint(message, position, name)
            yield field, wire, number
            continue
        if wire == _BYTES:
            length, position = _varint(message, position, name)
        elif wire in {_FIXED64, _FIXED32}:
            length = 8 if wire == _FIXED64 else 4
        else:
            raise _malformed(name)
        if length > end - position:
            raise _malformed(name)
        yield field, wire, message[position : position + length]
        position += length


def _varint(message: memoryview, position: int, name: str) -> tuple[int, int]:
    number = 0
    for count, byte in enumerate(message[position : position + 10]):
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return number, position + count + 1
    raise _malformed(name)


def _malformed(name: str) -> BundleError:
    return BundleError(
        f"{name} isn't an ONNX model: its wire format is malformed or cut short; export it again"
    )
