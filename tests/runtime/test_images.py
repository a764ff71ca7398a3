import io
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fauxface import images
from fauxface.errors import ImageError, OutputError
from picture_bytes import (
    COLOURS,
    NOISE,
    QUADRANTS,
    RAMP,
    RNG,
    VALID,
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


def test_standard_input_is_read_no_further_than_a_picture_reaches(monkeypatch):
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            assert size > 0
            Endless.asked += size
            return b"\xff\xd8\xff" + bytes(size - 3)

    with pytest.raises(ImageError, match="more bytes than a picture of 100 pixels needs"):
        images.read_stdin(Endless(), max_pixels=100)
    assert Endless.asked < 1 << 27
    with pytest.raises(ImageError, match="standard input: is not a supported picture"):
        images.read_stdin(io.BytesIO(b"GET / HTTP/1.1\r\n" * 9))
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(ImageError, match="standard input: is closed"):
        images.read_stdin()


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


def test_a_file_of_more_bytes_than_pixels_need_is_not_read(tmp_path, monkeypatch):
    """A whole-slide TIFF of 6 GB would take the memory before its header were looked at."""
    path = tmp_path / "a.png"
    images.write(path, NOISE)
    monkeypatch.setattr(images, "_BYTES_BESIDE", path.stat().st_size - 1)
    with pytest.raises(ImageError, match="more bytes than a picture of 0 pixels needs"):
        images.read(path, max_pixels=0)
    monkeypatch.setattr(images, "_BYTES_BESIDE", path.stat().st_size)
    with pytest.raises(ImageError, match="pixels"):
        images.read(path, max_pixels=0)


def test_a_file_that_does_not_fit_the_memory_is_one_line(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    images.write(path, NOISE)

    class Full:
        def __init__(self, file):
            self.file, self.reads = file, 0

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def fileno(self):
            return self.file.fileno()

        def read(self, *size):
            self.reads += 1
            if self.reads > 1:
                raise MemoryError
            return self.file.read(*size)

    plain_open = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *a: Full(plain_open(self, *a)))
    with pytest.raises(ImageError, match="doesn't fit the memory"):
        images.read(path)


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt"])
@pytest.mark.parametrize("behind", [False, True])
def test_a_png_with_a_long_profile_or_text_is_sound(kind, behind):
    """Pillow refuses those that unpack to more than a megabyte."""
    packed = zlib.compress(b"x" * 2_000_000)
    long = chunk(kind, (b"name\0\1\0en\0\0" if kind == b"iTXt" else b"name\0\0") + packed)
    at = VALID["png"].index(b"IEND" if behind and kind != b"iCCP" else b"IDAT") - 4
    data = VALID["png"][:at] + long + VALID["png"][at:]
    np.testing.assert_array_equal(images.decode(data), NOISE)
    np.testing.assert_array_equal(images.decode(data, tolerant=True), NOISE)


def test_a_png_keeps_the_orientation_beside_a_long_profile():
    """XMP in an uncompressed text says so, where there is no EXIF."""
    xmp = b'<x:xmpmeta><rdf:RDF><rdf:Description tiff:Orientation="3"/></rdf:RDF></x:xmpmeta>'
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
    profile = chunk(b"iCCP", b"name\0\0" + zlib.compress(b"x" * 2_000_000))
    at = VALID["png"].index(b"IDAT") - 4
    head, tail = VALID["png"][:at], VALID["png"][at:]
    turned = images.decode(head + text + tail)
    np.testing.assert_array_equal(turned, NOISE[::-1, ::-1])
    np.testing.assert_array_equal(images.decode(head + profile + text + tail), turned)


def test_warning_filters_of_the_caller_stay_as_they_are(tmp_path):
    """Also where threads decode while the caller's come and go."""
    images.write(tmp_path / "a.tif", np.zeros((8, 8, 3), np.uint8))
    with warnings.catch_warnings():
        before = list(warnings.filters)
        inside, leave = threading.Event(), threading.Event()

        def decode():
            with images._quiet():
                inside.set()
                leave.wait(10)

        thread = threading.Thread(target=decode)
        thread.start()
        inside.wait(10)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            leave.set()
            thread.join()
            assert warnings.filters[0][0] == "error"
        images.read(tmp_path / "a.tif")
        assert list(warnings.filters) == before


def test_large_files_are_read_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_LARGE_FILE", 10)
    images.write(tmp_path / "a.png", NOISE)
    inside, most = [], []
    whole = images._bytes_of

    def slow(*arguments):
        inside.append(1)
        most.append(len(inside))
        data = whole(*arguments)
        inside.pop()
        return data

    monkeypatch.setattr(images, "_bytes_of", slow)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(images.read, [tmp_path / "a.png"] * 12):
            np.testing.assert_array_equal(found, NOISE)
    assert most == [1] * 12
