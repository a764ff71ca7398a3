import copy
import dataclasses
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import ImageFont

pytest.importorskip("onnxruntime")

from fauxface import images
from fauxface.bundle import Bundle
from fauxface.errors import DataError
from fauxface_export import failures

TINY = Path(__file__).parents[1] / "data" / "tiny_bundle"


@pytest.fixture(scope="module")
def bundle():
    return Bundle.load(TINY)


def picture(path, redness, box=(10, 10, 80, 80)):
    """Write a face of plain colour on black; redness 0 is called bona fide, 26 unsure, 100 generated."""
    image = np.zeros((120, 120, 3), np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = (128 + redness, 128, 128)
    assert cv2.imwrite(str(path), image[..., ::-1])
    return path


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "samples"
    folder.mkdir()
    for name, redness in {"a": 100, "b": 40, "c": 127, "d": 0, "e": 60}.items():
        picture(folder / f"{name}.png", redness)
    (folder / "notes.txt").write_text("not a picture")
    return folder


def verdicts(bundle, paths):
    from fauxface.scanner import Scanner

    return [result.faces[0] for result in Scanner(bundle, provider="cpu").images(paths)]


def test_a_model_of_whole_pictures_is_shown_to_be_wrong_about_whole_pictures(bundle, folder, tmp_path):
    """The plain pictures have no face to find."""
    training = {"training": {"faces": "whole"}}
    whole = copy.copy(bundle)
    whole.manifest = dataclasses.replace(bundle.manifest, provenance=training)
    black = folder / "black.png"
    assert cv2.imwrite(str(black), np.zeros((120, 120, 3), np.uint8))
    assert failures.collect(bundle, [black], tmp_path / "a.png")["no_face"] == 1
    assert failures.collect(whole, [black], tmp_path / "b.png")["no_face"] == 0


def test_counts_are_the_scanner_s(bundle, folder, tmp_path):
    paths = failures.pictures(folder)
    assert [path.name for path in paths] == ["a.png", "b.png", "c.png", "d.png", "e.png"]
    labels = [face.label for face in verdicts(bundle, paths)]
    assert set(labels) == {"bona_fide", "unsure", "generated"}
    found = failures.collect(bundle, paths, tmp_path / "failures.png")
    for label in ("bona_fide", "unsure", "generated"):
        assert found[label] == labels.count(label)
    assert (found["pictures"], found["no_face"]) == (5, 0)
    assert found["generators"] == {
        "samples": {"no_face": 0}
        | {name: labels.count(name) for name in ("bona_fide", "unsure", "generated")}
    }
    assert found["shown"] == found["bona_fide"] + found["unsure"]
    assert found["file"] == "failures.png"


def test_the_grid_shows_the_worst_first(bundle, folder, tmp_path):
    from fauxface.crops import extract, face_square, to_input

    paths = failures.pictures(folder)
    failures.collect(bundle, paths, tmp_path / "failures.png")
    grid = images.read(tmp_path / "failures.png")
    face, path = min(zip(verdicts(bundle, paths), paths, strict=True), key=lambda item: item[0].p_generated)
    assert path.name == "d.png"
    crop = to_input(extract(images.read(path), face_square(face.box, bundle.manifest.crop.margin)))
    np.testing.assert_array_equal(grid[8 : 8 + 128, 8 : 8 + 128], crop)
    assert grid[8 + 128 + 4 :, 8 : 8 + 128].min() < 60, "the first crop has no caption"


def test_counts_are_told_by_folder(bundle, folder, tmp_path):
    other = folder / "a generator with a name that is longer than a crop is wide"
    other.mkdir()
    picture(other / "f.png", 0)
    found = failures.collect(bundle, failures.pictures(folder), tmp_path / "failures.png")
    assert list(found["generators"]) == [other.name, "samples"]
    assert found["generators"][other.name]["bona_fide"] == 1
    for verdict in ("no_face", "bona_fide", "unsure", "generated"):
        assert found[verdict] == sum(counts[verdict] for counts in found["generators"].values())


@pytest.mark.parametrize(("name", "cut"), [("own_generator", False), ("W" * 40, True), ("", False)])
def test_a_name_is_cut_to_a_crop_s_width(name, cut):
    font = ImageFont.load_default(12)
    shown = failures._fitted(name, font)
    assert font.getlength(shown) <= 128
    assert (shown != name) == cut
    assert not cut or name.startswith(shown.removesuffix("..."))


def test_no_more_than_the_grid_holds(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(failures, "SHOWN", 2)
    paths = [picture(tmp_path / f"{number}.png", number) for number in range(4)]
    found = failures.collect(bundle, paths, tmp_path / "failures.png")
    assert (found["bona_fide"], found["shown"]) == (4, 2)


def test_without_a_failure_no_picture_is_written(bundle, tmp_path):
    paths = [picture(tmp_path / "red.png", 127, box=(0, 0, 120, 120))]
    found = failures.collect(bundle, paths, tmp_path / "failures.png")
    assert (found["generated"], found["shown"], found["file"]) == (1, 0, None)
    assert not (tmp_path / "failures.png").exists()


def test_a_picture_without_a_face_is_counted(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr("fauxface.locator.Locator.locate", lambda *_, **__: [])
    found = failures.collect(bundle, [picture(tmp_path / "a.png", 0)], tmp_path / "failures.png")
    assert (found["no_face"], found["shown"]) == (1, 0)


def test_a_picture_that_cannot_be_read_is_an_error(bundle, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"can't scan .*a\.png"):
        failures.collect(bundle, [tmp_path / "a.png"], tmp_path / "failures.png")
    assert not (tmp_path / "failures.png").exists()


def test_bad_folders_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="no folder"):
        failures.pictures(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no picture"):
        failures.pictures(tmp_path / "empty")
    known = hashlib.sha256((folder / "b.png").read_bytes()).hexdigest()
    with pytest.raises(DataError, match=r"b\.png belongs to the prepared data"):
        failures.pictures(folder, {known})
