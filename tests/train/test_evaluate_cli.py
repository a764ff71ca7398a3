import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("sklearn")

import typer
from typer.testing import CliRunner

from fauxface.errors import BundleError, CheckpointError, DataError, OutputError, ProviderError
from fauxface_train import evaluate_cli

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


def run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    evaluate_cli.register(app)
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def test_evaluate_writes_and_prints(steered, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.plots.write_all", lambda *_: [])
    result = run(TINY, steered, "--out", tmp_path / "out", "--batch", 5, "--provider", "cpu")
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert document["data"]["split"] == "test"
    assert f"AUROC          {document['overall']['auroc']['value']:.4f}" in result.output
    assert "highest APCER  0.6667 (0.0943-0.9916)  diffusion" in result.output
    assert list(document["robustness"]["conditions"]) == ["clean", "jpeg60", "scale50", "jpeg60_half"]
    assert "\nflipped " in result.output


def test_conditions_and_pairs_can_be_chosen(steered, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.plots.write_all", lambda *_: [])
    options = ("--conditions", "none", "--pairs", "cameras=camera,phone:diff*", "--pairs", "gan=*:gan")
    result = run(TINY, steered, "--out", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    document = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert list(document["robustness"]["conditions"]) == ["clean"]
    assert "flipped" not in result.output
    assert "cameras: AUROC 0.6111 (" in result.output
    assert "phone against diffusion" in result.output


def test_a_split_can_be_chosen_and_missing_figures_say_why(steered, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.plots.write_all", lambda *_: [])
    result = run(TINY, steered, "--split", "val", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "needs both bona fide and generated samples" in result.output


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"model": "none"}, CheckpointError, "no model at"),
        ({"data": "none"}, DataError, "is not a folder"),
        ({"split": "dev"}, DataError, "unknown split"),
        ({"split": "train"}, DataError, "no sample in split"),
        ({"conditions": "dusk"}, DataError, "unknown condition 'dusk'"),
        ({"pairs": "a=b"}, DataError, "can't read the pairs"),
        ({"pairs": "a=none:gan"}, DataError, "no real source is called 'none'"),
        ({"provider": "npu"}, ProviderError, "unknown provider"),
        ({"model": "empty"}, CheckpointError, "no checkpoint in"),
        ({"model": "text.onnx"}, BundleError, ""),
        ({"out": "text.onnx"}, OutputError, "is a file"),
    ],
    ids=str,
)
def test_bad_input_is_a_typed_error_and_writes_nothing(change, error, match, steered, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.onnx").write_text("not a model")
    given = {"model": TINY, "data": steered, "split": "test", "provider": "cpu", "out": tmp_path / "out"}
    for key, value in change.items():
        given[key] = tmp_path / value if key in ("model", "data", "out") else value
    result = run(
        given["model"],
        given["data"],
        *("--split", given["split"]),
        *("--provider", given["provider"]),
        *("--out", given["out"]),
        *(item for key in ("conditions", "pairs") if key in given for item in (f"--{key}", given[key])),
    )
    assert type(result.exception) is error
    assert match in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_the_module_is_cheap_to_import():
    code = (
        "import sys; import fauxface_train.evaluate_cli; "
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'numpy', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_whose_name_is_not_utf8_is_named_in_the_result(steered, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface_train.plots.write_all", lambda *_: [])
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    shutil.copytree(steered, folder)
    result = run(TINY, folder, "--out", tmp_path / "out", "--conditions", "none", "--trained-on", folder)
    assert result.exit_code == 0, result.output
    data = json.loads((tmp_path / "out" / "metrics.json").read_text())["data"]
    assert (data["name"], data["overlap"]["name"]) == ("caf\\xe9", "caf\\xe9")
