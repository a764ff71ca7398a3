import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from fauxface import demo, images
from fauxface.cli import build_app
from fauxface.errors import MissingExtraError
from fauxface.scanner import Scanner
from fauxface.table import Table
from fauxface.video import FrameReader

TINY = Path(__file__).parent.parent / "data" / "tiny_bundle"


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """Stand-ins for the photographs, carried by a package that is surely there."""
    rng = np.random.default_rng(0)
    for name in ("one.png", "two.jpg"):
        images.write(tmp_path / name, rng.integers(0, 256, (90, 70, 3), np.uint8))
    inside = {name: ("carrier", name) for name in ("one.png", "two.jpg")}
    (tmp_path / "carrier").mkdir()
    (tmp_path / "carrier" / "__init__.py").write_text("")
    for name in inside:
        (tmp_path / name).rename(tmp_path / "carrier" / name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(demo, "PHOTOGRAPHS", inside)


def test_missing_carrier_names_the_pip_line(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "PHOTOGRAPHS", {"a.png": ("no_such_package_at_all", "a.png")})
    with pytest.raises(MissingExtraError, match=r"pip install 'fauxface\[cpu,demo\]'"):
        demo.collect_pictures(tmp_path)


def test_pictures_are_photographs_then_generated_faces(tmp_path, photographs):
    names = [path.name for path in demo.collect_pictures(tmp_path / "input")]
    assert names[:2] == ["one.png", "two.jpg"]
    assert [name.rpartition("_")[0] for name in names[2:]] == ["mobilestylegan"] * 4 + ["own_generator"] * 4
    assert names[2:] == sorted(names[2:])
    for name in names:
        assert images.read(tmp_path / "input" / name).ndim == 3


def test_clip_shows_each_picture_for_a_second(tmp_path):
    colours = [(200, 0, 0), (0, 0, 200)]
    pictures = [tmp_path / f"{i}.png" for i in range(2)]
    for path, colour in zip(pictures, colours, strict=True):
        images.write(path, np.full((60, 80, 3), colour, np.uint8))
    with FrameReader(demo.make_clip(pictures, tmp_path / "clip.mp4")) as reader:
        frames = list(reader)
    assert len(frames) == 2 * demo.FPS * demo.SECONDS_EACH
    assert frames[0].image.shape == (demo.FRAME[1], demo.FRAME[0], 3)
    half = len(frames) // 2
    for frame, colour in (
        (frames[0], colours[0]),
        (frames[half - 1], colours[0]),
        (frames[half], colours[1]),
    ):
        assert np.abs(frame.image[240, 320].astype(int) - colour).max() < 30


def test_command_writes_pictures_clip_and_results(tmp_path, photographs):
    out = tmp_path / "out"
    result = CliRunner().invoke(build_app(), ["demo", "--out", str(out), "--bundle", str(TINY)])
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert {Path(line["source"]).name for line in lines} == {p.name for p in (out / "input").iterdir()}
    assert {p.name for p in (out / "annotated").iterdir()} == {p.name for p in (out / "input").iterdir()}
    frames = [line["frame"] for line in lines if line["source"].endswith("clip.mp4")]
    assert frames == list(range(len(frames)))
    assert len(frames) > 20
    table = (out / "table.txt").read_text(encoding="utf-8").splitlines()
    assert table[0].split() == ["verdict", "generated", "face", "where"]
    assert table == result.stdout.splitlines()[: len(table)]
    assert {
        name for name in ("one.png", "two.jpg", "clip.mp4") if not any(name in row for row in table)
    } == set()


def test_interrupted_demo_says_what_it_can_do(tmp_path, monkeypatch, command):
    def one_picture(folder):
        images.write(folder / "a.png", np.zeros((64, 64, 3), np.uint8))
        return []

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "collect_pictures", one_picture)
    monkeypatch.setattr(demo, "make_clip", lambda *_: None)
    monkeypatch.setattr(Table, "result", interrupt)
    monkeypatch.setattr(demo, "photographs", dict)
    for _ in range(2):
        code, out, err = command("demo", "--out", tmp_path / "out", "--bundle", TINY)
        assert code == 130
        assert err.endswith("results.jsonl.part; run the same command again, which starts anew\n")
        assert "look at" not in out


@pytest.mark.parametrize("inside", ["", "deeper"])
def test_an_output_that_is_a_file_is_one_line(tmp_path, photographs, command, inside):
    (tmp_path / "file").touch()
    code, _, err = command("demo", "--out", tmp_path / "file" / inside, "--bundle", TINY)
    assert code == 1
    assert err.startswith("error: OutputError: can't write")
    assert err.count("\n") == 1


def test_a_missing_carrier_leaves_nothing(tmp_path, monkeypatch, command):
    monkeypatch.setattr(demo, "PHOTOGRAPHS", {"a.png": ("no_such_package_at_all", "a.png")})
    code, _, err = command("demo", "--out", tmp_path / "out", "--bundle", TINY)
    assert (code, err.partition(":")[2].split(":")[0].strip()) == (1, "MissingExtraError")
    assert not (tmp_path / "out").exists()


def test_results_of_other_scans_are_not_replaced(tmp_path, photographs, command):
    out = tmp_path / "results"
    out.mkdir()
    (out / "results.jsonl").write_text("of another scan\n")
    code, _, err = command("demo", "--out", out, "--bundle", TINY)
    assert code == 1
    assert "results holds files that the demo didn't write; give a new folder with --out" in err
    assert [path.name for path in out.iterdir()] == ["results.jsonl"]
    assert (out / "results.jsonl").read_text() == "of another scan\n"


def test_the_photographs_are_where_their_packages_keep_them():
    for package, _ in demo.PHOTOGRAPHS.values():
        pytest.importorskip(package)
    scanner = Scanner(provider="cpu", threads=1)
    for path in demo.photographs().values():
        assert scanner.image(path).faces
