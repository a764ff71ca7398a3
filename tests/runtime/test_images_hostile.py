import io
import struct
import threading
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from fauxface import images
from fauxface.errors import ImageError
from picture_bytes import (
    NOISE,
    RNG,
    VALID,
    encode,
    png,
    tiff,
)

FOREIGN = [
    (b"", "is empty"),
    (b"hello, this is no picture", "is not a supported picture"),
    (b"\0", "is not a supported picture"),
    (encode(Image.fromarray(NOISE), "GIF"), "GIF isn't supported"),
    (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC isn't supported"),
    (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF isn't supported"),
    (b"\0\0\0\x20ftypavis\0\0\0\0", "AVIF isn't supported"),
    (b"\0\0\0\x20ftypmsf1\0\0\0\0", "HEIF isn't supported"),
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


def test_the_usual_cap_is_100_megapixels():
    with pytest.raises(ImageError, match="cap of 100 megapixels"):
        images.decode(png(np.zeros((1, 1), np.uint8), 8, 2, size=(10_001, 10_000)))
    with pytest.raises(ImageError, match="truncated"):
        images.decode(png(np.zeros((1, 1), np.uint8), 8, 2, size=(10_000, 10_000)))
