"""How much a detector computes."""

import math

import onnx
from onnx import shape_inference

_CONVOLUTIONS = ("Conv", "ConvInteger", "ConvTranspose", "QLinearConv")


def multiply_adds(data: bytes, side: int) -> int | None:
    """Return the multiplications with addition of all convolutions for one square picture.

    A network whose input is fixed is counted at that. None where a kernel isn't stored as a plain
    initializer, as in a quantised network.

    Args:
        data: Content of an ONNX file in YuNet's format.
        side: Side of the picture in pixels, a multiple of 32.
    """
    model = onnx.load_from_string(data)
    for dimension, value in zip(
        model.graph.input[0].type.tensor_type.shape.dim, (1, 3, side, side), strict=True
    ):
        dimension.dim_value = dimension.dim_value or value
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]
    model = shape_inference.infer_shapes(model)
    shapes = {
        info.name: [dimension.dim_value for dimension in info.type.tensor_type.shape.dim]
        for info in (*model.graph.value_info, *model.graph.output)
    }
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type in _CONVOLUTIONS:
            if node.op_type != "Conv" or node.input[1] not in weights:
                return None
            total += math.prod(weights[node.input[1]]) * math.prod(shapes[node.output[0]][2:])
    return total
