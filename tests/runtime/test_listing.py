"""Which files lie in a folder, and which match a pattern."""

import glob
import os
import sys
from pathlib import Path

import pytest

from fauxface.errors import SourceError
from fauxface.sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Kind,
    PictureSource,
    Source,
    parse,
)

LISTED = ["a.png", "b.JPG", "clip.MP4", "sub/d.webp", "sub/z/e.tiff", "sub.bmp", "two words/f.jpeg"]


@pytest.mark.parametrize(("given", "shown"), [("photos", "photos/"), ("./photos/", "photos/")])
def test_folder_is_listed_recursively_in_order(tree, given, shown):
    listing = PictureSource(parse(given))
    assert [str(path) for path in listing] == sorted(
        (shown + name for name in LISTED), key=lambda name: Path(name).parts
    )
    assert len(listing) == len(LISTED)
    assert listing.skipped.total() == 3
    assert listing.unreadable == []
    assert [path.name for path in listing if listing.is_video(path)] == ["clip.MP4"]


def test_absolute_folder_gives_absolute_paths(tree):
    assert all(path.is_absolute() for path in PictureSource(parse(str(tree / "photos"))))


def test_hidden_root_is_listed(tree):
    assert [path.name for path in PictureSource(parse("photos/.cache"))] == ["c.jpg"]


def test_links_are_followed_once(tree):
    photos = tree / "photos"
    (photos / "sub" / "loop").symlink_to(photos, target_is_directory=True)
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere" / "g.png").write_bytes(b"x")
    (photos / "link").symlink_to(tree / "elsewhere", target_is_directory=True)
    (photos / "broken.png").symlink_to(tree / "gone.png")
    names = [path.relative_to("photos").as_posix() for path in PictureSource(parse("photos"))]
    assert sorted(names) == sorted([*LISTED, "broken.png", "link/g.png"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
@pytest.mark.parametrize("text", ["photos", "photos/*.*"])
def test_pipes_in_a_folder_are_left_out(tree, text):
    before = PictureSource(parse(text))
    os.mkfifo(tree / "photos" / "pipe.png")
    after = PictureSource(parse(text))
    assert after.paths == before.paths
    assert after.skipped - before.skipped == {".png": 1}


def test_folder_that_cannot_be_listed_is_named(tree, monkeypatch):
    import os

    real = os.scandir

    def guarded(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", guarded)
    listing = PictureSource(parse("photos"))
    assert listing.unreadable == [Path("photos/sub")]
    assert Path("photos/a.png") in listing.paths


@pytest.mark.parametrize("pattern", ["photos/**/*.png", "photos/**/**/*.png"])
def test_a_folder_below_a_glob_that_cannot_be_listed_is_named(tree, monkeypatch, pattern):
    listed = Path.iterdir

    def guarded(path):
        if path.name == "sub":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", guarded)
    listing = PictureSource(parse(pattern))
    assert listing.unreadable == [Path("photos/sub")]
    assert Path("photos/a.png") in listing.paths


def test_a_folder_that_cannot_be_entered_does_not_end_a_glob(tree, monkeypatch):
    asked = os.stat

    def guarded(path, *args, **options):
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied", str(path))
        return asked(path, *args, **options)

    monkeypatch.setattr(os, "stat", guarded)
    monkeypatch.setattr(os, "lstat", guarded)
    for pattern in ("photos/*.png", "photos/**/*.png"):
        assert Path("photos/a.png") in PictureSource(parse(pattern)).paths


def test_glob_reads_no_folder_twice(tree):
    photos = tree / "photos"
    (photos / "sub" / "loop").symlink_to(photos, target_is_directory=True)
    (photos / "copy.png").symlink_to("a.png")
    names = [path.relative_to("photos").as_posix() for path in PictureSource(parse("photos/**/*.*"))]
    assert sorted(names) == sorted([*LISTED, "copy.png"])


def test_links_that_lead_upwards_end(tree):
    photos = tree / "photos"
    for name in ("one", "two", "three"):
        (photos / "sub" / name).symlink_to(photos, target_is_directory=True)
    names = [path.relative_to("photos").as_posix() for path in PictureSource(parse("photos/**/*.*"))]
    assert sorted(names) == sorted(LISTED)


@pytest.mark.parametrize(
    "pattern", ["**", "photos/**", "**/sub/**/*.tiff", "**/z/*", "./**/[ab].*", "photos/**/**/f*"]
)
def test_patterns_match_what_glob_matches(tree, monkeypatch, pattern):
    listing = PictureSource(parse(pattern))
    matched = map(Path, glob.glob(pattern, recursive=True))  # noqa: PTH207  (Path.glob finds hidden files)
    expected = {path for path in matched if path.is_file()}
    assert set(listing.paths) == {
        path for path in expected if path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    }


@pytest.mark.parametrize("pattern", ["photos/*/*.png", "photos/s*/[a-z].png", "photos/sub/*.png"])
def test_a_folder_that_a_glob_cannot_list_is_told(tree, monkeypatch, pattern):
    real = os.listdir

    def listed(folder):
        if Path(folder) == Path("photos/sub"):
            raise PermissionError(13, "Permission denied", str(folder))
        return real(folder)

    (tree / "photos/other").mkdir()
    (tree / "photos/other/x.png").touch()
    monkeypatch.setattr(os, "listdir", listed)
    if pattern != "photos/*/*.png":
        with pytest.raises(SourceError, match=r"no picture or video matches \(1 folders unreadable\)"):
            PictureSource(Source(Kind.GLOB, pattern))
        return
    listing = PictureSource(Source(Kind.GLOB, pattern))
    assert listing.unreadable == [Path("photos/sub")]
    assert listing.paths == [Path("photos/other/x.png")]


def test_folders_may_lie_deeper_than_functions_call_themselves(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    deep = Path(*["d"] * 450)
    deep.mkdir(parents=True)
    (deep / "a.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        assert PictureSource(parse(".")).paths == [deep / "a.png"]
    finally:
        sys.setrecursionlimit(limit)
