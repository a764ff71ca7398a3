"""Reading `.pt2` files of torch.export without running what a stranger put into them.

`torch.export.load` unpickles example inputs, and weights, constants and custom objects where the file says
so; a pickle can run anything. So an archive is read only if it holds what `torch.export.save` writes for a
network of plain tensors.
"""

import io
import json
import re
import zipfile

import torch
from torch.export import ExportedProgram

from fauxface.errors import CheckpointError

_INPUTS = "data/sample_inputs/model.pt"
_CONFIGS = ("data/weights/model_weights_config.json", "data/constants/model_constants_config.json")
_PLAIN = re.compile(
    r"archive_format|archive_version|version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/weights/weight_\d+|data/constants/tensor_\d+"
)
_MOST_BYTES = 1 << 31


def load(data: bytes, name: str) -> ExportedProgram:
    """Read a program.

    Args:
        data: The file's bytes.
        name: What to call it in messages.

    Raises:
        CheckpointError: It isn't such a file, is damaged, or holds more than plain tensors.
    """
    try:
        _check(data)
        return torch.export.load(io.BytesIO(data))
    except Exception as error:  # torch lets whatever the bytes provoke through
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise CheckpointError(
            f"{name} isn't a torch.export file of plain tensors ({reason}); "
            "give one that `fauxface export` wrote"
        ) from error


def _check(data: bytes) -> None:
    """Raise a ValueError unless an archive holds plain tensors alone."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        full = archive.namelist()
        folders, short = {name.partition("/")[0] for name in full}, [name.partition("/")[2] for name in full]
        if len(folders) != 1 or len(set(full)) != len(full):
            raise ValueError("its entries aren't those of one archive")
        if sum(entry.file_size for entry in archive.infolist()) > _MOST_BYTES:
            raise ValueError(f"it is longer than {_MOST_BYTES} bytes")
        (folder,) = folders
        for name in short:
            if name == _INPUTS:
                torch.load(io.BytesIO(archive.read(f"{folder}/{name}")), weights_only=True)
            elif name in _CONFIGS:
                _check_config(json.loads(archive.read(f"{folder}/{name}")))
            elif not _PLAIN.fullmatch(name):
                raise ValueError(f"it holds {name!r}")


def _check_config(config: dict[str, dict[str, dict[str, object]]]) -> None:
    """Raise a ValueError where weights or constants are anything but files of plain numbers."""
    for entry in config["config"].values():
        path = entry["path_name"]
        if entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", str(path)):
            raise ValueError(f"{path} is pickled")
