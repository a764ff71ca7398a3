import subprocess
import sys

import cv2
import numpy as np
import pytest

from fauxface.errors import DataError
from fauxface_train import conditions

KEY = "ab" * 32


@pytest.fixture(scope="module")
def crop():
    """A smooth face-like pattern with fine detail on it."""
    rng = np.random.default_rng(0)
    smooth = cv2.resize(rng.integers(40, 216, (9, 9, 3), np.uint8), (128, 128), interpolation=cv2.INTER_CUBIC)
    grain = cv2.GaussianBlur(rng.normal(0, 24, (128, 128, 3)), (0, 0), 0.8)
    return np.clip(smooth + grain, 0, 255).astype(np.uint8)


def distance(condition, crop):
    return float(np.abs(condition.degrade(crop, KEY).astype(float) - crop).mean())


def named(name):
    return next(condition for condition in conditions.GRID if condition.name == name)


def test_the_grid_is_what_the_documentation_lists():
    assert " ".join(condition.name for condition in conditions.GRID) == (
        "jpeg95 jpeg85 jpeg75 jpeg60 jpeg45 jpeg30 webp80 webp50 scale75 scale50 scale25 blur1 blur2 noise4 "
        "noise10 jpeg60_half"
    )


@pytest.mark.parametrize("condition", conditions.GRID, ids=lambda c: c.name)
def test_a_condition_changes_a_copy_and_can_be_repeated(condition, crop):
    before = crop.copy()
    got = condition.degrade(crop, KEY)
    assert (got.dtype, got.shape) == (np.uint8, (128, 128, 3))
    assert got.flags.c_contiguous
    np.testing.assert_array_equal(crop, before)
    np.testing.assert_array_equal(got, condition.degrade(crop, KEY))
    assert 0.2 < distance(condition, crop) < 40


@pytest.mark.parametrize(
    "names",
    [
        ("jpeg95", "jpeg85", "jpeg75", "jpeg60", "jpeg45", "jpeg30"),
        ("webp80", "webp50"),
        ("scale75", "scale50", "scale25"),
        ("blur1", "blur2"),
        ("noise4", "noise10"),
        ("scale50", "jpeg60_half"),
    ],
    ids=lambda names: names[0],
)
def test_each_family_gets_harder(names, crop):
    distances = [distance(named(name), crop) for name in names]
    assert distances == sorted(distances)
    assert len(set(distances)) == len(names)


@pytest.mark.parametrize("name", [c.name for c in conditions.GRID])
def test_colours_stay_in_their_channels(name):
    red = np.zeros((128, 128, 3), np.uint8)
    red[..., 0] = 200
    got = named(name).degrade(red, KEY).reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(got, [200, 0, 0], atol=6)


def test_only_noise_depends_on_the_picture_s_name(crop):
    changed = {
        condition.name
        for condition in conditions.GRID
        if not np.array_equal(condition.degrade(crop, KEY), condition.degrade(crop, "cd" * 32))
    }
    assert changed == {"noise4", "noise10"}


def test_noise_has_the_stated_sigma():
    gray = np.full((128, 128, 3), 128, np.uint8)
    got = named("noise10").degrade(gray, KEY).astype(float) - 128
    assert got.std() == pytest.approx(10, rel=0.02)
    assert abs(np.corrcoef(got[..., 0].ravel(), got[..., 1].ravel())[0, 1]) < 0.03


def test_noise_is_the_same_in_another_process():
    code = (
        "import numpy as np; from fauxface_train.conditions import GRID; "
        f"print(int(GRID[-2].degrade(np.full((128, 128, 3), 128, np.uint8), '{KEY}').astype(int).sum()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = conditions.GRID[-2].degrade(np.full((128, 128, 3), 128, np.uint8), KEY).astype(int).sum()
    assert int(done.stdout) == here


def test_half_size_is_what_a_scan_of_a_64_px_face_sees(crop):
    from fauxface.crops import to_input

    small = cv2.resize(crop, (64, 64), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(named("scale50").degrade(crop, KEY), to_input(small))


@pytest.mark.parametrize("shape", [(96, 96, 3), (128, 128), (128, 128, 4)], ids=str)
def test_another_size_is_refused(shape):
    with pytest.raises(ValueError, match=r"uint8 \[128, 128, 3\]"):
        named("blur1").degrade(np.zeros(shape, np.uint8), KEY)


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("none", []),
        ("quick", ["jpeg60", "scale50", "jpeg60_half"]),
        ("all", [condition.name for condition in conditions.GRID]),
        ("blur2, jpeg30", ["jpeg30", "blur2"]),
    ],
)
def test_select(wanted, names):
    assert [condition.name for condition in conditions.select(wanted)] == names


@pytest.mark.parametrize("wanted", ["", "most", "jpeg60,jpeg61"])
def test_an_unknown_condition_is_refused(wanted):
    with pytest.raises(DataError, match=r"unknown condition '.*'; choose none, quick, all, or of jpeg95"):
        conditions.select(wanted)
