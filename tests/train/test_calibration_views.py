import cv2
import numpy as np
import pytest

from fauxface.crops import Square, extract, to_input
from fauxface.gates import sharpness
from fauxface_train import calibration_views
from fauxface_train.dataset import PreparedData, load_crop

SQUARE = Square(20, 20, 160)


@pytest.fixture(scope="module")
def stored():
    small = np.random.default_rng(0).integers(0, 256, (50, 50, 3), np.uint8)
    return cv2.resize(small, (200, 200), interpolation=cv2.INTER_CUBIC)


def test_clean_is_what_the_runtime_sees(stored):
    got = calibration_views.view(stored, SQUARE, "clean", 5)
    assert np.array_equal(got, to_input(extract(stored, SQUARE)))


@pytest.mark.parametrize("condition", ["web", "hard"])
def test_a_view_depends_on_its_key_alone(stored, condition):
    first, again, other = (calibration_views.view(stored, SQUARE, condition, key) for key in (5, 5, 6))
    assert first.shape == (128, 128, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_conditions_get_worse_in_their_order(stored):
    def damage(condition):
        clean = calibration_views.view(stored, SQUARE, "clean", 0).astype(float)
        views = [calibration_views.view(stored, SQUARE, condition, key) for key in range(8)]
        return np.mean([np.abs(v - clean).mean() for v in views])

    assert 0 == damage("clean") < damage("web") < damage("hard")


@pytest.mark.parametrize("side", [8, 40, 127, 320])
@pytest.mark.parametrize("condition", calibration_views.CONDITIONS)
def test_faces_of_any_size(condition, side):
    crop = np.full((side, side, 3), 100, np.uint8)
    assert calibration_views.view(crop, Square(0, 0, side), condition, 1).shape == (128, 128, 3)


@pytest.mark.parametrize("condition", calibration_views.CONDITIONS)
def test_framings_differ_a_little_and_always_alike(stored, condition):
    seen = [calibration_views.view(stored, SQUARE, condition, 7, framing) for framing in range(4)]
    again = [calibration_views.view(stored, SQUARE, condition, 7, framing) for framing in range(4)]
    assert np.array_equal(seen, again)
    for one in range(4):
        for other in range(one):
            assert not np.array_equal(seen[one], seen[other])


def test_odd_framings_are_mirrored():
    ramp = np.repeat(np.repeat(np.linspace(20, 230, 200).astype(np.uint8)[None, :, None], 200, 0), 3, 2)
    rising = [
        np.all(np.diff(calibration_views.view(ramp, SQUARE, "clean", 9, framing)[64, ::8, 0].astype(int)) > 0)
        for framing in range(4)
    ]
    assert rising == [True, False, True, False]


def test_a_framing_moves_the_square_as_little_as_promised():
    # A picture whose colours are its coordinates shows what was cut.
    across = np.arange(200, dtype=np.uint8)
    picture = np.stack([*np.meshgrid(across, across), np.zeros((200, 200), np.uint8)], axis=2)
    for key in range(40):
        view = calibration_views.view(picture, SQUARE, "clean", key, 2).astype(float)
        centre = view[60:68, 60:68, :2].mean(axis=(0, 1))
        assert np.abs(centre - 99.5).max() <= 0.02 * 160 + 1.5
        side = (view[64, 120, 0] - view[64, 8, 0]) * 128 / 112
        assert 0.95 * 160 - 3 <= side <= 1.05 * 160 + 3


def test_views_of_samples_follow_content_not_order(write_prepared):
    rows = [("val", "real", "camera", redness, {}) for redness in (0, 50, 100)]
    samples = PreparedData.load(write_prepared(rows)).samples()
    forward, backward = calibration_views.views(samples), calibration_views.views(samples[::-1])
    assert list(forward) == ["clean", "web", "hard"]
    for name in forward:
        assert np.array_equal(forward[name], backward[name][::-1])
    assert np.array_equal(forward["clean"], np.stack([load_crop(sample) for sample in samples]))
    assert sharpness(forward["clean"][0]) == 0
