"""Checkpoints: a safetensors file that carries its own description, and the same as JSON beside it.

The description lies in the safetensors header under the key `fauxface`, so that weights and description are
replaced in one rename and can't be mixed up; `<name>.json` is a copy for people and scripts.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torchvision.models import ResNet

from fauxface.crops import INPUT_SIZE
from fauxface.errors import CheckpointError, OutputError
from fauxface.files import atomic_write, synced
from fauxface.verdicts import LABELS
from fauxface_train.model import ARCHITECTURE, IMAGENET_MEAN, IMAGENET_STD, Deployed, build

FORMAT = "fauxface.checkpoint/1"
_KEY = "fauxface"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loaded checkpoint.

    Attributes:
        net: ResNet18 in eval mode on the CPU, float32.
        info: The description, as in the JSON file.
        path: The .safetensors file that it came from.
    """

    net: ResNet
    info: dict[str, Any]
    path: Path

    def deployed(self) -> Deployed:
        """Return the module that maps uint8 [N, 128, 128, 3] RGB to float32 logits [N, 2], in eval mode."""
        return Deployed(self.net, self.info["mean"], self.info["std"]).eval()


def describe(margin: float, **fields: Any) -> dict[str, Any]:
    """Return a description with this release's constants filled in.

    Args:
        margin: Side of the crop over the longer side of the face box.
        **fields: Further entries: min_face_px, faces ("whole" where no faces were cut out), config, metrics,
            calibration, thresholds, data, provenance.
    """
    return {
        "format": FORMAT,
        "architecture": ARCHITECTURE,
        "labels": list(LABELS),
        "input_size": INPUT_SIZE,
        "mean": list(IMAGENET_MEAN),
        "std": list(IMAGENET_STD),
        "margin": margin,
        **fields,
    }


def save(path: str | os.PathLike[str], state: Mapping[str, torch.Tensor], info: Mapping[str, Any]) -> Path:
    """Write `<name>.safetensors` and `<name>.json`, each atomically.

    Args:
        path: Where to write; the suffix is replaced.
        state: State of the bare ResNet18 (`net.state_dict()`).
        info: The description; see `describe`.

    Returns:
        The .safetensors path.

    Raises:
        OutputError: The files can't be written.
    """
    target = Path(path).with_suffix(".safetensors")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with writing(target) as temporary:
        save_file(tensors, temporary, metadata={_KEY: json.dumps(info)})
    with atomic_write(target.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(info, indent=2) + "\n", encoding="utf-8")
        synced(temporary)
    return target


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Write a file of tensors as `atomic_write` does, to outlive a loss of power.

    torch and safetensors have errors of their own for what can't be written.

    Raises:
        OutputError: The file can't be written, for example for want of room.
    """
    with atomic_write(path) as temporary:
        try:
            yield temporary
            synced(temporary)
        except (RuntimeError, SafetensorError) as error:
            if "DataLoader worker" in str(error):  # of another process, told wherever the main thread is
                raise
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise OutputError(f"can't write {path}: {reason}; check the room on its disk") from error


def resolve(path: str | os.PathLike[str]) -> Path:
    """Return the .safetensors file that a CHECKPOINT argument means: itself, or `best` in a run's folder.

    Raises:
        CheckpointError: There is none.
    """
    given = Path(path)
    if given.is_dir():
        best = given / "best.safetensors"
        if best.is_file():
            return best
        if (given / "last.safetensors").is_file():
            raise CheckpointError(
                f"{given} has no best checkpoint yet; go on with "
                f"'fauxface train DATA --out {given} --resume' (until then, 'fauxface evaluate' takes "
                "its last.safetensors)"
            )
        raise CheckpointError(f"no checkpoint in {given}; give the folder that `fauxface train --out` wrote")
    if given.suffix == ".json" and given.with_suffix(".safetensors").is_file():
        return given.with_suffix(".safetensors")
    if not given.is_file():
        raise CheckpointError(
            f"no checkpoint at {given}; give a training run's folder or its .safetensors file"
        )
    return given


def description(file: Path) -> dict[str, Any] | None:
    """Return what a .safetensors file says of its training, unchecked; None of a file without."""
    if file.suffix != ".safetensors":
        return None
    try:
        with safe_open(file, framework="pt", device="cpu") as reader:
            text = (reader.metadata() or {}).get(_KEY)
        info = None if text is None else json.loads(text)
    except (SafetensorError, OSError, ValueError):
        return None
    return info if isinstance(info, dict) else None


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: A run's folder (its best checkpoint) or a .safetensors file.

    Raises:
        CheckpointError: It is missing, corrupt, of another format or architecture, or its shapes don't fit.
    """
    file = resolve(path)
    try:
        with safe_open(file, framework="pt", device="cpu") as reader:
            metadata = reader.metadata() or {}
            state = {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118 (not a mapping)
        info = json.loads(metadata[_KEY]) if _KEY in metadata else None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{file} is corrupt or isn't safetensors ({error}); train or copy it again"
        ) from None
    if not isinstance(info, dict):
        raise CheckpointError(
            f"{file} wasn't written by `fauxface train`; pass it to `train --weights` instead"
        )
    _check_info(file, info)
    net = build()
    load_exactly(net, state, str(file))
    return Checkpoint(net.eval(), info, file)


def _check_info(file: Path, info: dict[str, Any]) -> None:
    if str(info.get("format", "")).rpartition("/")[::2] != tuple(FORMAT.split("/")):
        raise CheckpointError(
            f"{file} has format {info.get('format')!r}, not {FORMAT}; use a matching release"
        )
    expected = {"architecture": ARCHITECTURE, "labels": list(LABELS), "input_size": INPUT_SIZE}
    for key, value in expected.items():
        if info.get(key) != value:
            raise CheckpointError(
                f"{file} has {key} {info.get(key)!r}, not {value!r}; train it with this release"
            )
    for key in ("mean", "std"):
        value = info.get(key)
        if not (
            isinstance(value, list) and len(value) == 3 and all(isinstance(v, int | float) for v in value)
        ):
            raise CheckpointError(f"{file} has no valid {key} of three channels; train or copy it again")
    if not isinstance(info.get("margin"), int | float):
        raise CheckpointError(f"{file} has no crop margin; train or copy it again")


def load_exactly(net: ResNet, state: Mapping[str, torch.Tensor], name: str) -> None:
    """Load a state whose names and shapes must all fit.

    Args:
        net: The network to fill.
        state: Tensors by torchvision's names.
        name: What the state is called in messages.

    Raises:
        CheckpointError: Names or shapes differ, or a weight isn't finite.
    """
    own = net.state_dict()
    missing = sorted(own.keys() - state.keys())
    extra = sorted(state.keys() - own.keys())
    if missing or extra:
        what = f"{missing[0]} is missing" if missing else f"{extra[0]} is unknown"
        count = len(missing) + len(extra)
        raise CheckpointError(
            f"{name} isn't a {ARCHITECTURE} with {len(LABELS)} labels: {what} ({count} names differ); "
            "give one of that architecture"
        )
    for key, tensor in state.items():
        if tensor.shape != own[key].shape:
            raise CheckpointError(
                f"{name} isn't a {ARCHITECTURE} with {len(LABELS)} labels: {key} is {list(tensor.shape)}, "
                f"not {list(own[key].shape)}; give one of that architecture"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinite weights in {key}; train or copy it again")
    net.load_state_dict(dict(state))
