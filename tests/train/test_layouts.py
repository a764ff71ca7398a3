import os
from pathlib import Path

import pytest

from fauxface.errors import DataError
from fauxface_train.layouts import find

UTK = "25_0_2_20170104020210475.jpg.chip.jpg"
UTK2 = "31_1_3_20170104020210476.jpg"


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_bytes(name.encode())
        else:
            path.mkdir(exist_ok=True)
    return root


LAYOUTS = {
    "label/source": (
        ["real/cam/a.jpg", "real/cam/deep/b.PNG", "fake/gan/c.webp"],
        [("real", "cam", None), ("real", "cam", None), ("fake", "gan", None)],
    ),
    "split/label/source": (
        ["train/real/cam/a.jpg", "validation/fake/gan/b.jpg", "test/real/cam/c.jpg"],
        [("real", "cam", "train"), ("fake", "gan", "val"), ("real", "cam", "test")],
    ),
    "image folder": (["Real/a.jpg", "Fake/b.jpg"], [("real", "data", None), ("fake", "data", None)]),
    "split image folder": (
        ["train/bona_fide/a.jpg", "train/generated/b.jpg"],
        [("real", "data", "train"), ("fake", "data", "train")],
    ),
    "numbered labels": (["0_real/a.jpg", "1_fake/b.jpg"], [("real", "data", None), ("fake", "data", None)]),
    "one label": (["real/cam/a.jpg"], [("real", "cam", None)]),
    "utkface": ([UTK, UTK2], [("real", "utkface", None)] * 2),
    "utkface parts": ([f"part1/{UTK}", f"part2/{UTK2}"], [("real", "utkface", None)] * 2),
    "utkface with splits": (
        [f"train/{UTK}", f"test/{UTK2}"],
        [("real", "utkface", "train"), ("real", "utkface", "test")],
    ),
    "million": (
        ["1m_faces_00_01_02_03/1m_faces_00/K1.jpg", "1m_faces_00_01_02_03/1m_faces_01/000001.jpg"],
        [("fake", "1m_faces", None)] * 2,
    ),
    "million, twice nested": (
        ["1m_faces_00_01_02_03/1m_faces_00_01_02_03/1m_faces_02/F.jpg"],
        [("fake", "1m_faces", None)],
    ),
    "downloads side by side": (
        [f"UTKFace/{UTK}", "1m_faces_08/X.jpg", "mine/real/cam/a.jpg"],
        [("real", "utkface", None), ("fake", "1m_faces", None), ("real", "cam", None)],
    ),
    "splits in labels": (
        ["real/train/a.jpg", "real/Test/phone/b.jpg", "fake/valid/c.jpg", "fake/test/gan/deep/d.jpg"],
        [
            ("real", "data", "train"),
            ("real", "phone", "test"),
            ("fake", "data", "val"),
            ("fake", "gan", "test"),
        ],
    ),
    "a source named as a split is": (
        ["train/real/test/a.jpg", "train/fake/b.jpg"],
        [("real", "test", "train"), ("fake", "data", "train")],
    ),
    "wrapped": (
        ["archive/set/real/a.jpg", "archive/set/fake/b.jpg"],
        [("real", "set", None), ("fake", "set", None)],
    ),
    "hidden files": (
        ["real/a.jpg", "real/.b.jpg", "__MACOSX/real/c.jpg", ".git/x.jpg"],
        [("real", "data", None)],
    ),
}


@pytest.mark.parametrize(("names", "expected"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path: Path, names: list[str], expected: list[tuple[str, str, str | None]]):
    found = find([str(make(tmp_path / "data", *names))])
    assert sorted(map(repr, [(i.label, i.source, i.split) for i in found.items])) == sorted(
        map(repr, expected)
    )
    assert found.layouts


UNCLEAR = {
    "loose pictures": (
        ["a.jpg", "b.jpg"],
        "unclear: found 2 pictures such as a.jpg; expected real/ and fake/",
    ),
    "unknown classes": (["cats/a.jpg", "dogs/b.jpg"], "unclear: found folders cats, dogs; expected"),
    "a stranger beside labels": (["real/a.jpg", "extra/b.jpg"], "beside real and fake folders .* extra"),
    "pictures beside labels": (["real/a.jpg", "b.jpg"], r"itself \(1\)"),
    "a stranger beside splits": (
        ["train/real/a.jpg", "more/b.jpg"],
        "beside train, val and test folders .* more",
    ),
    "a stranger in a split": (["train/real/a.jpg", "train/odd/b.jpg"], "odd"),
    "a split without labels": (["train/real/a.jpg", "val/b.jpg"], "val has no real or fake folder"),
    "a stranger beside splits in a label": (
        ["real/train/a.jpg", "real/phone/b.jpg", "fake/c.jpg"],
        "real is unclear: beside train, val and test folders .* phone",
    ),
    "pictures beside splits in a label": (["real/train/a.jpg", "real/b.jpg"], r"itself \(1\)"),
    "an empty class": (["real/a.jpg", "fake/"], "class folder .*fake holds no picture; fill it or remove it"),
    "an empty class in a split": (
        ["train/real/a.jpg", "train/fake/x.txt"],
        "class folder .*fake holds no picture",
    ),
    "nothing": (["empty/"], "unclear: found folders empty; expected"),
    "few UTKFace names": ([UTK, "a.jpg", "b.jpg"], "unclear"),
}


@pytest.mark.parametrize(("names", "message"), UNCLEAR.values(), ids=UNCLEAR)
def test_unclear_layouts(tmp_path: Path, names: list[str], message: str):
    with pytest.raises(DataError, match=message) as caught:
        find([str(make(tmp_path / "data", *names))])
    assert "\n" not in str(caught.value)


def test_overrides(tmp_path: Path):
    make(tmp_path, "one/x/a.jpg", "one/b.jpg", "two/train/c.jpg", "two/test/d.jpg")
    found = find([f"real:my cam={tmp_path}/one", f"GAN:{tmp_path}/two"])
    assert [(i.path.name, i.label, i.source, i.split) for i in found.items] == [
        ("b.jpg", "real", "my cam", None),
        ("a.jpg", "real", "my cam", None),
        ("d.jpg", "fake", "two", "test"),
        ("c.jpg", "fake", "two", "train"),
    ]


def test_other_files_are_counted(tmp_path: Path):
    found = find([str(make(tmp_path, "real/a.jpg", "real/notes.txt", "real/b.GIF", "real/LICENSE"))])
    assert len(found.items) == 1
    assert found.ignored == {".txt": 1, ".gif": 1, "no suffix": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no source folder"),
        (["missing"], "does not exist"),
        (["data/real/a.jpg"], "is not a folder"),
        (["real:../bad=data"], "no source name"),
        (["real:"], "names no folder"),
        (["data", "data"], "overlaps"),
        (["data", "real:data/real"], "overlaps"),
        (["real:none"], "holds no picture"),
    ],
)
def test_bad_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str):
    make(tmp_path, "data/real/a.jpg", "none/x.txt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        find(arguments)


@pytest.mark.parametrize("below", ["", "crops", "crops/test"])
def test_prepared_crops_are_no_pictures(tmp_path: Path, below: str):
    """They would be cut a second time, and nothing would know any more which of them were trained on."""
    make(
        tmp_path, "prepare.json", "manifest.csv", "crops/test/real/camera/a.png", "crops/test/fake/gan/b.png"
    )
    with pytest.raises(DataError, match="prepared already") as caught:
        find([str(tmp_path / below)])
    assert f"give {tmp_path} alone" in str(caught.value)


@pytest.mark.parametrize("name", [b"we\xffird", b"new\nline"])
def test_folders_that_no_table_can_name_are_refused(tmp_path: Path, name: bytes):
    folder = make(tmp_path, "data/fake/gan/b.jpg") / "data" / "real" / os.fsdecode(name)
    try:
        make(folder, "a.jpg")
    except OSError:
        pytest.skip("this file system refuses the name")
    with pytest.raises(DataError, match="can't name a source"):
        find([str(tmp_path / "data")])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in the file system here")
def test_pipes_are_no_pictures(tmp_path: Path):
    make(tmp_path, "real/a.jpg", "fake/b.jpg")
    os.mkfifo(tmp_path / "real" / "pipe.jpg")
    (tmp_path / "real" / "broken.jpg").symlink_to(tmp_path / "gone.jpg")
    found = find([str(tmp_path)])
    assert [item.path.name for item in found.items] == ["b.jpg", "a.jpg", "broken.jpg"]
    assert found.ignored == {".jpg": 1}


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    make(tmp_path, "real/cam/a.jpg", "real/locked/c.jpg", "fake/b.jpg")
    scandir = os.scandir

    def guarded(path: str):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DataError, match="locked: Permission denied; make it readable"):
        find([str(tmp_path)])


def test_splits_inside_a_source_are_kept(tmp_path: Path):
    make(
        tmp_path / "data",
        "real/ffhq/train/a.jpg",
        "real/ffhq/test/x/b.jpg",
        "fake/sg2/val/c.jpg",
        "fake/d/e.jpg",
    )
    found = find([str(tmp_path / "data")])
    assert [(i.label, i.source, i.split) for i in found.items] == [
        ("fake", "d", None),
        ("fake", "sg2", "val"),
        ("real", "ffhq", "test"),
        ("real", "ffhq", "train"),
    ]


@pytest.mark.parametrize("stranger", ["real/ffhq/more/b.jpg", "real/ffhq/b.jpg"])
def test_pictures_beside_the_splits_of_a_source_are_refused(tmp_path: Path, stranger):
    make(tmp_path / "data", "real/ffhq/train/a.jpg", stranger, "fake/d/e.jpg")
    with pytest.raises(DataError, match="beside train, val and test folders it holds pictures"):
        find([str(tmp_path / "data")])


def test_splits_that_a_given_label_would_dissolve_are_refused(tmp_path: Path):
    make(tmp_path / "data", "ffhq/train/a.jpg", "ffhq/test/b.jpg", "other/c.jpg")
    with pytest.raises(DataError, match=r"ffhq has splits of its own.*; name each source, as real:ffhq="):
        find([f"real:{tmp_path / 'data'}"])
    found = find([f"real:ffhq={tmp_path / 'data/ffhq'}", f"real:{tmp_path / 'data/other'}"])
    assert [(i.source, i.split) for i in found.items] == [
        ("ffhq", "test"),
        ("ffhq", "train"),
        ("other", None),
    ]


@pytest.mark.parametrize(
    ("files", "arguments", "refused"),
    [
        (["phone/images/a.jpg", "cam/images/b.jpg"], ["real:{}/phone/images", "real:{}/cam/images"], True),
        (["phone/images/a.jpg", "cam/images/b.jpg"], ["real:p={}/phone/images", "real:{}/cam/images"], False),
        (
            ["phone/images/a.jpg", "cam/images/b.jpg"],
            ["real:c={}/phone/images", "real:c={}/cam/images"],
            False,
        ),
        (["phone/images/a.jpg", "sdxl/images/b.jpg"], ["real:{}/phone/images", "fake:{}/sdxl/images"], False),
        (["a/faces/real/a.jpg", "b/faces/real/b.jpg"], ["{}/a/faces", "{}/b/faces"], True),
        (["x/a/faces/real/a.jpg", "x/b/faces/real/b.jpg"], ["{}/x"], True),
        (["a/real/cam/a.jpg", "b/real/cam/b.jpg"], ["{}/a", "{}/b"], False),
        (["a/real/cam/a.jpg", "cam/real/b.jpg"], ["{}/a", "{}/cam"], True),
        (["d/train/real/a.jpg", "d/test/real/b.jpg"], ["{}/d"], False),
        ([f"a/{UTK}", f"b/{UTK2}"], ["{}/a", "{}/b"], False),
    ],
)
def test_sources_are_not_pooled_for_the_name_of_a_folder(tmp_path: Path, files, arguments, refused):
    make(tmp_path, *files)
    given = [argument.format(tmp_path) for argument in arguments]
    if not refused:
        assert len(find(given).items) == len(files)
        return
    with pytest.raises(DataError, match=r"would be one source, '\w+'.*; name each, as real:NAME=PATH"):
        find(given)


def test_loops_of_links_end(tmp_path: Path):
    make(tmp_path / "data", "real/a.jpg")
    (tmp_path / "data/real/loop").symlink_to(tmp_path / "data/real")
    assert len(find([str(tmp_path / "data")]).items) == 1
