import csv
import hashlib
import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest


def face(seed, side=160):
    """Return a smooth pattern with fine detail, uint8 [side, side, 3]; no label decides how it looks."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((9, 9, 3), np.float32), (side, side), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.standard_normal((side, side, 1), np.float32), (0, 0), 0.9)[..., None]
    light = rng.uniform(0.6, 1.0)
    picture = 255 * light * (0.15 + 0.7 * coarse) + rng.uniform(6, 14) * fine
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def jpeg(rgb, quality=85):
    done, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def blurred(rgb, sigma=3.0):
    return cv2.GaussianBlur(rgb, (0, 0), sigma)


@pytest.fixture
def pictures():
    """The functions above, for tests that plant something."""
    return SimpleNamespace(face=face, jpeg=jpeg, blurred=blurred)


@pytest.fixture
def write_data(tmp_path):
    """Return a function that writes prepared data with originals.

    Rows are (label folder, source, bytes of the original, uint8 [S, S, 3] stored crop, extra columns).
    """

    def write(rows, name="prepared"):
        from fauxface_train.dataset import COLUMNS, FORMAT

        root = tmp_path / name
        (tmp_path / f"{name}-originals").mkdir()
        table = []
        for number, (label, source, data, stored, extra) in enumerate(rows):
            original = tmp_path / f"{name}-originals" / f"{number}.jpg"
            original.write_bytes(data)
            sha256 = hashlib.sha256(data).hexdigest()
            crop = f"crops/train/{label}/{source}/{sha256[:16]}.png"
            (root / crop).parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / crop), stored[..., ::-1])
            side = stored.shape[0]
            height, width = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2]
            values = dict.fromkeys(COLUMNS, "") | {
                "crop": crop,
                "split": "train",
                "label": label,
                "source": source,
                "sha256": sha256,
                "original": original,
                "format": "JPEG",
                "width": width,
                "height": height,
                "box_x": width // 5,
                "box_y": height // 5,
                "box_w": width * 3 // 5,
                "box_h": height * 3 // 5,
                "square_x": side // 10,
                "square_y": side // 10,
                "square_side": side - 2 * (side // 10),
            }
            table.append(values | extra)
        with (root / "manifest.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(table)
        info = {"format": FORMAT, "faces": "locate", "crop": {"margin": 1.0}, "room": 1.25}
        (root / "prepare.json").write_text(json.dumps(info))
        return root

    return write


@pytest.fixture
def clean_rows():
    """Eighty pictures of each label, two sources each, that differ in nothing."""
    rows = []
    for number in range(160):
        picture = face(number)
        label, source = ("real", "camera"), ("fake", "gan")
        folder, name = label if number % 2 else source
        rows.append((folder, f"{name}{number // 2 % 2}", jpeg(picture), picture[16:144, 16:144], {}))
    return rows
