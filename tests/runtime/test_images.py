import io
import itertools
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fauxface import images
from fauxface.errors import ImageError, OutputError

RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (24, 32, 3), dtype=np.uint8)
RAMP = np.linspace(0, 255, 32).astype(np.uint8)[None].repeat(24, 0)
COLOURS = [(220, 30, 40), (30, 200, 60), (40, 60, 230), (240, 240, 20)]
QUADRANTS = np.zeros((64, 96, 3), np.uint8)
for _colour, (_row, _column) in zip(COLOURS, itertools.product((0, 32), (0, 48)), strict=True):
    QUADRANTS[_row : _row + 32, _column : _column + 48] = _colour


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    rows: np.ndarray, depth: int, colour: int, *chunks: bytes, size: tuple[int, int] | None = None
) -> bytes:
    """Build a PNG by hand: rows are bytes [H, N] as they are stored."""
    width, height = size or (rows.shape[1], rows.shape[0])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [chunk(b"IHDR", header), *chunks, chunk(b"IDAT", body), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(samples: np.ndarray, order: str = "<", **changed: int) -> bytes:
    """Build an uncompressed one-strip TIFF by hand; keyword arguments are tags by number, as in t262=0."""
    height, width = samples.shape[:2]
    count = samples.shape[2] if samples.ndim == 3 else 1
    sample_format = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    body = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    bits = samples.dtype.itemsize * 8
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: 2 if count == 3 else 1, 273: 8, 277: count}
    tags |= {278: height, 279: len(body), 339: sample_format} | {int(k[1:]): v for k, v in changed.items()}
    start = 8 + len(body)
    extra = struct.pack(f"{order}3H", bits, bits, bits), struct.pack(f"{order}3H", *[sample_format] * 3)
    after = start + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, value in sorted(tags.items()):
        if count == 3 and tag in (258, 339):
            entries += struct.pack(f"{order}HHII", tag, 3, 3, after + (6 if tag == 339 else 0))
        elif tag in (258, 259, 262, 277, 339, 274):
            entries += struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0)
        else:
            entries += struct.pack(f"{order}HHII", tag, 4, 1, value)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(tags)) + entries + struct.pack(f"{order}I", 0)
    return (
        magic + struct.pack(f"{order}I", start) + body + directory + (b"".join(extra) if count == 3 else b"")
    )


def gray3(gray: np.ndarray) -> np.ndarray:
    return np.repeat(np.asarray(gray, np.uint8)[:, :, None], 3, axis=2)


def over_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[:, :, None].astype(float) / 255
    return np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)


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
VALID = {
    "jpeg": encode(Image.fromarray(NOISE), "JPEG"),
    "progressive jpeg": encode(Image.fromarray(NOISE), "JPEG", progressive=True),
    "png": encode(Image.fromarray(NOISE), "PNG"),
    "webp": encode(Image.fromarray(NOISE), "WEBP"),
    "bmp": encode(Image.fromarray(NOISE), "BMP"),
    "tiff": encode(Image.fromarray(NOISE), "TIFF"),
    "lzw tiff": encode(Image.fromarray(NOISE), "TIFF", compression="tiff_lzw"),
    "palette png": encode(Image.fromarray(NOISE).quantize(16), "PNG", transparency=3),
}


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


FOREIGN = [
    (b"", "is empty"),
    (b"hello, this is no picture", "is not a supported picture"),
    (b"\0", "is not a supported picture"),
    (encode(Image.fromarray(NOISE), "GIF"), "GIF isn't supported"),
    (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC isn't supported"),
    (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF isn't supported"),
    (b"%PDF-1.7", "PDF isn't supported"),
    (encode(Image.fromarray(NOISE), "PPM"), "is not a supported picture"),
    (encode(Image.fromarray(NOISE), "ICO"), "is not a supported picture"),
]


@pytest.mark.parametrize(("data", "message"), FOREIGN)
def test_other_content_is_refused(data, message):
    with pytest.raises(ImageError, match=message) as caught:
        images.decode(data, name="x.jpg")
    assert str(caught.value).startswith("x.jpg: ")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("left", [0.3, 0.6, 0.9, -1])
def test_truncated_data_are_refused(name, left):
    data = VALID[name]
    data = data[:-1] if left == -1 else data[: int(len(data) * left)]
    with pytest.raises(ImageError, match="truncated"):
        images.decode(data)


def pillow_tolerant(data: bytes, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("name", ["jpeg", "progressive jpeg", "png", "bmp", "tiff"])
def test_tolerant_mode_equals_pillows_switch(name, monkeypatch):
    # The TIFF of this test has its directory in front, so that only pixels are lost.
    large = Image.fromarray(RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8))
    kind = {"progressive jpeg": "JPEG"}.get(name, name.upper())
    data = encode(large, kind, **({"progressive": True} if name.startswith("prog") else {}))
    cut = data[: len(data) * 6 // 10]
    with pytest.raises(ImageError, match="truncated"):
        images.decode(cut)
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    decoded = images.decode(cut, tolerant=True)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is before is False
    np.testing.assert_array_equal(decoded, pillow_tolerant(cut, monkeypatch))
    np.testing.assert_array_equal(images.decode(data, tolerant=True), images.decode(data))


def test_tolerant_mode_still_refuses_other_content():
    for data in (b"", b"no picture at all", VALID["png"][:20], VALID["webp"][:-9]):
        with pytest.raises(ImageError):
            images.decode(data, tolerant=True)


def test_tolerant_thread_leaves_strict_threads_alone():
    cut = VALID["jpeg"][: len(VALID["jpeg"]) * 9 // 10]
    accepted = []

    def strict() -> None:
        for _ in range(40):
            try:
                images.decode(cut)
                accepted.append(1)
            except ImageError:
                pass

    threads = [threading.Thread(target=strict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        assert images.decode(cut, tolerant=True).shape == NOISE.shape
    for thread in threads:
        thread.join()
    assert accepted == []


def test_flipped_bit_in_png_pixels_is_corrupt():
    data = bytearray(VALID["png"])
    data[data.index(b"IDAT") + 60] ^= 1
    with pytest.raises(ImageError, match="corrupt PNG"):
        images.decode(bytes(data))


def test_unsupported_samples_say_so():
    with pytest.raises(ImageError, match="corrupt or unsupported TIFF"):
        images.decode(tiff(NOISE.astype(np.float32)))


BOMBS = [
    ("png", png(np.zeros((1, 1), np.uint8), 8, 2, size=(60_000, 60_000))),
    ("bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 40_000, 40_000, 1, 24, 0, 0, 0, 0, 0, 0)),
    ("tiff", tiff(np.zeros((2, 2), np.uint8), t256=50_000, t257=50_000)),
    (
        "webp",
        b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\xff" * 6 + b"\0" * 8,
    ),
    ("jpeg", VALID["jpeg"].replace(struct.pack(">BHH", 8, 24, 32), struct.pack(">BHH", 8, 65000, 65000))),
]


@pytest.mark.parametrize("data", [bomb[1] for bomb in BOMBS], ids=[bomb[0] for bomb in BOMBS])
@pytest.mark.parametrize("tolerant", [False, True])
def test_decompression_bombs_are_refused_by_their_header(data, tolerant):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageError, match="too many pixels"):
            images.decode(data, tolerant=tolerant)


@pytest.mark.parametrize("name", VALID)
def test_cap_is_inclusive(name):
    height, width = NOISE.shape[:2]
    assert images.decode(VALID[name], max_pixels=height * width).shape == NOISE.shape
    with pytest.raises(ImageError, match=r"too many pixels: 32 x 24"):
        images.decode(VALID[name], max_pixels=height * width - 1)


def test_a_raised_cap_passes_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(images.decode(VALID["png"]), NOISE)
        assert images.decode(VALID["jpeg"]).shape == NOISE.shape


def test_messages_of_read_differ(tmp_path, monkeypatch):
    cases = {
        "missing": tmp_path / "missing.jpg",
        "folder": tmp_path,
        "empty": tmp_path / "empty.jpg",
        "text": tmp_path / "text.jpg",
        "truncated": tmp_path / "truncated.jpg",
        "corrupt": tmp_path / "corrupt.png",
        "large": tmp_path / "large.png",
        "locked": tmp_path / "locked.png",
        "nul": tmp_path / "a\0b.png",
    }
    cases["empty"].write_bytes(b"")
    cases["text"].write_text("no picture")
    cases["truncated"].write_bytes(VALID["jpeg"][:500])
    cases["corrupt"].write_bytes(VALID["png"].replace(b"IDAT", b"IDAS"))
    cases["large"].write_bytes(VALID["png"])
    plain_open = Path.open

    def guarded(self: Path, *args, **kwargs):
        if self.name == "locked.png":
            raise PermissionError(13, "Permission denied")
        return plain_open(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", guarded)
    messages = {}
    for name, path in cases.items():
        with pytest.raises(ImageError) as caught:
            images.read(path, max_pixels=700)
        messages[name] = str(caught.value).removeprefix(f"{path}: ".replace("\0", "\\x00"))
        assert messages[name].isprintable()
        assert ";" in messages[name]
    assert len(set(messages.values())) == len(cases)
    expected = {
        "missing": "no such file",
        "folder": "is a folder",
        "empty": "is empty",
        "text": "is not a supported picture",
        "truncated": "truncated JPEG",
        "corrupt": "corrupt",
        "large": "too many pixels",
        "locked": "permission denied",
        "nul": "can't be read",
    }
    for name, text in expected.items():
        assert text in messages[name]


def test_read_and_stdin_give_the_decoded_picture(tmp_path):
    (tmp_path / "wrong_suffix.jpg").write_bytes(VALID["png"])
    np.testing.assert_array_equal(images.read(tmp_path / "wrong_suffix.jpg"), NOISE)
    np.testing.assert_array_equal(images.read_stdin(io.BytesIO(VALID["png"])), NOISE)
    with pytest.raises(ImageError, match="standard input: is empty"):
        images.read_stdin(io.BytesIO())


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".png", ".webp", ".bmp", ".tif", ".tiff"])
def test_written_pictures_read_back(tmp_path, suffix):
    path = tmp_path / "new" / f"picture{suffix}"
    images.write(path, QUADRANTS)
    decoded = images.read(path)
    lossy = suffix.lower() in (".jpg", ".jpeg", ".webp")
    assert np.abs(decoded.astype(int) - QUADRANTS)[8:24, 8:40].max() <= (8 if lossy else 0)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_write_takes_views(tmp_path):
    images.write(tmp_path / "view.png", NOISE[::-1, ::-2])
    np.testing.assert_array_equal(images.read(tmp_path / "view.png"), NOISE[::-1, ::-2])


def test_write_refuses_what_it_cannot_write(tmp_path):
    with pytest.raises(OutputError, match=r"unknown picture suffix '\.gif'"):
        images.write(tmp_path / "a.gif", NOISE)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="can't write"):
        images.write(tmp_path / "file" / "a.png", NOISE)
    with pytest.raises(OutputError, match="can't write"):
        images.write(tmp_path / "wide.webp", np.zeros((1, 17_000, 3), np.uint8))
    with pytest.raises(ValueError, match="uint8"):
        images.write(tmp_path / "a.png", NOISE.astype(np.float32))
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def decoded_or_refused(data: bytes, tolerant: bool) -> None:
    try:
        decoded = images.decode(data, max_pixels=1_000_000, tolerant=tolerant)
    except ImageError as error:
        message = str(error)
    else:
        message = ""
        assert decoded.dtype == np.uint8
        assert decoded.ndim == 3
        assert decoded.shape[2] == 3
    assert message.isprintable()


MAGIC = st.sampled_from(
    [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBPVP8 ", b"BM", b"II*\0", b"MM\0*"]
)


@given(magic=MAGIC, tail=st.binary(max_size=300), tolerant=st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_bytes_raise_nothing_else(magic, tail, tolerant):
    decoded_or_refused(magic + tail, tolerant)


@given(name=st.sampled_from(sorted(VALID)), data=st.data(), tolerant=st.booleans())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_mutated_files_raise_nothing_else(name, data, tolerant):
    mutated = bytearray(VALID[name])
    for _ in range(data.draw(st.integers(0, 6))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.one_of(st.none(), st.integers(0, len(mutated))))
    decoded_or_refused(bytes(mutated[:cut]), tolerant)


@given(name=st.sampled_from(sorted(VALID)), data=st.data())
@settings(max_examples=100, deadline=None, derandomize=True)
def test_no_cut_file_is_accepted(name, data):
    cut = data.draw(st.integers(0, len(VALID[name]) - 1))
    with pytest.raises(ImageError):
        images.decode(VALID[name][:cut])
