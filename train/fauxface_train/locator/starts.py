"""The averaged weights of an earlier locator run, which a new schedule starts from."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fauxface.errors import CheckpointError
from fauxface_train.locator.net import Shape


@dataclass(frozen=True, slots=True)
class Start:
    """What an earlier run left.

    Attributes:
        student: State of the averaged network.
        adapters: State of the maps between its features and the teacher's; empty where there were none.
        sha256: Of the file.
        samples: Composites that the run had seen.
    """

    student: dict[str, Any]
    adapters: dict[str, Any]
    sha256: str
    samples: int


def read(path: Path, shape: Shape) -> Start:
    """Read a run's last.pt.

    Args:
        path: The file, or the folder that holds it.
        shape: Of the network that is to start from it.

    Raises:
        CheckpointError: There is none, it is damaged, or holds a network of another shape.
    """
    path = _file(path)
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}; give a run's folder or its last.pt")
    try:
        state = torch.load(path, weights_only=True)
        held, weights, samples = Shape.from_dict(state["shape"]), state["average"], int(state["done"])
        adapters = state.get("adapters", {})
    except Exception as error:
        raise CheckpointError(f"{path} can't be read; give the last.pt of a locator run") from error
    if held != shape:
        raise CheckpointError(f"{path} holds a network of another shape; start without --init")
    student = {name.removeprefix("module."): value for name, value in weights.items()}
    student.pop("n_averaged", None)
    return Start(student, adapters, _sha256(path), samples)


def digest(path: Path) -> str | None:
    """Return the SHA-256 of a run's last.pt, by which a start is recorded; None where it isn't there."""
    path = _file(path)
    return _sha256(path) if path.is_file() else None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(path: Path) -> Path:
    return path / "last.pt" if path.is_dir() else path
