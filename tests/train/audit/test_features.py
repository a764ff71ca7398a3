import io

import cv2
import numpy as np
import pytest
from PIL import Image

from fauxface.crops import Square
from fauxface_train.audit import features


def picture(seed=0, height=160, width=160):
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.random((9, 9, 3), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    noise = rng.normal(0, 8, (height, width, 3))
    return np.clip(40 + 160 * coarse + noise, 0, 255).astype(np.uint8)


def coded(rgb, **options):
    buffer = io.BytesIO()
    Image.fromarray(rgb).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def named(group, values):
    return dict(zip(features.GROUPS[group].names, values, strict=True))


@pytest.mark.parametrize("size", [(8, 8), (20, 300), (128, 128), (700, 1100)])
def test_every_pixel_group_has_its_names_and_finite_values(size):
    for rgb in (picture(1, *size), np.zeros((*size, 3), np.uint8), np.full((*size, 3), 255, np.uint8)):
        found = features.of_pixels(rgb)
        assert set(found) == {"blockiness", "colour", "gray", "sharpness", "border"}
        for name, values in found.items():
            assert len(values) == len(features.GROUPS[name].names)
            assert np.isfinite(values).all(), name


@pytest.mark.parametrize("quality", [30, 50, 75, 86, 95])
@pytest.mark.parametrize(("sampling", "expected"), [(0, 1), (1, 2), (2, 3)])
def test_jpeg_tables(quality, sampling, expected):
    data = coded(picture(), quality=quality, subsampling=sampling, progressive=sampling == 1)
    found = named("jpeg", features.jpeg_tables(data))
    assert found["is_jpeg"] == 1
    assert abs(found["quality"] - quality) < 2
    assert found["subsampling"] == expected
    assert found["progressive"] == (sampling == 1)
    assert found["luminance_step"] < found["chrominance_step"]


def test_gray_jpeg_has_one_table():
    buffer = io.BytesIO()
    Image.fromarray(picture()[..., 0]).save(buffer, "JPEG", quality=80)
    found = named("jpeg", features.jpeg_tables(buffer.getvalue()))
    assert found["luminance_step"] == found["chrominance_step"]


def test_png_has_no_tables():
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "PNG")
    assert features.jpeg_tables(buffer.getvalue()) == [0.0] * 6


def test_block_grid_shows_with_its_phase_and_period():
    smooth = cv2.GaussianBlur(picture(), (0, 0), 1.5)
    blocky = np.asarray(Image.open(io.BytesIO(coded(smooth, quality=25))))
    plain, grid = (named("blockiness", features.blockiness(rgb)) for rgb in (smooth, blocky))
    assert grid["grid_aligned"] > plain["grid_aligned"] + 0.3
    shifted = named("blockiness", features.blockiness(blocky[3:, 3:]))
    assert shifted["grid_aligned"] < grid["grid_aligned"] / 2
    assert shifted["grid_any_phase"] == pytest.approx(grid["grid_any_phase"], rel=0.3)
    rescaled = named("blockiness", features.blockiness(cv2.resize(blocky, (110, 110))))
    rescaled_plain = named("blockiness", features.blockiness(cv2.resize(smooth, (110, 110))))
    assert rescaled["grid_any_period"] > rescaled_plain["grid_any_period"] + 0.5


def test_large_pictures_keep_the_block_grid_in_the_window():
    large = cv2.GaussianBlur(picture(2, 900, 1003), (0, 0), 1.5)
    blocky = np.asarray(Image.open(io.BytesIO(coded(large, quality=25))))
    found = named("blockiness", features.blockiness(blocky))
    assert found["grid_aligned"] == pytest.approx(found["grid_any_phase"])
    assert found["grid_aligned"] > 0.3


def test_sharpness_falls_with_blur_and_gray_rises_without_colour():
    sharp = picture()
    soft = cv2.GaussianBlur(sharp, (0, 0), 2)
    bands = [features.sharpness(rgb) for rgb in (sharp, soft)]
    assert bands[0][0] > bands[1][0] + 1
    assert bands[0][-1] > bands[1][-1] + 2
    gray = np.repeat(sharp[..., :1], 3, axis=2)
    assert features.gray(gray) == [1.0, 0.0]
    assert features.gray(sharp)[0] < 0.5
    assert features.colour(gray)[-1] == 0


def test_border_tells_black_plain_and_mirrored():
    rgb = picture()
    plain = named("border", features.border(rgb))
    assert plain["plain_sides"] == 0
    black = cv2.copyMakeBorder(rgb, 12, 12, 0, 0, cv2.BORDER_CONSTANT)
    found = named("border", features.border(black))
    assert found["plain_sides"] == 2
    assert found["black_share"] > 0.4
    white = cv2.copyMakeBorder(rgb, 8, 8, 8, 8, cv2.BORDER_CONSTANT, value=(255,) * 3)
    found = named("border", features.border(white))
    assert found["white_share"] == 1
    assert found["ring_minus_inside"] > 50
    mirrored = cv2.copyMakeBorder(rgb, 24, 0, 0, 0, cv2.BORDER_REFLECT_101)
    assert named("border", features.border(mirrored))["mirrored"] < plain["mirrored"] - 0.5


@pytest.mark.parametrize(
    ("square", "share"),
    [
        (Square(0, 0, 10), 0.0),
        (Square(-5, 0, 10), 0.5),
        (Square(95, 75, 10), 0.75),
        (Square(-10, -10, 120), 1 - 8000 / 14400),
    ],
)
def test_outside_share(square, share):
    assert features.outside_share(square, 100, 80) == pytest.approx(share)


def test_tightness():
    values = named("tightness", features.tightness((25.0, 20.0, 50.0, 40.0), 1.0, 100, 80))
    assert values == {"face_over_picture": 50 / 80, "off_centre": 0.0, "outside_share": 0.0}
    loose = named("tightness", features.tightness((0.0, 0.0, 80.0, 80.0), 1.25, 100, 80))
    assert loose["outside_share"] == pytest.approx(1 - 90 * 80 / 100**2)
