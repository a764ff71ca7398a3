import signal
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("tensorboard")

from fauxface.errors import CheckpointError, DataError, OutputError  # noqa: E402
from fauxface_train import checkpoint, train_cli  # noqa: E402
from fauxface_train.engine import Engine  # noqa: E402

pytestmark = pytest.mark.usefixtures("narrow_network")

FAST = ["--no-compile", "--precision", "fp32", "--workers", "0", "--device", "cpu"]


@pytest.fixture
def prepared(write_prepared):
    return write_prepared(
        [
            (split, label, source, redness + k, {})
            for split in ("train", "val")
            for label, source, redness in (("real", "camera", 0), ("fake", "gan", 90))
            for k in range(3)
        ]
    )


def _run(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    train_cli.register(app)
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def test_trains_and_says_where(prepared, tmp_path):
    out = tmp_path / "run"
    result = _run(
        prepared, "--out", out, "--weights", "none", "--samples", 8, "--batch", 4,
        "--source-weight", "cam*=2", "--metric", "auroc", "--seed", 3, "--matched", 0.5,
        "--cache-gb", "inf", *FAST,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "best.safetensors: auroc" in result.output
    config = checkpoint.load(out).info["config"]
    assert (config["samples"], config["seed"], config["source_weights"]) == (8, 3, {"cam*": 2.0})
    assert config["matched"] == 0.5
    again = _run(prepared, "--out", out, "--resume", "--seed", 4)
    assert isinstance(again.exception, CheckpointError)
    assert "another seed" in str(again.exception)


def _interrupted(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupt_before_the_first_step_is_told(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(Engine, "__init__", _interrupted)
    result = _run(prepared, "--out", tmp_path / "run", "--weights", "none", "--samples", 8, *FAST)
    assert result.exit_code == 130
    assert "interrupted; the same command starts again" in result.output
    assert not (tmp_path / "run").exists()


def test_a_second_interrupt_names_the_command_that_goes_on(prepared, tmp_path, monkeypatch):
    out = tmp_path / "run"
    asked = [prepared, "--out", out, "--weights", "none", "--samples", 8, "--batch", 4, "--validate-every", 4]
    step = Engine.step
    with monkeypatch.context() as patch:
        patch.setattr(
            Engine, "step", lambda self, *given: step(self, *given) if given[-1] == 0 else _interrupted()
        )
        result = _run(*asked, "--checkpoint-minutes", 0, *FAST)
    assert result.exit_code == 130
    assert f"interrupted; continue from the last checkpoint with: fauxface train {prepared}" in result.output
    assert _run(prepared, "--out", out, "--resume", *FAST).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--preset", "best"], DataError, "no preset 'best'"),
        (["--weights", "absent.pth"], CheckpointError, "no weights at absent.pth"),
        (["--resume"], CheckpointError, "no run to resume"),
        (["--metric", "f1"], DataError, "metric"),
        (["--matched", "2"], DataError, "matched share"),
        (["--preset", "article", "--matched", "0.5"], DataError, "balanced batches"),
        (["--device", "warp"], DataError, "device 'warp'"),
        (["--source-weight", "camera"], DataError, "SOURCE=FACTOR"),
        (["--source-weight", "=2"], DataError, "SOURCE=FACTOR"),
        (["--source-weight", "a=b"], DataError, "SOURCE=FACTOR"),
        (["--exclude", "gan"], DataError, "--exclude leaves no fake pictures in the"),
        (["--teacher", "absent"], CheckpointError, "no model at absent"),
        (["--teacher", "shipped"], DataError, "cut with margin"),
        (["--taught", "0.5"], DataError, "check --teacher"),
        (["--teacher", "shipped", "--taught", "0"], DataError, "check --teacher"),
        (["--taught", "2"], DataError, "teachers' weight"),
        (["--framing", "1.5"], DataError, "check --framing"),
        (
            ["--preset", "article", "--framing", "0"],
            DataError,
            "no degradations; drop --strength and --framing",
        ),
        (["--teacher", "shipped", "--consistency", "1"], DataError, "without --consistency"),
        (["--add", "absent"], DataError, "absent is not a folder"),
    ],
)
def test_bad_options_are_one_line(arguments, error, message, prepared, tmp_path):
    result = _run(prepared, "--out", tmp_path / "run", "--no-compile", "--workers", "0", *arguments)
    assert isinstance(result.exception, error)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_an_output_that_is_a_file_is_one_line(prepared, tmp_path, inside):
    (tmp_path / "file").touch()
    result = _run(prepared, "--out", tmp_path / "file" / inside, "--no-compile", "--workers", "0")
    assert isinstance(result.exception, OutputError)
    assert "give" in str(result.exception)


def test_importing_the_command_loads_nothing_heavy():
    code = (
        "import sys, fauxface_train.train_cli as _;"
        "print([m for m in ('torch', 'cv2', 'numpy', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_a_run_that_resumes(number, prepared, write_prepared, tmp_path, monkeypatch):
    out = tmp_path / "run"
    extra = write_prepared([("train", "fake", "recon", 80, {})], name="extra")
    handler = signal.getsignal(number)
    step = Engine.step

    def interrupted(engine, crops, labels, lr, count):
        if count == 2:
            signal.raise_signal(number)
        return step(engine, crops, labels, lr, count)

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", interrupted)
        arguments = ("--weights", "none", "--samples", 12, "--batch", 2, "--add", extra, "--strength", 2)
        stopped = _run(prepared, "--out", out, *arguments, *FAST)
    assert stopped.exit_code == 130
    command = f"fauxface train {prepared} --out {out} --add {extra} --resume"
    assert f"stopped at 6 of 12 pictures; continue with: {command}" in stopped.output
    assert signal.getsignal(number) == handler
    assert checkpoint.load(out / "last.safetensors").info["provenance"]["samples"] == 6
    assert {p.name for p in out.iterdir()} >= {"last.json", "resume.pt", "log.csv"}
    assert not [p for p in out.iterdir() if p.name.startswith(".")]
    again = (prepared, "--out", out, "--add", extra, "--resume", "--workers", "0", "--device", "cpu")
    other = _run(*again, "--strength", 1)
    assert "started with another strength or framing" in str(other.exception)
    resumed = _run(*again, "--strength", 2)
    assert resumed.exit_code == 0, resumed.output
    assert checkpoint.load(out).info["provenance"]["samples"] == 12
