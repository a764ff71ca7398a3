"""Scans that go on, or are run once more."""

import json
from pathlib import Path

import pytest

from fauxface import images
from fauxface.scanner import Scanner
from scan_files import ARCHIVE, EMPTY, GRAY, archive, clip, records, scene, summary, tree


def interrupt(monkeypatch, after):
    """Let Ctrl-C come after so many pictures."""
    judged, verdicts = 0, Scanner._verdicts

    def interrupted(self, *arguments):
        nonlocal judged
        for scanned in verdicts(self, *arguments):
            if judged == after:
                raise KeyboardInterrupt
            judged += 1
            yield scanned

    monkeypatch.setattr(Scanner, "_verdicts", interrupted)


def test_finished_scan_has_nothing_to_do(scan):
    archive(Path("in"))
    Path("in/broken.jpg").unlink()
    scan("in", "--out", "out")
    before = {name: Path("out", name).stat().st_mtime_ns for name in tree("out")}
    code, out, _ = scan("in", "--out", "out")
    assert code == 0
    assert out.startswith("nothing to do: out/results.jsonl")
    assert {name: Path("out", name).stat().st_mtime_ns for name in tree("out")} == before


def test_new_files_are_added(scan):
    images.write("in/a.png", scene())
    scan("in", "--jsonl", "r.jsonl")
    images.write("in/b.png", scene(GRAY))
    code, out, _ = scan("in", "--jsonl", "r.jsonl")
    assert code == 0
    assert [r["source"] for r in records("r.jsonl")] == ["in/a.png", "in/b.png"]
    assert "1 of 2 files were recorded by an earlier scan" in out


@pytest.mark.parametrize("stop_after", [0, 1, 3, 5, 6, 8, 10, 11])
def test_interrupted_folder_is_resumed(scan, monkeypatch, stop_after):
    archive(Path("in"))
    with monkeypatch.context() as patch:
        interrupt(patch, stop_after)
        code, _, err = scan("in", "--out", "out")
    if stop_after < len(ARCHIVE):
        assert code == 130
        assert err.strip().splitlines()[-1].startswith("interrupted")
        assert "run the same command again" in err
        assert not Path("out/results.jsonl").exists()
        assert Path("out/results.jsonl.part").exists() == (stop_after > 0)
    code, _, _ = scan("in", "--out", "out")
    assert code == 3
    found = summary(records("out/results.jsonl"))
    assert sorted(found, key=str) == sorted(ARCHIVE, key=str)
    assert found == ARCHIVE or stop_after == len(ARCHIVE)  # a finished scan's unreadable files come anew
    assert len(tree("out")) == 6


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (["v.mp4"], ["v.mp4", "--every", "2"], "--every"),
        (["a.png"], ["a.png", "--faces", "whole"], "--faces"),
        (["in"], ["in", "--faces", "whole"], "--faces"),
    ],
)
def test_other_settings_are_refused(scan, first, second, message):
    images.write("a.png", scene())
    images.write("in/empty.png", EMPTY)
    clip(Path("v.mp4"))
    assert scan(*first, "--jsonl", "r.jsonl")[0] == 0
    before = Path("r.jsonl").read_bytes()
    code, _, err = scan(*second, "--jsonl", "r.jsonl")
    assert code == 1
    assert err.startswith("error: OutputError: ")
    assert message in err
    assert Path("r.jsonl").read_bytes() == before
    assert scan(*second, "--jsonl", "r.jsonl", "--overwrite")[0] == 0
    assert Path("r.jsonl").read_bytes() != before


def test_what_could_not_be_read_is_tried_again_by_a_later_scan(scan):
    archive(Path("in"))
    scan("in", "--out", "out")
    images.write("in/mended.png", scene())
    Path("in/broken.jpg").unlink()
    Path("in/mended.png").rename("in/broken.jpg")
    code, out, _ = scan("in", "--out", "out")
    assert code == 0
    assert "of 6 files were recorded by an earlier scan" in out
    found = summary(records("out/results.jsonl"))
    assert sorted(found, key=str) == sorted(
        [("in/broken.jpg", None, None, ["generated"]), *(row for row in ARCHIVE if "broken" not in row[0])],
        key=str,
    )
    assert scan("in", "--out", "out")[1].startswith("nothing to do")


def test_an_empty_annotated_file_is_no_ones(scan):
    """A power cut leaves one where its picture's record may be lost."""
    images.write("in/a.png", scene())
    images.write("in/b.png", scene())
    Path("out/annotated").mkdir(parents=True)
    Path("out/annotated/a.png").touch()
    assert scan("in", "--out", "out")[0] == 0
    Path("out/annotated/b.png").write_bytes(b"")
    assert scan("in", "--out", "out")[0] == 0
    assert all(Path("out/annotated", name).stat().st_size > 0 for name in ("a.png", "b.png"))


def test_a_folder_that_still_cannot_be_reached_does_not_block_a_scan(scan, monkeypatch):
    images.write("in/a.png", scene())
    assert scan("in", "--jsonl", "r.jsonl")[0] == 0
    line = json.loads(Path("r.jsonl").read_text())
    error = {"type": "SourceError", "message": "in/b: the folder can't be listed; check its rights"}
    with Path("r.jsonl").open("a") as file:
        file.write(json.dumps(line | {"source": "in/b", "faces": [], "error": error}) + "\n")
    reached = Path.stat

    def stat(path, **options):
        if path.name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return reached(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    code, out, err = scan("in", "--jsonl", "r.jsonl")
    assert (code, err) == (0, "")
    assert "nothing to do" in out


@pytest.mark.parametrize("options", [["--annotate", "seen"], ["--overwrite"]])
def test_an_interrupted_rescan_takes_nothing_from_the_finished_file(scan, monkeypatch, options):
    """Another folder's scan finishes FILE.part, which lacks what the rescan hadn't come to."""
    for name in ("a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png"):
        images.write(name, scene())
    for folder in ("a", "b"):
        assert scan(folder, "--jsonl", "r.jsonl")[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch, after=1)
        assert scan("a", "--jsonl", "r.jsonl", *options)[0] == 130
    images.write("c/1.png", scene())
    for folder in ("c", "b"):
        assert scan(folder, "--jsonl", "r.jsonl")[0] == 0
    sources = [record["source"] for record in records("r.jsonl")]
    assert sorted(sources) == ["a/1.png", "a/2.png", "a/3.png", "b/1.png", "b/2.png", "c/1.png"]


def test_what_a_finished_rescan_is_about_is_not_taken_over(scan, monkeypatch):
    for name in ("a/1.png", "a/2.png"):
        images.write(name, scene())
    assert scan("a", "--jsonl", "r.jsonl")[0] == 0
    with monkeypatch.context() as patch:
        interrupt(patch, after=1)
        assert scan("a", "--jsonl", "r.jsonl", "--annotate", "seen")[0] == 130
    assert scan("a", "--jsonl", "r.jsonl", "--annotate", "seen")[0] == 0
    assert [record["source"] for record in records("r.jsonl")] == ["a/1.png", "a/2.png"]


def test_a_single_frame_does_not_tell_its_step(scan):
    """Of a clip of six frames, every thirtieth is the first alone."""
    Path("in").mkdir()
    clip("in/c.mp4")
    assert scan("in", "--jsonl", "r.jsonl", "--every", "30")[0] == 0
    assert len(records("r.jsonl")) == 1
    code, out, _ = scan("in", "--jsonl", "r.jsonl")
    assert (code, len(records("r.jsonl"))) == (0, 6)
    assert "nothing to do" not in out


def test_a_folder_that_another_scan_could_not_list_stays_recorded(scan):
    images.write("a/1.png", scene())
    images.write("b/1.png", scene())
    Path("a/locked").mkdir()
    assert scan("a", "--jsonl", "r.jsonl")[0] == 0
    line = json.loads(Path("r.jsonl").read_text())
    error = {"type": "SourceError", "message": "a/locked: the folder can't be listed; check its rights"}
    with Path("r.jsonl").open("a") as file:
        file.write(json.dumps(line | {"source": "a/locked", "faces": [], "error": error}) + "\n")
    assert scan("b", "--jsonl", "r.jsonl")[0] == 0
    assert [record["source"] for record in records("r.jsonl")] == ["a/1.png", "a/locked", "b/1.png"]
    images.write("a/locked/2.png", scene())
    assert scan("a", "--jsonl", "r.jsonl")[0] == 0
    assert [record["source"] for record in records("r.jsonl")] == ["a/1.png", "b/1.png", "a/locked/2.png"]
