from pathlib import Path

import cv2
import numpy as np
import pytest

import fauxface
from fauxface.bundle import Bundle
from fauxface.errors import CheckpointError
from fauxface.locator import Location
from fauxface_train.locator.turned import frontality, most_turned_first

DEMO_MEDIA = Path(fauxface.__file__).parent / "demo_media"
FRONT = [(30.0, 40.0), (70.0, 40.0), (50.0, 60.0), (34.0, 80.0), (66.0, 80.0)]


@pytest.mark.parametrize(
    ("landmarks", "expected"),
    [
        pytest.param(FRONT, 1.0, id="front"),
        pytest.param([(2 * x, 2 * y) for x, y in FRONT], 1.0, id="twice as large"),
        pytest.param([(-y, x) for x, y in FRONT], 1.0, id="lying on its side"),
        pytest.param([(x / 2, y) for x, y in FRONT], 0.5, id="squeezed to a half"),
        pytest.param([(50.0, 40.0)] * 5, 0.0, id="all in one point"),
    ],
)
def test_frontality_is_of_the_head_and_not_of_the_picture(landmarks, expected):
    assert frontality(Location((20.0, 20.0, 60.0, 80.0), tuple(landmarks), 0.9)) == pytest.approx(expected)


def test_the_most_turned_face_comes_first_and_what_shows_none_last(tmp_path):
    bundle = Bundle.load()
    teacher = tmp_path / "teacher.onnx"
    teacher.write_bytes(bundle.locator_bytes())
    face = cv2.imread(str(sorted(DEMO_MEDIA.glob("*.png"))[0]))
    assert face is not None
    height, width = face.shape[:2]
    pictures = {
        "a.png": np.zeros_like(face),
        "b.png": face,
        "c.png": cv2.resize(face, (int(width * 0.7), height), interpolation=cv2.INTER_AREA),
    }
    for name, picture in pictures.items():
        assert cv2.imwrite(str(tmp_path / name), picture)
    (tmp_path / "d.png").write_bytes(b"not a picture")
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png")]
    assert [path.name for path in most_turned_first(paths, teacher)] == ["c.png", "b.png", "a.png", "d.png"]


def test_a_file_that_is_no_locator_is_refused(tmp_path):
    (tmp_path / "teacher.onnx").write_bytes(b"not a network")
    with pytest.raises(CheckpointError, match=r"teacher\.onnx"):
        most_turned_first([], tmp_path / "teacher.onnx")
