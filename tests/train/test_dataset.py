import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fauxface.crops import Square
from fauxface.errors import DataError
from fauxface_train.dataset import COLUMNS, FORMAT, PreparedData, load_crop, load_stored

ROW = {
    "crop": "crops/train/real/cam/00.png",
    "split": "train",
    "label": "real",
    "source": "cam",
    "sha256": "ab" * 32,
    "original": "a.jpg",
    "format": "JPEG",
    "width": "300",
    "height": "200",
    "box_x": "10.5",
    "box_y": "20",
    "box_w": "90",
    "box_h": "100.25",
    "locator_score": "0.9",
    "landmarks": "30 40 70.5 41 50 60 35 80 65 82.25",
    "square_x": "20",
    "square_y": "20",
    "square_side": "128",
    "age": "31",
    "gender": "female",
    "race": "asian",
    "dhash": "0" * 16,
}


def write(root: Path, *rows: dict[str, str], info: dict[str, Any] | None = None) -> Path:
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(COLUMNS))
        writer.writeheader()
        writer.writerows(rows)
    default = {"format": FORMAT, "crop": {"margin": 1.2}, "room": 1.25}
    (root / "prepare.json").write_text(json.dumps(default if info is None else info))
    return root


def test_samples(tmp_path: Path):
    fake = ROW | {
        "label": "fake",
        "source": "gan",
        "split": "val",
        "locator_score": "",
        "landmarks": "",
        "age": "",
        "gender": "",
    }
    data = PreparedData.load(write(tmp_path, ROW, fake))
    assert (len(data), data.margin, data.room) == (2, 1.2, 1.25)
    assert (data.sources(), data.sources(1)) == (["cam", "gan"], ["gan"])
    first, second = data.samples()
    assert first.path == tmp_path / ROW["crop"]
    assert first.square == Square(20, 20, 128)
    assert first.face_px == 100.25
    assert first.landmarks == ((30, 40), (70.5, 41), (50, 60), (35, 80), (65, 82.25))
    assert second.landmarks == ()
    assert (first.age, first.gender, first.race) == (31, "female", "asian")
    assert (second.label, second.locator_score, second.age, second.gender) == (1, None, None, None)
    assert data.samples("train") == data.samples(label=0) == [first]
    assert data.samples("test") == []


def test_crops_are_rgb_and_the_nominal_square(tmp_path: Path):
    stored = np.random.default_rng(0).integers(0, 256, (170, 170, 3), np.uint8)
    (sample,) = PreparedData.load(write(tmp_path, ROW)).samples()
    sample.path.parent.mkdir(parents=True)
    cv2.imwrite(str(sample.path), stored[:, :, ::-1])
    np.testing.assert_array_equal(load_stored(sample), stored)
    np.testing.assert_array_equal(load_crop(sample), stored[20:148, 20:148])


def test_bad_crops(tmp_path: Path):
    (sample,) = PreparedData.load(write(tmp_path, ROW)).samples()
    with pytest.raises(DataError, match="No such file"):
        load_stored(sample)
    sample.path.parent.mkdir(parents=True)
    for content in (b"", b"no picture"):
        sample.path.write_bytes(content)
        with pytest.raises(DataError, match="is corrupt"):
            load_stored(sample)
    cv2.imwrite(str(sample.path), np.zeros((200, 201, 3), np.uint8))
    with pytest.raises(DataError, match="isn't square"):
        load_stored(sample)


BAD = {
    "no folder": (lambda r: r / "none", "is not a folder"),
    "not finished": (lambda r: ((r / "prepare.json").unlink(), r)[1], "no finished prepared data"),
    "no manifest": (lambda r: ((r / "manifest.csv").unlink(), r)[1], "no finished prepared data"),
    "another format": (lambda r: write(r, ROW, info={"format": "x/9"}), "has format 'x/9'"),
    "not JSON": (lambda r: ((r / "prepare.json").write_text("{"), r)[1], "can't read"),
    "no rows": (write, "lists no picture"),
    "columns missing": (lambda r: ((r / "manifest.csv").write_text("crop,split\n"), r)[1], "lacks columns"),
    "bad split": (lambda r: write(r, ROW | {"split": "x"}), "line 2: unknown split 'x'"),
    "crop elsewhere": (
        lambda r: write(r, ROW | {"crop": "/tmp/a.png"}),
        "line 2: the crop '/tmp/a.png' lies outside",
    ),
    "crop above": (
        lambda r: write(r, ROW | {"crop": "../a.png"}),
        "line 2: the crop '../a.png' lies outside",
    ),
    "bad hash": (
        lambda r: write(r, ROW | {"sha256": "x"}),
        "line 2: sha256 must be 64 hexadecimal digits, not 'x'",
    ),
    "bad label": (lambda r: write(r, ROW, ROW | {"label": "x"}), "line 3"),
    "no margin": (
        lambda r: write(r, ROW, info={"format": FORMAT, "room": 1.25}),
        "crop.margin must be a number",
    ),
    "bad margin": (
        lambda r: write(r, ROW, info={"format": FORMAT, "crop": {"margin": "a"}, "room": 1.25}),
        "not 'a'",
    ),
    "bad smallest face": (
        lambda r: write(
            r, ROW, info={"format": FORMAT, "crop": {"margin": 1, "min_face_px": "4"}, "room": 1}
        ),
        "crop.min_face_px must be a number of pixels, not '4'",
    ),
    "no room": (lambda r: write(r, ROW, info={"format": FORMAT, "crop": {"margin": 1.2}}), "room must be"),
    "no box": (lambda r: write(r, ROW | {"box_x": "nan"}), "line 2: box_x must be finite"),
    "no width": (lambda r: write(r, ROW | {"width": "0"}), "line 2: width must be 1 to"),
    "no square": (lambda r: write(r, ROW | {"square_side": "-5"}), "line 2: square_side must be 1 to"),
    "huge square": (
        lambda r: write(r, ROW | {"square_side": "99999999"}),
        "line 2: square_side must be 1 to",
    ),
    "nine landmarks": (lambda r: write(r, ROW | {"landmarks": "1 " * 9}), "line 2: landmarks must be ten"),
    "no landmark": (lambda r: write(r, ROW | {"landmarks": "inf " * 10}), "line 2: landmarks must be ten"),
    "bad number": (lambda r: write(r, ROW | {"width": "x"}), "line 2"),
    "cut row": (lambda r: ((r / "manifest.csv").write_text(",".join(COLUMNS) + "\na,train"), r)[1], "line 2"),
    "not UTF-8": (lambda r: ((r / "manifest.csv").write_bytes(b"\xff\xfe"), r)[1], "can't read"),
}


@pytest.mark.parametrize(("spoil", "message"), BAD.values(), ids=BAD)
def test_bad_folders(tmp_path: Path, spoil, message: str):
    write(tmp_path, ROW)
    with pytest.raises(DataError, match=message):
        PreparedData.load(spoil(tmp_path))
