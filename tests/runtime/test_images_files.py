"""Reading and writing picture files, and what surrounds the pixels in them."""

import io
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fauxface import images
from fauxface.errors import ImageError, OutputError
from picture_bytes import (
    NOISE,
    QUADRANTS,
    VALID,
    chunk,
)


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


def test_what_was_warned_of_once_is_not_warned_of_again(tmp_path):
    images.write(tmp_path / "a.tif", np.zeros((8, 8, 3), np.uint8))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("default")
        for _ in range(3):
            warnings.warn("the host program's own", stacklevel=1)
            images.read(tmp_path / "a.tif")
    assert len(seen) == 1


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
