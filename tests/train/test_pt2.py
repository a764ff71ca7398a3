"""Archives of torch.export that hold more than plain tensors are refused, and nothing in them is run."""

import io
import json
import pickle
import zipfile

import pytest

pytest.importorskip("torch")

import torch

from fauxface.errors import CheckpointError
from fauxface_train import pt2

CONFIG = "archive/data/weights/model_weights_config.json"
INPUTS = "archive/data/sample_inputs/model.pt"


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x):
        return self.layer(x)


@pytest.fixture(scope="module")
def entries():
    """What torch.export.save writes, by name."""
    target = io.BytesIO()
    torch.export.save(torch.export.export(Net().eval(), (torch.zeros(2, 3),)), target)
    with zipfile.ZipFile(target) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(entries):
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return target.getvalue()


class Evil:
    """Makes a folder where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.path),)


def test_what_torch_writes_is_read(entries):
    program = pt2.load(packed(entries), "a.pt2")
    assert program.module()(torch.zeros(2, 3)).shape == (2, 2)


def pickled_inputs(entries, trap):
    target = io.BytesIO()
    torch.save((Evil(trap),), target)
    return entries | {INPUTS: target.getvalue()}


def pickled_weights(entries, trap):
    config = json.loads(entries[CONFIG])
    for number, entry in enumerate(config["config"].values()):
        entry["use_pickle"] = True
        entries = entries | {f"archive/data/weights/weight_{number}": pickle.dumps(Evil(trap))}
    return entries | {CONFIG: json.dumps(config).encode()}


def custom_object(entries, trap):
    constants = "archive/data/constants/model_constants_config.json"
    config = {"config": {"a": {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False}}}
    return entries | {constants: json.dumps(config).encode(), "archive/data/constants/tensor_0": b"x"}


def legacy_weights(entries, trap):
    return entries | {"archive/data/weights/model.pt": pickle.dumps(Evil(trap))}


def two_archives(entries, trap):
    return entries | {"other/data/weights/weight_0": b"x"}


def no_archive(entries, trap):
    return {"a": b"x"}


@pytest.mark.parametrize(
    "change", [pickled_inputs, pickled_weights, custom_object, legacy_weights, two_archives, no_archive]
)
def test_what_could_run_anything_is_refused_and_not_run(entries, change, tmp_path):
    trap = tmp_path / "trap"
    with pytest.raises(CheckpointError, match=r"a\.pt2 isn't a torch.export file of plain tensors") as caught:
        pt2.load(packed(change(dict(entries), trap)), "a.pt2")
    assert "\n" not in str(caught.value)
    assert not trap.exists()


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice_is_refused(entries):
    target = io.BytesIO(packed(entries))
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr(INPUTS, b"x")
    with pytest.raises(CheckpointError, match="aren't those of one archive"):
        pt2.load(target.getvalue(), "a.pt2")


@pytest.mark.parametrize("data", [b"", b"PK", b"x" * 100])
def test_other_files_are_one_line(data):
    with pytest.raises(CheckpointError, match=r"a\.pt2 isn't a torch.export file"):
        pt2.load(data, "a.pt2")
