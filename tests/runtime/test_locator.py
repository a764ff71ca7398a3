import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from fauxface import locator as locator_module
from fauxface.errors import BundleError
from fauxface.locator import Locator

SHARED = Path(os.environ.get("FAUXFACE_SHARED", Path(__file__).parents[3] / "shared"))
TINY_BUNDLE = Path(__file__).parents[1] / "data/tiny_bundle"


class FakeDetector:
    """Stands in for cv2.FaceDetectorYN: notes what it sees, returns given rows."""

    def __init__(self, rows):
        self.rows, self.size, self.seen = rows, None, None

    def setInputSize(self, size):  # noqa: N802
        self.size = size

    def detect(self, image):
        self.seen = image
        return 1, None if self.rows is None else np.asarray(self.rows, np.float32)


def make(monkeypatch, rows, max_side=640):
    detector = FakeDetector(rows)
    factory = type("Factory", (), {"create": staticmethod(lambda *args: detector)})
    monkeypatch.setattr(locator_module.cv2, "FaceDetectorYN", factory)
    return Locator(b"model", max_side=max_side), detector


def row(x, y, w, h, score=0.9):
    points = [x + w * 0.3, y + h * 0.4, x + w * 0.7, y + h * 0.4, x + w / 2, y + h * 0.6]
    return [x, y, w, h, *points, x + w * 0.3, y + h * 0.8, x + w * 0.7, y + h * 0.8, score]


def test_locations_are_in_full_resolution_pixels_and_sorted_by_area(monkeypatch):
    locator, detector = make(monkeypatch, [row(10, 20, 30, 40, 0.7), row(100, 50, 60, 60)], max_side=320)
    large, small = locator.locate(np.zeros((480, 1280, 3), np.uint8))
    assert detector.size == (320, 120)
    assert large.box == pytest.approx((400, 200, 240, 240))
    assert small.box == pytest.approx((40, 80, 120, 160))
    assert small.landmarks[0] == pytest.approx((4 * (10 + 9), 4 * (20 + 16)), rel=1e-6)
    assert len(small.landmarks) == 5
    assert small.score == pytest.approx(0.7)


def test_each_axis_has_its_own_scale(monkeypatch):
    locator, detector = make(monkeypatch, [row(0, 0, 100, 33)], max_side=100)
    (face,) = locator.locate(np.zeros((333, 1001, 3), np.uint8))
    assert detector.size == (100, 33)
    assert face.box[2:] == pytest.approx((1001, 333))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 48), (48, 64)), ((1, 1), (32, 32)), ((20, 40), (40, 32)), ((5000, 1), (32, 640))],
)
def test_never_enlarged_but_padded_to_32(monkeypatch, shape, size):
    locator, detector = make(monkeypatch, None)
    assert locator.locate(np.zeros((*shape, 3), np.uint8)) == []
    assert detector.size == size
    assert detector.seen.shape[1::-1] == size


def test_network_sees_bgr(monkeypatch):
    locator, detector = make(monkeypatch, None)
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 0] = 200
    locator.locate(image)
    assert detector.seen[0, 0].tolist() == [0, 0, 200]
    assert image[0, 0].tolist() == [200, 0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        row(10, 10, 0, 20),
        row(10, 10, -5, 20),
        row(np.nan, 10, 20, 20),
        row(10, 10, 20, np.inf),
        row(10, 10, 20, 20, np.nan),
        row(-30, 10, 40, 20),
        row(90, 10, 40, 20),
        row(10, 95, 20, 20),
    ],
)
def test_nonsense_and_faces_centred_outside_are_dropped(monkeypatch, bad):
    locator, _ = make(monkeypatch, [bad, row(40, 40, 20, 20)])
    assert [face.box for face in locator.locate(np.zeros((100, 100, 3), np.uint8))] == [(40, 40, 20, 20)]


@pytest.mark.parametrize(
    "data",
    [b"", b"not an onnx file" * 20, (TINY_BUNDLE / "classifier.onnx").read_bytes()],
    ids=["empty", "text", "another network"],
)
def test_other_files_are_refused(data, capfd):
    level = cv2.utils.logging.getLogLevel()
    with pytest.raises(BundleError, match="YuNet"):
        Locator(data)
    assert cv2.utils.logging.getLogLevel() == level
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("shape", "box"), [((200, 300), (60, 40, 90, 110)), ((1500, 2000), (500, 250, 600, 900))]
)
def test_opencv_runs_a_locator(shape, box, capfd):
    locator = Locator((TINY_BUNDLE / "locator.onnx").read_bytes())
    image = np.zeros((*shape, 3), np.uint8)
    x, y, w, h = box
    image[y : y + h, x : x + w] = (255, 90, 90)
    (face,) = locator.locate(image)
    assert face.box == pytest.approx(box, abs=0.02 * max(shape))
    assert face.score == pytest.approx(1)
    assert all(x < px < x + w and y < py < y + h for px, py in face.landmarks)
    assert locator.locate(np.zeros((*shape, 3), np.uint8)) == []
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_finds_faces_at_any_scale(capfd):
    models = sorted((SHARED / "models").glob("face_detection_yunet*.onnx"))
    pictures = sorted((SHARED / "scenes/images").glob("*"))
    if not models or not pictures:
        pytest.skip("the shared models and scenes aren't here")
    locator = Locator(models[0].read_bytes())
    image = cv2.cvtColor(cv2.imread(str(pictures[0])), cv2.COLOR_BGR2RGB)
    once = locator.locate(image)
    larger = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    again = locator.locate(larger)
    assert once
    assert again
    center = np.array(again[0].box[:2]) + np.array(again[0].box[2:]) / 2
    centers = [np.array(face.box[:2]) + np.array(face.box[2:]) / 2 for face in once]
    assert min(np.linalg.norm(center / 4 - other) for other in centers) < 10
    assert capfd.readouterr().err == ""
