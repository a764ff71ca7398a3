import hashlib

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from fauxface import crops
from fauxface.errors import DataError, ImageError
from fauxface.locator import Location
from fauxface_export import golden


class Finder:
    """Finds a face in the left half of wide pictures only."""

    def locate(self, image):
        height, width = image.shape[:2]
        return [Location((10, 10, height / 2, height / 2), (), 0.9)] if width > height else []


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name, shape in {"a.png": (100, 200, 3), "b/c.PNG": (90, 60, 3)}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        assert cv2.imwrite(str(path), rng.integers(0, 256, shape, dtype=np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    return tmp_path


def test_pictures_are_cut_by_the_runtimes_rule(pictures):
    found = golden.picture_crops(pictures, Finder(), 1.2)
    wide, tall = (cv2.imread(str(pictures / name))[..., ::-1] for name in ("a.png", "b/c.PNG"))
    square = crops.face_square((10, 10, 50, 50), 1.2)
    expected = [
        crops.to_input(crops.extract(wide, square)),
        crops.to_input(crops.extract(tall, crops.whole_square(60, 90))),
    ]
    np.testing.assert_array_equal(found, expected)


def test_empty_folder(tmp_path):
    assert golden.picture_crops(tmp_path, Finder(), 1.2).shape == (0, 128, 128, 3)


def test_pictures_of_the_data_are_refused(pictures):
    digest = hashlib.sha256((pictures / "a.png").read_bytes()).hexdigest()
    with pytest.raises(DataError, match="belongs to the prepared data"):
        golden.picture_crops(pictures, Finder(), 1.2, {digest})


def test_a_broken_picture_is_an_error(pictures):
    (pictures / "z.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError):
        golden.picture_crops(pictures, Finder(), 1.2)


def test_patterns_never_change():
    made = golden.patterns()
    assert made.shape == (6, 128, 128, 3)
    assert hashlib.sha256(made.tobytes()).hexdigest() == PATTERNS_SHA256


PATTERNS_SHA256 = "31324f64eb89cea32fec47813c173d024a51f3dd2964c4bb13a45c1b1f2b20da"


@pytest.mark.parametrize(
    ("total", "wanted", "indices"), [(0, 3, []), (2, 3, [0, 1]), (3, 3, [0, 1, 2]), (9, 3, [0, 4, 8])]
)
def test_spread(total, wanted, indices):
    assert golden.spread(total, wanted) == indices
