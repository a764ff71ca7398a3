"""The student: a depthwise-separable pyramid in YuNet's output format."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from fauxface.yunet import STRIDES, WIDTHS
from fauxface_train.locator.decode import CHANNELS


@dataclass(frozen=True, slots=True)
class Shape:
    """Channel widths and block counts of the student.

    Attributes:
        stem: Channels at half the input size.
        early: Channels at stride 4.
        stages: Channels at strides 8, 16 and 32.
        blocks: Residual blocks at strides 4, 8, 16 and 32.
        neck: Channels of the pyramid and the heads.
        heads: Separable blocks before the last convolution of each level.
    """

    stem: int = 16
    early: int = 32
    stages: tuple[int, int, int] = (64, 96, 96)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 2)
    neck: int = 64
    heads: int = 1

    def to_dict(self) -> dict[str, object]:
        """Return the fields as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Shape":
        """Return the shape whose fields `to_dict` gave."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        return cls(**values)


class Separable(nn.Module):
    """Depthwise then pointwise convolution, batch norm and ReLU; residual where the shapes allow it.

    Args:
        inputs: Input channels.
        outputs: Output channels.
        kernel: Side of the depthwise kernel.
        stride: Stride of the depthwise convolution.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(inputs, inputs, kernel, stride, kernel // 2, groups=inputs, bias=False)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm: nn.Module = nn.BatchNorm2d(outputs)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, inputs, H, W] to float [N, outputs, ceil(H / stride), ceil(W / stride)]."""
        y = self.norm(self.pointwise(self.depthwise(x)))
        return F.relu(x + y if self.residual else y)

    def fold(self) -> None:
        """Fold the batch norm into the pointwise convolution."""
        self.pointwise, self.norm = _folded(self.pointwise, self.norm), nn.Identity()


class Student(nn.Module):
    """The trainable network: packed raw maps.

    Args:
        shape: Widths and depths.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        self.register_buffer("scale", torch.tensor(1 / 255), persistent=False)
        self.stem = nn.Conv2d(3, shape.stem, 3, 2, 1, bias=False)
        self.stem_norm: nn.Module = nn.BatchNorm2d(shape.stem)
        self.early = nn.Sequential(
            Separable(shape.stem, shape.early, stride=2),
            *(Separable(shape.early, shape.early) for _ in range(shape.blocks[0])),
        )
        stages, inputs = [], shape.early
        for width, blocks, kernel in zip(shape.stages, shape.blocks[1:], (3, 5, 5), strict=True):
            stages.append(
                nn.Sequential(
                    Separable(inputs, width, stride=2),
                    *(Separable(width, width, kernel) for _ in range(blocks)),
                )
            )
            inputs = width
        self.stages = nn.ModuleList(stages)
        self.laterals = nn.ModuleList(nn.Conv2d(width, shape.neck, 1) for width in shape.stages)
        self.heads = nn.ModuleList(
            nn.Sequential(
                *(Separable(shape.neck, shape.neck) for _ in range(shape.heads)),
                Separable(shape.neck, shape.neck),
                nn.Conv2d(shape.neck, CHANNELS, 1),
            )
            for _ in STRIDES
        )
        for head in self._sequences():
            last = head[-1]
            assert isinstance(last, nn.Conv2d)
            assert last.bias is not None
            nn.init.normal_(last.weight, std=0.01)
            nn.init.zeros_(last.bias)
            with torch.no_grad():
                last.bias[1] = -4.0

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map float [N, 3, H, W] (BGR, 0..255) to what the last convolutions read: [N, neck, H/s, W/s]."""
        if self.scale is not None:
            x = x * self.scale
        x = self.early(F.relu(self.stem_norm(self.stem(x))))
        levels = []
        for stage, lateral in zip(self.stages, self.laterals, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for fine in (1, 0):
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], scale_factor=2.0, mode="nearest")
        return [head[:-1](level) for head, level in zip(self._sequences(), levels, strict=True)]

    def read(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map the features to one raw map per stride, float [N, 16, H/s, W/s]."""
        return [head[-1](feature) for head, feature in zip(self._sequences(), features, strict=True)]

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Map float [N, 3, H, W] (BGR, 0..255) to one raw map per stride, float [N, 16, H/s, W/s]."""
        return self.read(self.features(x))

    def with_features(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return `forward`'s raw maps, and the features that they were read from."""
        features = self.features(x)
        return packed(self.read(features)), features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map float [N, 3, H, W] (BGR, 0..255) to raw float [N, cells, 16]; cls and obj are logits."""
        return packed(self.maps(x))

    def _sequences(self) -> list[nn.Sequential]:
        return [head for head in self.heads if isinstance(head, nn.Sequential)]

    def fold(self) -> None:
        """Fold batch norms and the input scale into the convolutions; for inference only."""
        self.stem, self.stem_norm = _folded(self.stem, self.stem_norm), nn.Identity()
        with torch.no_grad():
            self.stem.weight.mul_(1 / 255)
        self.scale = None
        for module in self.modules():
            if isinstance(module, Separable):
                module.fold()


def packed(maps: list[torch.Tensor]) -> torch.Tensor:
    """Return maps [N, 16, H/s, W/s], one per stride, as one [N, cells, 16]."""
    return torch.cat([level.flatten(2).transpose(1, 2) for level in maps], dim=1)


class Deployed(nn.Module):
    """The exported form: YuNet's twelve outputs, with the sigmoid on cls and obj inside.

    Args:
        student: A folded student in eval mode.
    """

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map float32 [1, 3, H, W] (BGR, 0..255; H, W multiples of 32) to the outputs of `yunet.OUTPUTS`."""
        levels = [level.permute(0, 2, 3, 1).flatten(1, 2) for level in self.student.maps(x)]
        outputs, start = [], 0
        for kind, width in WIDTHS.items():
            for level in levels:
                part = level[:, :, start : start + width]
                outputs.append(part.sigmoid() if kind in ("cls", "obj") else part)
            start += width
        return tuple(outputs)


def _folded(conv: nn.Conv2d, norm: nn.Module) -> nn.Conv2d:
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    weight, bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    folded = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0], conv.kernel_size[1]),
        (conv.stride[0], conv.stride[1]),
        conv.kernel_size[0] // 2,
    )
    folded.weight, folded.bias = weight, bias
    return folded
