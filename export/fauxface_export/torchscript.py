"""TorchScript: deprecated upstream in favour of torch.export, written for programs that still load it."""

import io
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.jit._trace import TracerWarning

from fauxface.errors import GateError
from fauxface_export.parity import Backend
from fauxface_export.program import example_input


@contextmanager
def _deprecated() -> Iterator[None]:
    """Hear nothing of the deprecation, which this module knows of."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield


def save(deployed: nn.Module, path: Path) -> None:
    """Trace the classifier and write it as TorchScript, without the source file names of this machine.

    Args:
        deployed: In eval mode; maps uint8 [N, 128, 128, 3] RGB to float32 logits [N, 2].
        path: Where to write.

    Raises:
        GateError: The tracer warned: the network does something that a trace doesn't keep.
    """
    traced, full = _trace(deployed), io.BytesIO()
    with _deprecated():
        torch.jit.save(traced, full)
    with zipfile.ZipFile(full) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                target.writestr(entry, source.read(entry))


def _trace(deployed: nn.Module) -> torch.jit.ScriptModule:
    # The tracer warns from C++, where a warning that a filter turns into an error comes out as a SystemError.
    with warnings.catch_warnings(record=True) as heard, _deprecated(), torch.no_grad():
        warnings.simplefilter("always", TracerWarning)
        traced = torch.jit.trace(deployed, example_input())
    for warning in heard:
        if issubclass(warning.category, TracerWarning):
            reason = str(warning.message).partition("\n")[0]
            raise GateError(f"TorchScript's tracer warned: {reason}; no bundle was written")
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    assert isinstance(traced, torch.jit.ScriptModule)
    return traced


def load(path: Path) -> Backend:
    """Return a function that scores crops with a TorchScript file."""
    with _deprecated():
        module = torch.jit.load(str(path), map_location="cpu").eval()

    def logits(crops: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(crops)).numpy()

    return logits
