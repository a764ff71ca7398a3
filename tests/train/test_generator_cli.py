import importlib.util

import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from fauxface.cli import build_app
from fauxface.errors import MissingExtraError


@pytest.mark.parametrize("seeds", ["1,two", "", str(2**70)])
def test_bad_seeds_are_said(seeds, tmp_path):
    result = CliRunner().invoke(
        build_app(), ["generator", "sample", str(tmp_path / "w.pt"), "--out", str(tmp_path), "--seeds", seeds]
    )
    assert result.exit_code == 2
    assert "give whole numbers" in " ".join(result.output.split())


@pytest.mark.parametrize(
    "command",
    [
        ["generator", "train", "data", "--out", "out", "--seed", str(2**64)],
        ["data", "reconstruct", "data", "out", "--seed", str(2**64)],
        ["data", "audit", "data", "--seed", str(2**32)],
    ],
)
def test_seeds_beyond_what_the_libraries_take_are_wrong_usage(command):
    result = CliRunner().invoke(build_app(), command)
    assert result.exit_code == 2
    assert "seed" in result.output


@pytest.mark.parametrize(
    "command", [["generator", "sample", "w.pt", "--out", "x"], ["data", "reconstruct", "d", "x"]]
)
def test_a_part_of_the_extra_that_is_missing_is_named(command, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "safetensors" else real(name)
    )
    result = CliRunner().invoke(build_app(), command)
    assert isinstance(result.exception, MissingExtraError)
    assert "needs safetensors" in str(result.exception)
