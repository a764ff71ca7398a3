import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fauxface import crops
from fauxface.crops import Square

DATA = Path(__file__).parents[1] / "data"
GRID = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)


def load_script():
    spec = importlib.util.spec_from_file_location(
        "make_preprocess_golden", DATA / "make_preprocess_golden.py"
    )
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


SCRIPT = load_script()


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(DATA / "preprocess_golden.npz") as stored:
        return dict(stored)


def test_golden_file_holds_every_size(golden):
    assert sorted(golden) == sorted(f"side_{side}" for side in SCRIPT.SIDES)
    assert min(SCRIPT.SIDES) == 17
    assert max(SCRIPT.SIDES) == 900


@pytest.mark.parametrize("side", SCRIPT.SIDES)
def test_input_equals_the_golden_vectors(golden, side):
    made = crops.to_input(SCRIPT.picture(side))
    # OpenCV rounds halves one way or the other, depending on the vector instructions of the machine.
    assert np.abs(made.astype(int) - golden[f"side_{side}"]).max() <= 1
    assert np.mean(made != golden[f"side_{side}"]) < 0.01


def by_the_specification(crop):
    """What docs/bundle.md says of crop.resize, in floating point: float64 [128, 128, 3]."""
    made = crop.astype(float)
    while len(made) >= 256:
        half = len(made) // 2
        made = np.floor(made[: 2 * half, : 2 * half].reshape(half, 2, half, 2, 3).mean((1, 3)) + 0.5)
    at = np.clip((np.arange(128) + 0.5) * len(made) / 128 - 0.5, 0, len(made) - 1)
    low = at.astype(int)
    high = np.minimum(low + 1, len(made) - 1)
    part = (at - low)[:, None, None]
    rows = made[low] * (1 - part) + made[high] * part
    part = part.reshape(1, -1, 1)
    return rows[:, low] * (1 - part) + rows[:, high] * part


@pytest.mark.parametrize("side", SCRIPT.SIDES)
def test_golden_vectors_are_what_the_specification_says(golden, side):
    assert np.abs(golden[f"side_{side}"] - by_the_specification(SCRIPT.picture(side))).max() <= 2


def test_golden_vectors_tell_kernels_apart(golden):
    """The tolerance above is far below what another kernel or colour order would change."""
    crop = SCRIPT.picture(512)
    for kernel in (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4):
        other = cv2.resize(crop, (128, 128), interpolation=kernel)
        assert np.abs(other.astype(int) - golden["side_512"]).max() > 20
    area = cv2.resize(SCRIPT.picture(333), (128, 128), interpolation=cv2.INTER_AREA)
    assert np.abs(area.astype(int) - golden["side_333"]).max() > 20
    assert np.abs(golden["side_512"][:, :, ::-1].astype(int) - golden["side_512"]).max() > 20


@pytest.mark.parametrize(("factor", "rounding"), [(2, 0.51), (4, 1.01), (8, 1.51)])
def test_shrinking_by_halves_is_the_mean_of_the_box(factor, rounding):
    crop = SCRIPT.picture(128 * factor)
    means = crop.reshape(128, factor, 128, factor, 3).mean((1, 3))
    assert np.abs(crops.to_input(crop) - means).max() <= rounding


@pytest.mark.parametrize("side", [1, 2, 17, 127, 128, 129, 300])
def test_input_is_contiguous_uint8(side):
    view = SCRIPT.picture(side + 5)[2 : 2 + side, 3 : 3 + side]
    made = crops.to_input(view)
    assert made.shape == (128, 128, 3)
    assert made.dtype == np.uint8
    assert made.flags.c_contiguous
    np.testing.assert_array_equal(made, crops.to_input(view.copy()))


def test_input_of_the_right_size_is_unchanged():
    crop = SCRIPT.picture(128)
    made = crops.to_input(crop)
    np.testing.assert_array_equal(made, crop)
    assert not np.shares_memory(made, crop)


@pytest.mark.parametrize("side", [17, 128, 500])
def test_flat_colour_stays_flat(side):
    crop = np.full((side, side, 3), (3, 128, 251), np.uint8)
    assert (crops.to_input(crop) == (3, 128, 251)).all()


@pytest.mark.parametrize(
    "crop",
    [
        np.zeros((64, 64, 3), np.float32),
        np.zeros((64, 64), np.uint8),
        np.zeros((64, 64, 4), np.uint8),
        np.zeros((64, 63, 3), np.uint8),
    ],
    ids=["float", "gray", "alpha", "oblong"],
)
def test_other_crops_are_refused(crop):
    with pytest.raises(ValueError, match="crop must be uint8"):
        crops.to_input(crop)


SQUARES = [
    ((10, 20, 100, 100), 1.0, Square(10, 20, 100)),
    ((10, 20, 100, 100), 1.2, Square(0, 10, 120)),
    ((10, 20, 50, 100), 1.0, Square(-15, 20, 100)),
    ((10, 20, 100, 50), 2.0, Square(-40, -55, 200)),
    ((0.4, 0.4, 0.1, 0.1), 1.0, Square(0, 0, 1)),
    ((5, 5, 0, 0), 1.2, Square(4, 4, 1)),
]


@pytest.mark.parametrize(("box", "margin", "square"), SQUARES)
def test_face_square(box, margin, square):
    assert crops.face_square(box, margin) == square


@given(
    x=st.floats(-500, 5000),
    y=st.floats(-500, 5000),
    w=st.floats(1, 3000),
    h=st.floats(1, 3000),
    margin=st.floats(1, 3),
)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_face_square_keeps_centre_and_covers_the_face(x, y, w, h, margin):
    square = crops.face_square((x, y, w, h), margin)
    assert abs(square.side - margin * max(w, h)) <= 0.5 + 1e-6 or square.side == 1
    assert abs(square.x + square.side / 2 - (x + w / 2)) <= 0.5 + 1e-6
    assert abs(square.y + square.side / 2 - (y + h / 2)) <= 0.5 + 1e-6
    assert square.x <= x + 1 + 1e-6
    assert square.x + square.side >= x + w - 1 - 1e-6


@pytest.mark.parametrize(
    ("width", "height", "square"),
    [(8, 6, Square(1, 0, 6)), (6, 8, Square(0, 1, 6)), (7, 7, Square(0, 0, 7)), (8, 5, Square(1, 0, 5))],
)
def test_whole_square(width, height, square):
    assert crops.whole_square(width, height) == square


def test_inner_square_is_a_view():
    cut = crops.extract(GRID, Square(2, 1, 4))
    np.testing.assert_array_equal(cut, GRID[1:5, 2:6])
    assert np.shares_memory(cut, GRID)


@pytest.mark.parametrize(
    "square",
    [
        Square(-3, 0, 6),
        Square(4, 0, 6),
        Square(0, -2, 6),
        Square(0, 3, 6),
        Square(-2, -2, 12),
        Square(-4, -5, 10),
    ],
)
def test_padding_is_reflect_101(square):
    pad = 5
    padded = cv2.copyMakeBorder(GRID, pad, pad, pad, pad, cv2.BORDER_REFLECT_101)
    x, y = square.x + pad, square.y + pad
    expected = padded[y : y + square.side, x : x + square.side]
    assert expected.shape == (square.side, square.side, 3)
    np.testing.assert_array_equal(crops.extract(GRID, square), expected)


def test_padding_beyond_the_picture_mirrors_again():
    expected = np.pad(GRID, ((20, 20), (20, 20), (0, 0)), mode="reflect")[:46, :46]
    np.testing.assert_array_equal(crops.extract(GRID, Square(-20, -20, 46)), expected)


def test_padding_of_a_single_pixel_repeats_it():
    pixel = np.full((1, 1, 3), (1, 2, 3), np.uint8)
    assert (crops.extract(pixel, Square(-2, -3, 6)) == (1, 2, 3)).all()


@pytest.mark.parametrize("square", [Square(8, 0, 4), Square(-4, 0, 4), Square(0, 6, 3), Square(0, -9, 3)])
def test_square_beside_the_picture_is_refused(square):
    with pytest.raises(ValueError, match="doesn't overlap"):
        crops.extract(GRID, square)


@given(x=st.integers(-30, 30), y=st.integers(-30, 30), side=st.integers(1, 50))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_any_overlapping_square_has_its_size_and_true_inner_pixels(x, y, side):
    height, width = GRID.shape[:2]
    overlaps = x < width and y < height and x + side > 0 and y + side > 0
    if not overlaps:
        with pytest.raises(ValueError, match="doesn't overlap"):
            crops.extract(GRID, Square(x, y, side))
        return
    cut = crops.extract(GRID, Square(x, y, side))
    assert cut.shape == (side, side, 3)
    assert cut.dtype == np.uint8
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + side, width), min(y + side, height)
    np.testing.assert_array_equal(cut[y0 - y : y1 - y, x0 - x : x1 - x], GRID[y0:y1, x0:x1])
    mirrored = np.pad(GRID, ((80, 80), (80, 80), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(cut, mirrored[y + 80 : y + 80 + side, x + 80 : x + 80 + side])


@pytest.mark.parametrize(
    ("shape", "size", "factors"),
    [
        ((80, 160), (40, 20), (4, 4)),
        ((81, 163), (40, 20), (4, 4)),
        ((60, 90), (60, 40), (1.5, 1.5)),
        ((100, 400), (100, 25), (4, 4)),
        ((7, 300), (30, 4), (10, 7 / 4)),
    ],
)
def test_shrinking(shape, size, factors):
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (3, 4, 3), np.uint8)
    image = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_LINEAR)
    small, found = crops.shrink(image, size)
    assert small.shape == (size[1], size[0], 3)
    assert found == pytest.approx(factors)
    area = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - area).mean() < 4
