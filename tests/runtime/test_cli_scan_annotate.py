"""Which annotated files `fauxface scan` writes, and which files it leaves alone."""

import json
import shutil
import threading
from pathlib import Path

import pytest

from fauxface import images, scanner
from fauxface.errors import OutputError
from scan_files import GRAY, archive, records, scene, tree


def test_missing_annotated_file_is_made(scan):
    archive(Path("in"))
    scan("in", "--jsonl", "r.jsonl")
    first = records("r.jsonl")
    code, _, _ = scan("in", "--jsonl", "r.jsonl", "--annotate", "seen")
    assert code == 3
    assert len(tree("seen")) == 5
    assert sorted(map(json.dumps, records("r.jsonl"))) == sorted(map(json.dumps, first))


def test_annotated_files_are_not_scanned(scan):
    images.write("in/a.png", scene())
    for _ in range(2):
        code, _, _ = scan("in", "--jsonl", "r.jsonl", "--annotate", "in/seen")
        assert code == 0
    assert [r["source"] for r in records("r.jsonl")] == ["in/a.png"]


@pytest.mark.parametrize("logged", [True, False])
def test_originals_among_the_annotated_files_stay(scan, logged):
    """A folder for annotated files that holds pictures of one's own already."""
    log = ("--jsonl", "r.jsonl") if logged else ()
    images.write("in/1.png", scene())
    images.write("in/sub/1.png", scene(GRAY))
    original = Path("in/sub/1.png").read_bytes()
    code, _, err = scan("in", "--annotate", "in/sub", *log)
    assert (code, err) == (
        1,
        "error: OutputError: in/sub/1.png is there already and isn't of this scan; annotate into another "
        "folder, or --overwrite\n",
    )
    assert Path("in/sub/1.png").read_bytes() == original
    assert not Path("r.jsonl").exists()
    assert scan("in", "--annotate", "in/sub", "--overwrite", *log)[0] == 0
    assert Path("in/sub/1.png").read_bytes() != original


def test_the_annotated_files_of_another_scan_stay(scan):
    images.write("x/a.png", scene())
    images.write("y/a.png", scene(GRAY))
    assert scan("x", "--out", "out")[0] == 0
    seen = Path("out/annotated/a.png").read_bytes()
    code, _, err = scan("y", "--out", "out")
    assert (code, "out/annotated/a.png is there already" in err) == (1, True)
    assert Path("out/annotated/a.png").read_bytes() == seen
    assert [r["source"] for r in records("out/results.jsonl")] == ["x/a.png"]
    shutil.rmtree("out/annotated")
    assert scan("y", "--out", "out")[0] == 0


def test_a_scan_that_broke_off_goes_on_among_its_annotated_files(scan, monkeypatch):
    archive(Path("in"))
    write = images.write

    def dies(path, image):
        write(path, image)
        if len(tree("out/annotated")) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(images, "write", dies)
    assert scan("in", "--out", "out")[0] == 130
    monkeypatch.setattr(images, "write", write)
    assert scan("in", "--out", "out")[0] == 3
    assert len(tree("out")) == 6


def test_an_original_in_the_folder_of_a_single_picture_stays(scan):
    """Without a file of results nothing tells that what lies there is this scan's."""
    images.write("in/a.png", scene())
    images.write("mine/a.png", scene(GRAY))
    original = Path("mine/a.png").read_bytes()
    code, _, err = scan("in/a.png", "--annotate", "mine")
    assert (code, "mine/a.png is there already" in err) == (1, True)
    assert Path("mine/a.png").read_bytes() == original
    assert scan("in/a.png", "--annotate", "mine", "--overwrite")[0] == 0
    assert Path("mine/a.png").read_bytes() != original


def test_an_interrupted_scan_anew_goes_on_among_the_annotated_files_of_the_old_one(scan, monkeypatch):
    """FILE is still the old one's then, and FILE.part has the new records."""
    for name, tone in (("a", scene()), ("b", scene(GRAY)), ("c", scene())):
        images.write(f"in/{name}.png", tone)
    assert scan("in", "--out", "out")[0] == 0
    for path in tree("out/annotated"):
        Path("out/annotated", path).write_bytes(b"old")
    write = images.write

    def dies(path, image):
        if Path(path).name == "b.png":
            raise KeyboardInterrupt
        write(path, image)

    monkeypatch.setattr(images, "write", dies)
    assert scan("in", "--out", "out", "--overwrite")[0] == 130
    monkeypatch.setattr(images, "write", write)
    assert scan("in", "--out", "out")[0] == 0
    assert [r["source"] for r in records("out/results.jsonl")] == ["in/a.png", "in/b.png", "in/c.png"]
    for name in "abc":
        assert Path(f"out/annotated/{name}.png").read_bytes() != b"old", name


def test_why_a_provider_was_passed_over_is_told_at_the_start(scan, monkeypatch):
    images.write("in/a.png", scene())
    opened = scanner.open_classifier

    def passing(*arguments, **options):
        classifier, precision = opened(*arguments, **options)
        classifier.passed_over = ("the provider cuda can't be used: no driver",)
        return classifier, precision

    monkeypatch.setattr(scanner, "open_classifier", passing)
    code, _, err = scan("in/a.png")
    assert (code, err) == (0, "note: the provider cuda can't be used: no driver; scanning on cpu\n")


def test_a_source_stays_under_another_spelling_of_its_folder(scan):
    """A mount, or a file system that takes upper and lower case for the same, gives one folder two paths."""
    images.write("in/a.png", scene())
    Path("seen").mkdir()
    Path("seen/a.png").hardlink_to("in/a.png")
    original = Path("in/a.png").read_bytes()
    code, _, err = scan("in", "--annotate", "seen", "--overwrite")
    assert (code, err.count("annotating would overwrite in/a.png")) == (1, 1)
    assert Path("in/a.png").read_bytes() == original


def test_files_read_ahead_are_annotated_and_recorded_as_one_after_the_other(scan):
    archive(Path("in"))
    for threads in (1, 3):
        assert scan("in", "--out", f"out{threads}", threads=threads)[0] == 3
    assert records("out1/results.jsonl") == records("out3/results.jsonl")
    assert tree("out1") == tree("out3")
    for name in tree("out1/annotated"):
        if name.endswith((".png", ".jpg")):
            assert Path("out1/annotated", name).read_bytes() == Path("out3/annotated", name).read_bytes()


@pytest.mark.parametrize("end", ["interrupt", "error"])
def test_a_scan_that_reads_ahead_may_break_off_and_goes_on(scan, monkeypatch, end):
    for i in range(12):
        images.write(f"in/{i:02}.png", scene(GRAY))
    write, before = images.write, threading.active_count()

    def broken(path, picture):
        if Path(path).name == "03.png":
            raise KeyboardInterrupt if end == "interrupt" else OutputError("can't write 03.png: full")
        write(path, picture)

    monkeypatch.setattr(images, "write", broken)
    code, _, _ = scan("in", "--out", "out", threads=3)
    assert (code, threading.active_count()) == (130 if end == "interrupt" else 1, before)
    monkeypatch.setattr(images, "write", write)
    assert scan("in", "--out", "out", threads=3)[0] == 0
    assert [r["source"] for r in records("out/results.jsonl")] == [f"in/{i:02}.png" for i in range(12)]
    assert len(tree("out/annotated")) == 12
