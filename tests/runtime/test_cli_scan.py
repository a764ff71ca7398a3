import errno
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fauxface import cli, heap, images, scan_items
from fauxface.scanner import Scanner
from fauxface.table import Table
from fauxface.video import FrameReader
from scan_files import ARCHIVE, EMPTY, archive, clip, records, scene, summary, tree

TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"


def test_picture_prints_a_table(scan):
    images.write("a.png", scene())
    code, out, err = scan("a.png")
    assert code == 0
    header, row, last = out.splitlines()
    assert header.split() == ["verdict", "generated", "face", "where"]
    assert row.split()[0] == "generated"
    assert row.endswith("a.png")
    assert last.startswith("1 picture; 1 face: 1 generated; ")
    assert err == ""
    assert tree(".") == ["a.png"]


@pytest.mark.parametrize("source", ["in", "in/**/*.*"])
def test_folder_and_glob(scan, source):
    archive(Path("in"))
    code, out, _ = scan(source, "--out", "out")
    assert code == 3
    assert summary(records("out/results.jsonl")) == ARCHIVE
    assert tree("out") == [
        "annotated/a.png",
        "annotated/empty.png",
        "annotated/sub/a.png",
        "annotated/sub/b.webp.png",
        "annotated/sub/clip.mp4",
        "results.jsonl",
    ]
    for name in ("a.png", "sub/b.webp.png"):
        drawn = images.read(Path("out/annotated") / name)
        assert drawn.shape == (160, 200, 3)
        assert (drawn != scene()).any()
    with FrameReader("out/annotated/sub/clip.mp4") as reader:
        assert (reader.width, reader.height, round(reader.fps or 0), len(list(reader))) == (200, 160, 10, 6)
    assert "4 pictures, 1 video (6 frames), 1 without a face, 1 that couldn't be read" in out


def test_pictures_are_read_ahead_together_though_videos_lie_between(scan, monkeypatch):
    for number in range(3):
        images.write(f"in/{number}.png", scene())
        clip(f"in/{number}.mp4", 1)
    read, whole = [], Scanner.scan_pictures

    def scan_pictures(self, pictures, **options):
        read.append([Path(picture).name for picture in pictures])
        return whole(self, [f"in/{name}" for name in read[-1]], **options)

    monkeypatch.setattr(Scanner, "scan_pictures", scan_pictures)
    assert scan("in", "--jsonl", "out.jsonl")[0] == 0
    assert read == [["0.png", "1.png", "2.png"]]
    names = [Path(record["source"]).name for record in records("out.jsonl")]
    assert names == ["0.png", "1.png", "2.png", "0.mp4", "1.mp4", "2.mp4"]


def test_a_name_with_two_spaces_stays_as_it_is(scan):
    Path("in").mkdir()
    Path("in", "a  b.jpg").write_bytes(b"")
    assert scan("in", "--jsonl", "out.jsonl")[0] == 3
    (record,) = records("out.jsonl")
    assert record["error"]["message"].startswith("in/a  b.jpg: is empty")
    assert "in/a  b.jpg: is empty" in scan("in/a  b.jpg")[2]


def test_a_glob_that_matches_more_later_keeps_its_tree(scan):
    """Where the tree begins is said by the pattern, not by what matches today."""
    for year in ("2024", "2025"):
        images.write(f"shots/{year}/a.png", scene())
        assert scan("shots/**/*.png", "--out", "out")[0] == 0
    assert tree("out") == ["annotated/2024/a.png", "annotated/2025/a.png", "results.jsonl"]
    assert len(records("out/results.jsonl")) == 2


def test_files_that_are_left_out_are_counted(scan):
    images.write("in/a.png", scene())
    for name in ("b.HEIC", "c.heic", "notes.txt", "README"):
        Path("in", name).write_bytes(b"x")
    _, out, _ = scan("in")
    assert "4 files left out, which fauxface doesn't read: 2 .heic, 1 without suffix, 1 .txt" in out
    assert "left out" not in scan("in/a.png")[1]


@pytest.mark.parametrize("mode", ["locate", "whole"])
def test_mode(scan, mode):
    images.write("a.png", scene(side=128))
    assert scan("a.png", "--faces", mode, "--jsonl", "r.jsonl")[0] == 0
    ((face,),) = [r["faces"] for r in records("r.jsonl")]
    assert (face["locator_score"] is None) == (mode == "whole")
    assert (face["box"] == [20, 0, 160, 160]) == (mode == "whole")


def test_picture_without_a_face(scan):
    images.write("a.png", EMPTY)
    code, out, err = scan("a.png", "--out", "out")
    assert code == 1
    assert "no face" in out
    assert err.startswith("error: NoFaceError: a.png: ")
    assert summary(records("out/results.jsonl")) == [("a.png", None, "NoFaceError", [])]
    assert tree("out") == ["annotated/a.png", "results.jsonl"]
    code, out, err = scan("a.png", "--out", "out")
    assert (code, "nothing to do" in out) == (1, True)
    assert err.startswith("error: NoFaceError: a.png: ")


def test_pictures_without_a_face_do_not_fail_a_folder(scan):
    images.write("in/a.png", EMPTY)
    code, out, _ = scan("in")
    assert code == 0
    assert "1 without a face" in out


def test_standard_output(scan):
    archive(Path("in"))
    code, out, err = scan("in", "--jsonl", "-")
    assert code == 3
    assert summary([json.loads(line) for line in out.splitlines()]) == ARCHIVE
    assert "4 pictures" in err


def test_standard_input(scan, monkeypatch):
    images.write("a.png", scene())
    for name in ("r.jsonl", "again.jsonl"):
        data = io.TextIOWrapper(io.BytesIO(Path("a.png").read_bytes()))
        monkeypatch.setattr(sys, "stdin", data)
        code, _, _ = scan("-", "--jsonl", name, "--annotate", "seen")
        assert code == 0
        assert summary(records(name)) == [("-", None, None, ["generated"])]
    assert tree("seen") == ["stdin-2.png", "stdin.png"]


def test_a_table_that_nobody_reads_any_more_says_how_to_go_on(scan, monkeypatch):
    """As behind `| head -1`."""
    archive(Path("in"))
    monkeypatch.setattr(Table, "_print", broken_pipe)
    code, _, err = scan("in", "--jsonl", "r.jsonl")
    assert code == 1
    assert "results so far are in r.jsonl.part; run the same command again to resume" in err
    monkeypatch.undo()


def broken_pipe(*_):
    raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def change(name):
    shutil.copytree(TINY_BUNDLE, "bundle")
    path = Path("bundle", name)
    path.write_bytes(path.read_bytes() + b" ")


@pytest.mark.usefixtures("_scan_place")
@pytest.mark.parametrize(
    ("prepare", "arguments", "error"),
    [
        (None, ["absent.jpg"], "SourceError"),
        (lambda: Path("x.jpg").touch(), ["x.jpg"], "ImageError"),
        (lambda: Path("x.jpg").write_text("text"), ["x.jpg"], "ImageError"),
        (lambda: Path("x.mp4").write_text("text"), ["x.mp4"], "VideoError"),
        (lambda: Path("x").mkdir(), ["x"], "SourceError"),
        (None, ["x/*.jpg"], "SourceError"),
        (None, ["a.png", "--bundle", "absent"], "BundleError"),
        (lambda: change("classifier.onnx"), ["a.png", "--bundle", "bundle"], "BundleError"),
        (None, ["a.png", "--locator", "a.png"], "BundleError"),
        (None, ["a.png", "--provider", "gpu"], "ProviderError"),
        (None, ["a.png", "--threads", "0"], "ProviderError"),
        (None, ["a.png", "--jsonl", "a.png"], "OutputError"),
        (None, ["a.png", "--jsonl", "a.png", "--overwrite"], "OutputError"),
        (None, ["a.png", "--jsonl", "a.png/r.jsonl"], "OutputError"),
        (None, ["a.png", "--jsonl", "."], "OutputError"),
        (None, ["a.png", "--annotate", "a.png"], "OutputError"),
        (None, ["a.png", "--annotate", "."], "OutputError"),
        (None, [".", "--annotate", "."], "SourceError"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(monkeypatch, capsys, prepare, arguments, error):
    images.write("a.png", scene())
    if prepare is not None:
        prepare()
    before = {name: Path(name).read_bytes() for name in tree(".")}
    folders = {path for path in Path().rglob("*") if path.is_dir()}
    if "--bundle" not in arguments:
        arguments = [*arguments, "--bundle", str(TINY_BUNDLE)]
    if "--jsonl" not in arguments and "--annotate" not in arguments:
        arguments = [*arguments, "--out", "out"]
    if "--provider" not in arguments:  # "auto" says which ones it passed over
        arguments = [*arguments, "--provider", "cpu"]
    monkeypatch.setattr(sys, "argv", ["fauxface", "scan", *arguments])
    with pytest.raises(SystemExit) as leave:
        cli.main()
    captured = capsys.readouterr()
    assert leave.value.code == 1
    assert captured.err.startswith(f"error: {error}: ")
    assert captured.err.count("\n") == 1
    assert {name: Path(name).read_bytes() for name in tree(".")} == before
    assert {path for path in Path().rglob("*") if path.is_dir()} == folders


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.usefixtures("_scan_place")
@pytest.mark.parametrize("arguments", [["--jsonl", "-"], []], ids=["lines", "table"])
def test_a_full_disk_behind_standard_output_is_one_line(arguments):
    images.write("a.png", scene())
    command = [sys.executable, "-c", "from fauxface.cli import main; main()", "scan", "a.png"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*command, "--bundle", str(TINY_BUNDLE), "--provider", "cpu", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: OSError: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="closes streams by a POSIX shell")
@pytest.mark.usefixtures("_scan_place")
@pytest.mark.parametrize(
    ("closed", "encoding", "source", "message"),
    [
        ("2>&-", "utf-8", "in", ""),
        (">&-", "utf-8", "in/a.png", ""),
        ("<&-", "utf-8", "-", "error: ImageError: standard input: is closed"),
        ("</dev/null", "ascii", "in/\u03a9.png", ""),
    ],
)
def test_closed_and_narrow_streams(closed, encoding, source, message):
    for name in ("a", "\u03a9"):
        images.write(f"in/{name}.png", scene())
    python = f"{shlex.quote(sys.executable)} -c 'from fauxface.cli import main; main()'"
    arguments = (
        f"{shlex.quote(source)} --bundle {shlex.quote(str(TINY_BUNDLE))} --provider cpu --jsonl r.jsonl"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", f"{python} scan {arguments} {closed}"],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, Path("r.jsonl").exists()) == ((1, False) if message else (0, True)), done.stderr
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("_scan_place")
def test_a_name_that_the_system_refuses_is_one_line(command):
    images.write("a.png", scene())
    code, _, err = command(
        "scan", "a.png", "--bundle", TINY_BUNDLE, "--provider", "cpu", "--jsonl", "x" * 300
    )
    assert code == 1
    assert re.match(r"error: \w+Error: .*File name too long.*\n$", err)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.png", "--every", "0"],
        ["a.png", "--locate-every", "0"],
        ["a.png", "--locate-every", "2", "--faces", "whole"],
        ["a.png", "--locator", "l.onnx", "--faces", "whole"],
        ["a.png", "--max-side", "64", "--faces", "whole"],
        ["a.png", "--faces", "all"],
        ["a.png", "--max-frames", "3"],
        ["a.png", "--out", "r.jsonl", "--jsonl", "s.jsonl"],
        ["a.png", "--nonsense"],
    ],
)
def test_wrong_usage(scan, arguments):
    images.write("a.png", scene())
    code, out, err = scan(*arguments)
    assert code == 2
    assert out == ""
    assert err


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson", "R.JSON"])
def test_out_may_name_a_file(scan, name):
    images.write("a.png", scene())
    assert scan("a.png", "--out", name)[0] == 0
    assert tree(".") == sorted(["a.png", name])


def test_folder_that_cannot_be_listed_is_recorded(scan, monkeypatch):
    images.write("in/a.png", scene())
    listed = scan_items.PictureSource

    def partly(place):
        files = listed(place)
        files.unreadable.append(Path("in/locked"))
        return files

    with monkeypatch.context() as patch:
        patch.setattr(scan_items, "PictureSource", partly)
        for _ in range(2):
            assert scan("in", "--jsonl", "r.jsonl")[0] == 3
            assert summary(records("r.jsonl")) == [
                ("in/a.png", None, None, ["generated"]),
                ("in/locked", None, "SourceError", []),
            ]
    images.write("in/locked/b.png", scene())
    assert scan("in", "--jsonl", "r.jsonl")[0] == 0  # it can be listed now
    assert [row[0] for row in summary(records("r.jsonl"))] == ["in/a.png", "in/locked/b.png"]


def test_precision(scan, variant_bundle):
    images.write("a.png", scene((153, 128, 128)))
    found = {}
    for precision in ("fp32", "int8"):
        code, out, _ = scan("a.png", "--precision", precision, "--out", "-", bundle=variant_bundle)
        assert code == 0
        found[precision] = json.loads(out)["faces"][0]["p_generated"]
    z = np.log(found["fp32"] / (1 - found["fp32"]))
    assert found["int8"] == pytest.approx(1 / (1 + np.exp(-(z - 2) / 2 - 0.5)), abs=1e-4)


@pytest.mark.parametrize(
    ("precision", "said"), [("int4", "unknown precision"), ("int8", "no int8 classifier")]
)
def test_precisions_that_are_refused(scan, precision, said):
    images.write("a.png", scene())
    code, _, err = scan("a.png", "--precision", precision)
    assert code == 1
    assert said in err
    assert err.count("\n") == 1


def test_a_picture_longer_than_jpeg_holds_is_annotated_smaller(scan):
    Path("in").mkdir()
    Image.fromarray(np.zeros((40, 66000, 3), np.uint8)).save("in/a.jpg", format="PNG")
    images.write("in/b.jpg", scene())
    assert scan("in", "--out", "out")[0] == 0
    assert tree("out") == ["annotated/a.jpg", "annotated/b.jpg", "results.jsonl"]
    assert images.read("out/annotated/a.jpg").shape == (40, 65500, 3)


def test_options_reach_the_scanner(scan, monkeypatch):
    clip(Path("v.mp4"))
    seen, real = {}, Scanner.scan_frames
    monkeypatch.setattr(Scanner, "scan_frames", lambda self, *a, **k: seen.update(k) or real(self, *a, **k))
    assert scan("v.mp4", "--locate-every", 3, "--max-side", 320, "--jsonl", "r.jsonl")[0] == 0
    assert seen["locate_every"] == 3
    small = Scanner(TINY_BUNDLE, provider="cpu", threads=1, max_side=320)
    assert {record["model"] for record in records("r.jsonl")} == {small.model}
    assert small.model != Scanner(TINY_BUNDLE, provider="cpu", threads=1).model
    list(small.video("v.mp4", locate_every=2))
    assert seen["locate_every"] == 2


def test_scan_makes_the_settings_of_its_process(scan, monkeypatch):
    called = []
    monkeypatch.setattr(heap, "share_among_threads", lambda: called.append(True))
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        images.write("a.png", scene())
        assert scan("a.png")[0] == 0
        assert (called, cv2.getNumThreads()) == ([True], 1)
    finally:
        cv2.setNumThreads(before)
