"""The feature maps from which a detector's heads read, made readable: a denser target than the outputs.

Source of the idea: Romero et al., "FitNets: Hints for Thin Deep Nets", 2015.
"""

from collections.abc import Sequence

import onnx
import torch
from onnx import TensorProto, helper
from torch import nn
from torch.nn import functional as F

from fauxface.yunet import STRIDES, WIDTHS

_PREFIX = "hint_"


def hint_name(stride: int) -> str:
    """Return the output's name of the feature map of a stride."""
    return f"{_PREFIX}{stride}"


def with_hints(data: bytes) -> bytes | None:
    """Return a YuNet-format file that also puts out, per stride, the tensor which all four heads share.

    The tensor is the last one on the way from the input to cls, obj, bbox and kps of a stride that a
    convolution reads.

    Args:
        data: Content of an ONNX file.

    Returns:
        The content with the outputs `hint_8`, `hint_16` and `hint_32`, float32 [1, C, H / s, W / s], or None
        where the heads of a stride share no such tensor.
    """
    model = onnx.load_from_string(data)
    made_by = {output: node for node in model.graph.node for output in node.output}
    read_by_convolution = {node.input[0] for node in model.graph.node if node.op_type == "Conv"}

    def way_back(name: str) -> list[str]:
        way = []
        while name in made_by:
            name = made_by[name].input[0]
            way.append(name)
        return way

    for stride in STRIDES:
        first, *others = (way_back(f"{kind}_{stride}") for kind in WIDTHS)
        shared = [name for name in first if name in read_by_convolution and all(name in w for w in others)]
        if not shared or shared[0] not in made_by:
            return None
        model.graph.node.append(helper.make_node("Identity", [shared[0]], [hint_name(stride)]))
        model.graph.output.append(helper.make_tensor_value_info(hint_name(stride), TensorProto.FLOAT, None))
    return model.SerializeToString()


class Adapters(nn.Module):
    """Linear maps from the student's features to the teacher's; used in training only.

    Args:
        inputs: Channels of the student's features.
        outputs: Channels of the teacher's, per stride.
    """

    def __init__(self, inputs: int, outputs: Sequence[int]) -> None:
        super().__init__()
        self.maps = nn.ModuleList()
        for width in outputs:
            adapter = nn.Conv2d(inputs, width, 1)
            # From nothing, so that a student that can do something already isn't thrown off at first.
            nn.init.zeros_(adapter.weight)
            assert adapter.bias is not None
            nn.init.zeros_(adapter.bias)
            self.maps.append(adapter)

    def loss(
        self, features: Sequence[torch.Tensor], hints: Sequence[torch.Tensor], score: torch.Tensor
    ) -> torch.Tensor:
        """Return the squared error in units of the teacher's spread; 1 is knowing each channel's mean.

        Half of the weight lies on all cells alike, half on those where the teacher sees a face.

        Args:
            features: The student's, float [N, C, H / s, W / s] per stride.
            hints: The teacher's, float [N, C', H / s, W / s] per stride.
            score: float [N, cells], the teacher's score, cells in the order of the packed maps.
        """
        total, start = score.new_zeros(()), 0
        for adapter, feature, hint in zip(self.maps, features, hints, strict=True):
            error = F.mse_loss(adapter(feature).float(), _standard(hint.float()), reduction="none")
            error = error.mean(1).flatten(1)
            part = score[:, start : start + error.shape[1]]
            start += error.shape[1]
            seen = (error * part).sum() / part.sum().clamp(min=1.0)
            total = total + 0.5 * (error.mean() + seen)
        return total / len(self.maps)


def _standard(hint: torch.Tensor) -> torch.Tensor:
    """Return a map with mean 0 and variance 1 per channel over the batch; dead channels stay near 0."""
    mean = hint.mean(dim=(0, 2, 3), keepdim=True)
    variance = (hint.square().mean(dim=(0, 2, 3), keepdim=True) - mean.square()).clamp(min=0)
    return (hint - mean) / (variance + 0.01 * variance.mean() + 1e-9).sqrt()
