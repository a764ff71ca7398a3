import importlib.util
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("torch")

from fauxface.errors import DataError, FauxfaceError, MissingExtraError, OutputError
from fauxface_export.cli import register


@pytest.fixture
def run():
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["export", *map(str, arguments)])

    return invoke


@pytest.mark.parametrize(
    ("formats", "said"), [("onnx,tflite", "tflite"), ("torchscript", "needs onnx"), ("", "unknown format")]
)
def test_formats(run, formats, said):
    result = run("run", "--out", "b", "--locator", "l.onnx", "--formats", formats)
    assert result.exit_code == 2
    assert said in result.output


def test_export_needs_no_package_of_another_extra():
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('matplotlib', 'tensorboard'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import fauxface_export.export, fauxface_export.requantise"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_missing_extra_names_the_pip_line(run, monkeypatch):
    honest = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "onnxscript" else honest(name)
    )
    result = run("run", "--out", "b", "--locator", "l.onnx")
    assert isinstance(result.exception, MissingExtraError)
    assert "onnxscript" in str(result.exception)
    assert "fauxface[export]" in str(result.exception)


@pytest.mark.parametrize("option", ["--int8", "--fp16"])
def test_precisions_need_data(run, option, inputs, tmp_path):
    out = tmp_path / "bundle"
    result = run(inputs.checkpoint, "--out", out, "--locator", inputs.locator, option)
    assert result.exit_code == 1
    assert isinstance(result.exception, DataError)
    assert "give --data" in str(result.exception)
    assert not out.exists()


def test_errors_are_typed(run, inputs, tmp_path):
    (tmp_path / "taken").mkdir()
    result = run(inputs.checkpoint, "--out", tmp_path / "taken", "--locator", inputs.locator)
    assert result.exit_code == 1
    assert isinstance(result.exception, OutputError)
    assert isinstance(result.exception, FauxfaceError)
