from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from fauxface import images
from fauxface import locator as locator_module
from fauxface.bundle import DEFAULT_BUNDLE
from fauxface.errors import BundleError
from fauxface.locator import Locator
from fauxface.yunet import OUTPUTS, STRIDES, WIDTHS
from memory_errors import SHORT

DATA = Path(__file__).parents[1] / "data"
DEMO = DEFAULT_BUNDLE.parent / "demo_media"
TINY = (DATA / "tiny_bundle/locator.onnx").read_bytes()


class FakeSession:
    """Stands in for ONNX Runtime: notes what it sees, returns given rows."""

    def __init__(self, rows):
        self.rows, self.seen = rows, None

    def run(self, names, feed):
        (self.seen,) = feed.values()
        return encode(self.rows, self.seen.shape[2:])


def encode(rows, size):
    """The twelve outputs that decode to these rows: each in a cell of its own at stride 8."""
    outputs = []
    for width in WIDTHS.values():
        outputs += [np.zeros((1, size[0] // s * (size[1] // s), width), np.float32) for s in STRIDES]
    with np.errstate(all="ignore"):
        for cell, values in enumerate(rows):
            x, y, w, h, *points, score = values
            corner = np.array(divmod(cell, size[1] // 8)[::-1], float)
            outputs[0][0, cell] = outputs[3][0, cell] = score
            outputs[6][0, cell, :2] = np.array([x + w / 2, y + h / 2]) / 8 - corner
            outputs[6][0, cell, 2:] = np.log(np.array([w, h]) / 8)
            outputs[9][0, cell] = np.array(points) / 8 - np.tile(corner, 5)
    return outputs


def make(rows, max_side=640, fixed=None):
    locator = Locator(TINY, max_side=max_side)
    session = FakeSession(rows)
    locator._session, locator._fixed = session, fixed
    return locator, session


def row(x, y, w, h, score=0.9):
    points = [x + w * 0.3, y + h * 0.4, x + w * 0.7, y + h * 0.4, x + w / 2, y + h * 0.6]
    return [x, y, w, h, *points, x + w * 0.3, y + h * 0.8, x + w * 0.7, y + h * 0.8, score]


def test_locations_are_in_full_resolution_pixels_and_sorted_by_area():
    locator, session = make([row(10, 20, 30, 40, 0.7), row(100, 50, 60, 60)], max_side=320)
    large, small = locator.locate(np.zeros((480, 1280, 3), np.uint8))
    assert session.seen.shape == (1, 3, 128, 320)
    assert large.box == pytest.approx((400, 200, 240, 240))
    assert small.box == pytest.approx((40, 80, 120, 160))
    assert small.landmarks[0] == pytest.approx((4 * (10 + 9), 4 * (20 + 16)), rel=1e-6)
    assert len(small.landmarks) == 5
    assert small.score == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("picture", "min_scale", "copy"),
    [
        ((512, 512), None, 512),
        ((1920, 1080), None, 1280),
        ((512, 300), 0.6, 512),
        ((640, 640), 0.6, 640),
        ((720, 1080), 0.6, 648),
        ((1920, 1080), 0.6, 1152),
        ((1080, 1920), 0.6, 1152),
        ((6000, 4000), 0.6, 1280),
        ((1920, 1080), 1.0, 1280),
    ],
)
def test_large_pictures_are_searched_in_a_finer_copy(picture, min_scale, copy):
    locator, session = make([], max_side=1280)
    locator.min_scale = min_scale
    width, height = picture
    assert round(locator.scale(width, height) * max(picture)) == copy
    locator.locate(np.zeros((height, width, 3), np.uint8))
    assert max(session.seen.shape[2:]) == -(-copy // 32) * 32


def test_a_fixed_input_limits_the_copy():
    locator, _ = make([], max_side=1280, fixed=(320, 320))
    locator.min_scale = 0.6
    assert locator.scale(1920, 1080) == pytest.approx(320 / 1920)
    assert locator.pixels(1920, 1080) == locator.pixels(160, 160) == 320 * 320


def test_each_axis_has_its_own_scale():
    locator, _ = make([row(0, 0, 100, 33)], max_side=100)
    (face,) = locator.locate(np.zeros((333, 1001, 3), np.uint8))
    # Three times halved, an odd row and column left out each time, then 125 to 100 and 41 to 33.
    assert face.box[2:] == pytest.approx((1000, 328))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((64, 48), (64, 64)), ((1, 1), (32, 32)), ((20, 40), (32, 64)), ((5000, 1), (640, 32))],
)
def test_never_enlarged_but_padded_to_multiples_of_32(shape, size):
    locator, session = make([])
    assert locator.locate(np.full((*shape, 3), 9, np.uint8)) == []
    assert session.seen.shape == (1, 3, *size)
    height, width = min(shape[0], 640), shape[1]
    assert (session.seen[0, :, :height, :width] == 9).all()
    assert session.seen.sum() == 27 * height * width


def test_padding_is_black_after_a_larger_picture():
    locator, session = make([])
    locator.locate(np.full((60, 60, 3), 200, np.uint8))
    locator.locate(np.full((40, 50, 3), 7, np.uint8))
    assert session.seen.shape == (1, 3, 64, 64)
    assert session.seen.sum() == 7 * 3 * 40 * 50


@pytest.mark.parametrize(
    ("shape", "inside"), [((40, 50), (40, 50)), ((640, 320), (64, 32)), ((100, 400), (24, 96))]
)
def test_network_of_a_fixed_size_sees_a_copy_that_fits(shape, inside):
    locator, session = make([row(4, 4, 16, 16)], fixed=(64, 96))
    (face,) = locator.locate(np.full((*shape, 3), 9, np.uint8))
    assert session.seen.shape == (1, 3, 64, 96)
    assert session.seen.sum() == 27 * inside[0] * inside[1]
    assert face.box[2] == pytest.approx(16 * shape[1] / inside[1], rel=0.02)


@pytest.mark.parametrize("bgr", [False, True])
def test_network_sees_bgr(bgr):
    locator, session = make([])
    image = np.zeros((64, 64, 3), np.uint8)
    image[..., 2 if bgr else 0] = 200
    locator.locate(image, bgr=bgr)
    assert session.seen[0, :, 0, 0].tolist() == [0, 0, 200]
    assert image[0, 0].tolist() == ([0, 0, 200] if bgr else [200, 0, 0])


@pytest.mark.parametrize("error", SHORT, ids=str)
@pytest.mark.parametrize("place", ["shrink", "network"])
def test_a_shortage_of_memory_does_not_blame_the_network(place, error, monkeypatch):
    locator, session = make([])

    def fail(*_):
        raise error

    if place == "network":
        monkeypatch.setattr(session, "run", fail)
    else:
        monkeypatch.setattr(locator_module, "shrink", fail)
    with pytest.raises(MemoryError):
        locator.locate(np.zeros((2000, 2000, 3), np.uint8))


def test_one_session_serves_several_threads():
    one = Locator(TINY)
    other = one.shared()
    assert other._session is one._session
    assert other._input is not one._input
    first, again = one.reopened(threads=2), one.reopened(threads=2)
    assert first._session is not one._session
    assert first._session is again._session, "opening it takes as long as several frames"
    assert first._input is not again._input


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
        row(-200, 10, 500, 20),
        row(-5e12, -5e12, 1e13, 1e13),
    ],
)
def test_nonsense_and_faces_centred_outside_are_dropped(bad):
    locator, _ = make([bad, row(40, 40, 20, 20)])
    (face,) = locator.locate(np.zeros((100, 100, 3), np.uint8))
    assert face.box == pytest.approx((40, 40, 20, 20), abs=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "isn't an ONNX model"),
        (b"not an onnx file" * 20, "isn't an ONNX model"),
        ((DATA / "tiny_bundle/classifier.onnx").read_bytes(), "YuNet's format: its input"),
        ((DATA / "attacks/external_data.onnx").read_bytes(), "external data"),
        ((DATA / "attacks/unknown_operator.onnx").read_bytes(), "can't load the locator"),
        (TINY.replace(b"cls_16", b"cls_17"), "no output cls_16"),
    ],
    ids=["empty", "text", "another network", "external data", "unknown operator", "another output"],
)
def test_other_files_are_refused(data, message, capfd):
    with pytest.raises(BundleError, match=message) as caught:
        Locator(data)
    assert "locator" in str(caught.value)
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("input", [1, 1, "H", "W"], r"\[1, 1, 'H', 'W'\], not tensor\(float\) \[1, 3, H, W\]"),
        ("input", [1, 3, 100, 100], "aren't multiples of 32"),
        ("input", [1, 3, 64, "W"], "aren't multiples of 32"),
        ("input", [1, 3, 1 << 20, 64], "with a side above 4096"),
        ("kps_32", [1, "N", 8], r"its output kps_32 .* not \[1, N, 10\]"),
        ("cls_8", ["N", 1], "its output cls_8"),
    ],
)
def test_other_shapes_are_refused(name, shape, message):
    def value(own, default):
        return SimpleNamespace(name=own, type="tensor(float)", shape=shape if own == name else default)

    outputs = [value(own, [1, "N", WIDTHS[own.split("_")[0]]]) for own in OUTPUTS]
    session = SimpleNamespace(
        get_inputs=lambda: [value("input", [1, 3, "H", "W"])], get_outputs=lambda: outputs
    )
    with pytest.raises(BundleError, match=message):
        locator_module._check_contract(session)


def test_network_whose_maps_have_other_sizes_fails_in_one_line():
    locator, session = make([])
    session.run = lambda names, feed: [output[:, :-1] for output in encode([], feed["input"].shape[2:])]
    with pytest.raises(BundleError, match="the locator failed: its output cls_8"):
        locator.locate(np.zeros((64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("shape", "box"), [((200, 300), (60, 40, 90, 110)), ((1500, 2000), (500, 250, 600, 900))]
)
def test_a_locator_runs(shape, box, capfd):
    locator = Locator(TINY)
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


def reference(model, image, score=0.6):
    """Return FaceDetectorYN's faces of an RGB picture that are centred inside it, largest first."""
    height, width = image.shape[:2]
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        detector = cv2.FaceDetectorYN.create(
            "onnx", np.frombuffer(model, np.uint8), np.zeros(0, np.uint8), (width, height), score, 0.3, 5000
        )
        _, rows = detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    finally:
        cv2.utils.logging.setLogLevel(level)
    rows = np.zeros((0, 15)) if rows is None else np.asarray(rows, np.float64)
    middle = rows[:, :2] + rows[:, 2:4] / 2
    rows = rows[((middle >= 0) & (middle < (width, height))).all(axis=1)]
    return rows[np.argsort(-rows[:, 2] * rows[:, 3], kind="stable")]


@pytest.fixture(scope="module")
def scene():
    """The demo's generated faces side by side at several scales, on a textured ground."""
    rng = np.random.default_rng(0)
    image = cv2.resize(rng.integers(60, 120, (24, 40, 3), np.uint8), (800, 480))
    pictures = [images.read(path) for path in sorted(DEMO.glob("*.png"))]
    x = 8
    for picture, side in zip(pictures * 2, (200, 120, 90, 150, 60, 40), strict=False):
        image[20 : 20 + side, x : x + side] = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
        x += side + 12
    image[300:480, 700:800] = cv2.resize(pictures[0], (180, 180))[:, :100]  # cut by the border
    return image


@pytest.mark.parametrize(
    ("size", "score"),
    [
        ((800, 480), 0.6),
        ((640, 384), 0.6),
        ((633, 381), 0.6),
        ((320, 192), 0.5),
        ((97, 61), 0.3),
        ((800, 480), 0.05),
    ],
)
def test_faces_are_those_of_face_detector_yn(scene, size, score):
    model = (DEFAULT_BUNDLE / "locator.onnx").read_bytes()
    image = scene if size == (800, 480) else cv2.resize(scene, size, interpolation=cv2.INTER_AREA)
    found = Locator(model, score, max_side=max(size)).locate(image)
    expected = reference(model, image, score)
    assert len(found) == len(expected) > 0
    for face, row_ in zip(found, expected, strict=True):
        np.testing.assert_allclose(face.box, row_[:4], atol=0.1)
        np.testing.assert_allclose(np.ravel(face.landmarks), row_[4:14], atol=0.1)
        assert face.score == pytest.approx(row_[14], abs=1e-3)


@pytest.mark.parametrize("factor", [1, 2, 2.5, 4])
def test_faces_are_found_at_any_scale(scene, factor):
    locator = Locator((DEFAULT_BUNDLE / "locator.onnx").read_bytes(), max_side=800)
    larger = cv2.resize(scene, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    # By place: faces of nearly one size may change places in the order.
    once, again = (sorted(locator.locate(image), key=lambda face: face.box[:2]) for image in (scene, larger))
    assert len(again) == len(once) >= 4
    for small, large in zip(once, again, strict=True):
        np.testing.assert_allclose(np.array(large.box) / factor, small.box, atol=0.06 * max(small.box[2:]))
