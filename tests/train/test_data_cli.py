import signal
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fauxface.errors import BundleError, DataError, FauxfaceError
from fauxface_train import data_cli

app = typer.Typer()
data_cli.register(app)


def save(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    Image.fromarray(small).resize((150, 150), Image.Resampling.BICUBIC).save(path)


def call(*arguments: str | Path):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if isinstance(result.exception, FauxfaceError):
        raise result.exception
    return result


@pytest.fixture
def faces(tmp_path: Path) -> Path:
    for seed in range(6):
        save(tmp_path / "faces/train/real/cam" / f"{seed}.png", seed)
        save(tmp_path / "faces/val/fake/gan" / f"{seed}.png", 100 + seed)
    return tmp_path / "faces"


def test_prepare_and_show(tmp_path: Path, faces: Path):
    out = tmp_path / "out"
    save(tmp_path / "more/x.png", 500)
    (tmp_path / "more/y.heic").write_bytes(b"x")
    result = call(
        "data", "prepare", faces, f"fake:gan2={tmp_path / 'more'}", out, "--faces", "whole", "--workers", "1"
    )
    assert result.exit_code == 0, result.output
    assert "gan2" in result.output
    assert "not read: 1 .heic\n" in result.output
    assert (out / "manifest.csv").exists()
    again = call("data", "prepare", faces, f"fake:gan2={tmp_path / 'more'}", out, "--faces", "whole")
    assert "is up to date: 13 crops of 13 pictures" in again.output
    assert call("data", "show", out, tmp_path / "grid.png", "--columns", "4").exit_code == 0
    grid = np.array(Image.open(tmp_path / "grid.png"))
    assert grid.shape == (3 * 100 + 4, 190 + 4 * 100, 3)
    assert grid[10:90, 200:280].std() > 10
    assert grid[:, :190].min() < 200


def test_one_label_is_fit_for_evaluation_only(tmp_path: Path, faces: Path):
    result = call(
        "data",
        "prepare",
        f"real:{faces / 'train/real'}",
        tmp_path / "out",
        "--faces",
        "whole",
        "--workers",
        "1",
    )
    assert "no fake picture was kept: fit for evaluation, not for training" in result.output


@pytest.mark.parametrize("text", ["80/20", "a/b/c", "0/0/0", "", "-1/1/1"])
def test_bad_splits(tmp_path: Path, faces: Path, text: str):
    with pytest.raises(DataError, match="split"):
        call("data", "prepare", faces, tmp_path / "out", "--faces", "whole", "--split", text)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "can't read the locator"), (b"x", "the locator isn't an ONNX model")]
)
def test_bad_locators(tmp_path: Path, faces: Path, content: bytes | None, message: str):
    if content is not None:
        (tmp_path / "locator.onnx").write_bytes(content)
    with pytest.raises(BundleError, match=message):
        call(
            "data",
            "prepare",
            faces,
            tmp_path / "out",
            "--locator",
            tmp_path / "locator.onnx",
            "--workers",
            "1",
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--faces", "whole", "--locator", "l.onnx"), "drop --locator and --bundle"),
        (("--faces", "whole", "--bundle", "b"), "drop --locator and --bundle"),
        (("--locator", "l.onnx", "--bundle", "b"), "choose --locator or --bundle"),
        (("--faces", "whole", "--margin", "1.5"), "taken as they are; drop --margin"),
    ],
)
def test_options_that_would_not_be_used_are_refused(tmp_path: Path, faces: Path, options, message):
    with pytest.raises(DataError, match=message):
        call("data", "prepare", faces, tmp_path / "out", *options)


def test_bad_bundle(tmp_path: Path, faces: Path):
    with pytest.raises(BundleError):
        call("data", "prepare", faces, tmp_path / "out", "--bundle", tmp_path / "none")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_says_how_to_go_on(
    number: signal.Signals, tmp_path: Path, faces: Path, monkeypatch: pytest.MonkeyPatch
):
    def interrupt(*_: object, **__: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("fauxface_train.prepare.prepare", interrupt)
    result = call("data", "prepare", faces, tmp_path / "out", "--faces", "whole")
    assert result.exit_code == 130
    assert "the same command goes on" in result.output


def test_show_without_samples(tmp_path: Path, faces: Path):
    call("data", "prepare", faces, tmp_path / "out", "--faces", "whole", "--workers", "1")
    with pytest.raises(DataError, match="no sample in split test"):
        call("data", "show", tmp_path / "out", tmp_path / "grid.png", "--split", "test")
