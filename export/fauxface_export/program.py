"""The PyTorch program (`.pt2`): torch.export's graph of the classifier, the source of the ONNX file too."""

import copy
import io
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from fauxface.crops import INPUT_SIZE
from fauxface_export.parity import Backend


class GlobalMean(nn.Module):
    """The mean over height and width.

    torch.export decomposes `AdaptiveAvgPool2d(1)` into the same mean and a strided copy, for which ONNX needs
    Range and Gather; said plainly it is one ReduceMean.
    """

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the mean of [N, C, H, W] over H and W, as [N, C, 1, 1]."""
        return features.mean(dim=(2, 3), keepdim=True)


def example_input() -> torch.Tensor:
    """Return crops to trace with: uint8 [2, 128, 128, 3]; a batch of 1 would be taken for a constant."""
    shape = (2, INPUT_SIZE, INPUT_SIZE, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def capture(deployed: nn.Module) -> ExportedProgram:
    """Capture the classifier with a dynamic batch of at least 1.

    Args:
        deployed: In eval mode; maps uint8 [N, 128, 128, 3] RGB to float32 logits [N, 2]. It isn't changed.

    Returns:
        The program, for any device, without the stack traces that would carry file names of this machine.
    """
    module = copy.deepcopy(deployed).eval().requires_grad_(False)
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in {1, (1, 1)}:
                setattr(parent, name, GlobalMean())
    shapes = {"crops": {0: Dim("batch", min=1)}}
    program = torch.export.export(module, (example_input(),), dynamic_shapes=shapes)
    graph = program.graph
    for node in list(graph.nodes):
        node.meta.pop("stack_trace", None)
        # It would hold the tensor to the device that was traced on.
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            graph.erase_node(node)
    program.graph_module.recompile()
    return program


def save(program: ExportedProgram, path: Path) -> None:
    """Write a program as `.pt2`.

    In Python: where torch writes a file itself, a full disk ends the process.
    """
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    path.write_bytes(buffer.getbuffer())


def load(path: Path) -> Backend:
    """Return a function that scores crops with the program in a `.pt2` file."""
    module = torch.export.load(path).module()

    def logits(crops: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return module(torch.from_numpy(crops)).numpy()

    return logits
