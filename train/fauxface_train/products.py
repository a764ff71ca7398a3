"""Convolutions over small feature maps as matrix products.

oneDNN's bfloat16 kernels for AMX take several times as long for the last stage, whose maps are 4 by 4, as
for stages with as many operations and larger maps; as one matrix product each these convolutions don't.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import ResNet


class ProductConv(nn.Conv2d):
    """A square, ungrouped, undilated convolution with zero padding: its patches times its weights.

    Its parameters, and what it computes, are those of `nn.Conv2d`.
    """

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        (size, _), (step, _), edge = self.kernel_size, self.stride, int(self.padding[0])
        pixels = F.pad(input.permute(0, 2, 3, 1), (0, 0, edge, edge, edge, edge))
        rows, columns = ((side - size) // step + 1 for side in pixels.shape[1:3])
        taps = [
            pixels[:, y : y + step * (rows - 1) + 1 : step, x : x + step * (columns - 1) + 1 : step]
            for y in range(size)
            for x in range(size)
        ]
        patches = torch.cat(taps, dim=-1).flatten(0, 2)
        found = F.linear(patches, weight.permute(0, 2, 3, 1).flatten(1), bias)
        return found.unflatten(0, (-1, rows, columns)).permute(0, 3, 1, 2)


def processor_flags() -> Mapping[str, Any]:
    """Return what PyTorch knows of the processor's instructions; nothing where it can't tell."""
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def pays(device: torch.device, dtype: torch.dtype) -> bool:
    """Tell whether `use_products` makes training faster: measured on processors with AMX only."""
    if device.type != "cpu" or dtype != torch.bfloat16:
        return False
    return bool(processor_flags().get("amx_bf16"))


def use_products(net: ResNet) -> None:
    """Let the convolutions of the last stage be matrix products; the parameters stay the same objects."""
    for module in net.layer4.modules():
        if type(module) is nn.Conv2d:
            module.__class__ = ProductConv
