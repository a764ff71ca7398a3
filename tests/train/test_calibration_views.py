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


def test_views_of_samples_follow_content_not_order(write_prepared):
    rows = [("val", "real", "camera", redness, {}) for redness in (0, 50, 100)]
    samples = PreparedData.load(write_prepared(rows)).samples()
    forward, backward = calibration_views.views(samples), calibration_views.views(samples[::-1])
    assert list(forward) == ["clean", "web", "hard"]
    for name in forward:
        assert np.array_equal(forward[name], backward[name][::-1])
    assert np.array_equal(forward["clean"], np.stack([load_crop(sample) for sample in samples]))
    assert sharpness(forward["clean"][0]) == 0
