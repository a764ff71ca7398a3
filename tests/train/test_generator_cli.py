import pytest
from typer.testing import CliRunner

pytest.importorskip("torch")

from fauxface.cli import build_app


@pytest.mark.parametrize("seeds", ["1,two", "", str(2**70)])
def test_bad_seeds_are_said(seeds, tmp_path):
    result = CliRunner().invoke(
        build_app(), ["generator", "sample", str(tmp_path / "w.pt"), "--out", str(tmp_path), "--seeds", seeds]
    )
    assert result.exit_code == 2
    assert "give whole numbers" in " ".join(result.output.split())
