import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from fauxface import images
from picture_bytes import (
    COLOURS,
    NOISE,
    QUADRANTS,
    RAMP,
    RNG,
    chunk,
    encode,
    gray3,
    over_white,
    png,
    tiff,
)

LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("WEBP", {"lossless": True}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_deflate"}),
    ("TIFF", {"compression": "packbits"}),
    ("TIFF", {"big_tiff": True}),
]


@pytest.mark.parametrize(("kind", "options"), LOSSLESS, ids=str)
def test_lossless_colour_is_exact(kind, options):
    decoded = images.decode(encode(Image.fromarray(NOISE), kind, **options))
    np.testing.assert_array_equal(decoded, NOISE)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_colour_keeps_channel_order(kind):
    decoded = images.decode(encode(Image.fromarray(QUADRANTS), kind, quality=95))
    assert np.abs(decoded[8:24, 8:40].mean((0, 1)) - COLOURS[0]).max() < 6
    assert np.abs(decoded[40:56, 56:88].mean((0, 1)) - COLOURS[3]).max() < 6


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
@pytest.mark.parametrize("mode", ["1", "L", "P"])
def test_modes_of_few_values_are_exact(kind, mode):
    if mode == "1":
        image, expected = Image.fromarray(RAMP > 100), gray3(np.where(RAMP > 100, 255, 0))
    elif mode == "L":
        image, expected = Image.fromarray(RAMP), gray3(RAMP)
    else:
        image = Image.fromarray(NOISE).quantize(32)
        expected = np.array(image.convert("RGB"))
    np.testing.assert_array_equal(images.decode(encode(image, kind)), expected)


def test_gray_jpeg_is_gray():
    decoded = images.decode(encode(Image.fromarray(RAMP), "JPEG", quality=100))
    assert np.abs(decoded.astype(int) - gray3(RAMP)).max() <= 2
    assert (decoded == decoded[:, :, :1]).all()


def test_a_bmp_whose_fourth_byte_is_unused_is_opaque():
    """As some programs write it: with a mask for alpha, and zero in all of it."""
    height, width = NOISE.shape[:2]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    info = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, 0, 0, 0, 0, 0) + masks + bytes(52)
    bgra = np.dstack([NOISE[::-1, :, ::-1], np.zeros((height, width), np.uint8)])
    head = b"BM" + struct.pack("<IHHI", 14 + len(info) + bgra.nbytes, 0, 0, 14 + len(info))
    np.testing.assert_array_equal(images.decode(head + info + bgra.tobytes()), NOISE)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_composited_over_white(kind):
    alpha = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))
    rgba = np.dstack([NOISE, alpha])
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = images.decode(encode(Image.fromarray(rgba), kind, **options))
    assert np.abs(decoded.astype(int) - over_white(NOISE, alpha)).max() <= 1
    assert (decoded[:, 0] == 255).all()
    np.testing.assert_array_equal(decoded[:, -1], NOISE[:, -1])


def test_gray_alpha_is_composited_over_white():
    alpha = np.where(RAMP > 100, 255, 0).astype(np.uint8)
    decoded = images.decode(encode(Image.fromarray(np.dstack([RAMP, alpha])), "PNG"))
    np.testing.assert_array_equal(decoded, over_white(gray3(RAMP), alpha))


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])], ids=["one entry", "table"])
def test_palette_transparency_is_composited_over_white(transparency):
    image = Image.fromarray(np.tile(np.array([[0, 1, 2]], np.uint8), (4, 1)), "P")
    image.putpalette([10, 20, 30, 40, 50, 60, 100, 110, 120])
    decoded = images.decode(encode(image, "PNG", transparency=transparency))
    assert decoded[0, :2].tolist() == [[10, 20, 30], [255, 255, 255]]
    half = [100, 110, 120] if transparency == 1 else [177, 182, 187]
    assert np.abs(decoded[0, 2].astype(int) - half).max() <= 1


TRANSPARENT_KEYS = [
    (
        "1-bit",
        png(np.full((4, 1), 0b10100000, np.uint8), 1, 0, chunk(b"tRNS", b"\0\0"), size=(3, 4)),
        [255] * 3,
    ),
    (
        "2-bit",
        png(np.full((4, 1), 0b00011000, np.uint8), 2, 0, chunk(b"tRNS", b"\0\2"), size=(3, 4)),
        [0, 85, 255],
    ),
    (
        "4-bit",
        png(np.full((4, 2), 0x5A, np.uint8), 4, 0, chunk(b"tRNS", b"\0\x0a"), size=(3, 4)),
        [85, 255, 85],
    ),
    ("8-bit", png(np.full((4, 3), (7, 9, 9), np.uint8), 8, 0, chunk(b"tRNS", b"\0\7")), [255, 9, 9]),
    (
        "16-bit",
        png(np.full((4, 6), (1, 2, 1, 3, 9, 0), np.uint8), 16, 0, chunk(b"tRNS", b"\1\2"), size=(3, 4)),
        [255, 1, 9],
    ),
]


@pytest.mark.parametrize(
    ("data", "row"), [case[1:] for case in TRANSPARENT_KEYS], ids=[c[0] for c in TRANSPARENT_KEYS]
)
def test_transparent_gray_value_becomes_white(data, row):
    np.testing.assert_array_equal(images.decode(data), gray3(np.tile(row, (4, 1))))


@pytest.mark.parametrize(("depth", "key"), [(8, b"\0\1\0\2\0\3"), (16, b"\1\1\2\2\3\3")])
def test_transparent_colour_becomes_white(depth, key):
    pixels = np.array([1, 2, 3, 4, 5, 6], np.uint8)
    row = pixels if depth == 8 else np.repeat(pixels, 2)
    data = png(np.tile(row, (2, 1)), depth, 2, chunk(b"tRNS", key), size=(2, 2))
    assert images.decode(data)[0].tolist() == [[255, 255, 255], [4, 5, 6]]


WIDE = (RAMP.astype(np.uint16) << 8) | RNG.integers(0, 256, RAMP.shape, dtype=np.uint16)
WIDE_RGB = (NOISE.astype(np.uint16) << 8) | RNG.integers(0, 256, NOISE.shape, dtype=np.uint16)
SIGNED = (WIDE >> 1).astype(np.int16)
UNIT = RAMP.astype(np.float32) / 255
DEEP = [
    ("png gray", encode(Image.fromarray(WIDE), "PNG"), gray3(RAMP)),
    ("png rgb", png(WIDE_RGB.astype(">u2").view(np.uint8).reshape(24, -1), 16, 2, size=(32, 24)), NOISE),
    ("tiff gray little", tiff(WIDE), gray3(RAMP)),
    ("tiff gray big", tiff(WIDE, ">"), gray3(RAMP)),
    ("tiff gray lzw", encode(Image.fromarray(WIDE), "TIFF", compression="tiff_lzw"), gray3(RAMP)),
    ("tiff white is zero", tiff(WIDE, t262=0), gray3(255 - RAMP)),
    ("tiff signed little", tiff(SIGNED), gray3(RAMP)),
    ("tiff signed big", tiff(SIGNED, ">"), gray3(RAMP)),
    ("tiff negative", tiff(np.full((4, 4), -5, np.int16)), np.zeros((4, 4, 3))),
    ("tiff rgb little", tiff(WIDE_RGB), NOISE),
    ("tiff rgb big", tiff(WIDE_RGB, ">"), NOISE),
    ("int32 of 8 bits", tiff(RAMP.astype(np.int32)), gray3(RAMP)),
    ("int32 of 16 bits", tiff(WIDE.astype(np.int32), ">"), gray3(RAMP)),
    ("int32 of 24 bits", tiff(WIDE.astype(np.int32) << 8), gray3(RAMP)),
    ("uint32 full", tiff(WIDE.astype(np.uint32) << 16), gray3(RAMP)),
    ("float 0..1", tiff(UNIT), gray3(RAMP)),
    ("float 0..1 big", tiff(UNIT, ">"), gray3(RAMP)),
    ("float 0..255", tiff(UNIT * 255), gray3(RAMP)),
    ("float 0..65535", tiff(UNIT * 65535), gray3(RAMP)),
    ("float beyond", tiff(UNIT * 1e6), gray3(RAMP)),
    ("float overshoot", tiff(np.array([[-0.5, 0, 1, 1.4]], np.float32)), gray3([[0, 0, 255, 255]])),
    (
        "float not a number",
        tiff(np.array([[np.nan, -np.inf, 1, np.inf]], np.float32)),
        gray3([[0, 0, 255, 255]]),
    ),
]


@pytest.mark.parametrize(("data", "expected"), [case[1:] for case in DEEP], ids=[case[0] for case in DEEP])
def test_deep_samples_are_scaled(data, expected):
    np.testing.assert_array_equal(images.decode(data), expected)


def test_16_bit_gray_with_alpha_is_composited():
    stored = np.dstack([WIDE, np.where(RAMP > 100, 65535, 0)]).astype(">u2").view(np.uint8).reshape(24, -1)
    alpha = np.where(RAMP > 100, 255, 0)
    np.testing.assert_array_equal(
        images.decode(png(stored, 16, 4, size=(32, 24))), over_white(gray3(RAMP), alpha)
    )


def test_12_bit_gray_is_scaled_by_its_depth():
    values = np.array([0, 0x123, 0x800, 0xFFF] * 2, np.uint16).reshape(2, 4)
    packed = np.array([[0x00, 0x01, 0x23, 0x80, 0x0F, 0xFF]] * 2, np.uint8)
    data = tiff(packed, t256=4, t258=12, t279=12)
    np.testing.assert_array_equal(images.decode(data), gray3(values >> 4))


@pytest.mark.parametrize("adobe", [True, False], ids=["adobe", "plain"])
def test_cmyk_jpeg_keeps_its_colours(adobe):
    data = encode(Image.fromarray(QUADRANTS).convert("CMYK"), "JPEG", quality=95, subsampling=0)
    if not adobe:  # inverted samples without the marker that says so, as some cameras and printers write them
        start = data.index(b"\xff\xee")
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    decoded = images.decode(data)
    for row, column in ((16, 24), (16, 72), (48, 24), (48, 72)):
        assert np.abs(decoded[row, column].astype(int) - QUADRANTS[row, column]).max() <= 6


def test_cmyk_tiff_keeps_its_colours():
    data = encode(Image.fromarray(NOISE).convert("CMYK"), "TIFF")
    np.testing.assert_array_equal(images.decode(data), NOISE)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind, orientation):
    stored = {
        1: QUADRANTS,
        2: QUADRANTS[:, ::-1],
        3: QUADRANTS[::-1, ::-1],
        4: QUADRANTS[::-1],
        5: QUADRANTS.transpose(1, 0, 2),
        6: np.rot90(QUADRANTS, 1),
        7: np.rot90(QUADRANTS, 2).transpose(1, 0, 2),
        8: np.rot90(QUADRANTS, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {"quality": 95} if kind == "JPEG" else {}
    decoded = images.decode(encode(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, **options))
    assert decoded.shape == QUADRANTS.shape
    assert np.abs(decoded.astype(int) - QUADRANTS)[8:24, 8:40].max() <= (8 if kind == "JPEG" else 0)
    assert np.abs(decoded.astype(int) - QUADRANTS)[40:56, 56:88].max() <= (8 if kind == "JPEG" else 0)
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_unknown_orientation_is_ignored(orientation):
    np.testing.assert_array_equal(images.decode(tiff(WIDE_RGB, t274=orientation)), NOISE)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage garbage", b"\0" * 9]
)
def test_broken_exif_neither_fails_nor_warns(exif):
    plain, data = (encode(Image.fromarray(NOISE), "JPEG", **options) for options in ({}, {"exif": exif}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(images.decode(data), images.decode(plain))


@pytest.mark.parametrize(
    ("kind", "options"),
    [("WEBP", {"lossless": True}), ("TIFF", {}), ("PNG", {})],
    ids=["webp", "tiff", "apng"],
)
def test_first_frame_of_many(kind, options):
    more = [Image.fromarray(255 - NOISE), Image.fromarray(NOISE // 2)]
    data = encode(Image.fromarray(NOISE), kind, save_all=True, append_images=more, **options)
    np.testing.assert_array_equal(images.decode(data), NOISE)
