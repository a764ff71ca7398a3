from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from fauxface.errors import GateError
from fauxface_export import program, torchscript


class Colour(torch.nn.Module):
    def forward(self, crops):
        return crops.to(torch.float32).mean(dim=(1, 2))[:, :2]


class Branching(torch.nn.Module):
    """Depends on a value, which a trace would fix."""

    def forward(self, crops):
        mean = crops.to(torch.float32).mean(dim=(1, 2))[:, :2]
        return mean if mean.sum() > 0 else -mean


def test_round_trip(tmp_path):
    torchscript.save(Colour().eval(), tmp_path / "a.pt")
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"]
    crops = np.arange(3 * 128 * 128 * 3, dtype=np.uint64).astype(np.uint8).reshape(3, 128, 128, 3)
    logits = torchscript.load(tmp_path / "a.pt")(crops)
    np.testing.assert_allclose(logits, crops.mean(axis=(1, 2))[:, :2], rtol=1e-5)


def test_tracer_warnings_are_errors(tmp_path):
    with pytest.raises(GateError, match="Converting a tensor to a Python boolean"):
        torchscript.save(Branching().eval(), tmp_path / "a.pt")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize(
    "save",
    [
        lambda path: torchscript.save(Colour().eval(), path),
        lambda path: program.save(program.capture(Colour()), path),
    ],
    ids=["torchscript", "pt2"],
)
def test_a_full_disk_is_an_error_and_not_the_end_of_the_process(save):
    with pytest.raises(OSError, match="No space left"):
        save(Path("/dev/full"))
