"""Pictures in and out: safe decoding to upright 8-bit RGB, and atomic writing.

Only JPEG, PNG, WebP, BMP and TIFF are ever opened, by their content and not by their suffix. What comes out:

- The first frame or page, upright by the EXIF orientation, or by XMP's where EXIF has none.
- Transparent pixels are composited over white, as a browser or a viewer shows them on a blank page.
- 16-bit colour and gray keep their high byte. 12-bit gray is scaled by its own depth.
- 32-bit integer gray is taken as 8-bit up to a maximum of 255, as 16-bit up to 65535, and is beyond that
  scaled by the smallest power of two that holds its maximum.
- Float gray is taken as 0..1 up to a maximum of 2 (overshoot is clipped), else as 0..255, as 0..65535, or
  scaled by its maximum. Negative and NaN become black, infinity white.
- Colour profiles are not applied: the pixel values count, as they do in training.
"""

import io
import os
import re
import struct
import sys
import threading
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from fauxface import pixels
from fauxface.errors import ImageError, OutputError
from fauxface.files import atomic_write

DEFAULT_MAX_PIXELS = 100_000_000
"""Pictures of more than 100 megapixels (300 MB once decoded) are refused unless the caller raises the cap."""

_OPENERS = {
    "JPEG": JpegImagePlugin.jpeg_factory,
    "PNG": PngImagePlugin.PngImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
}
_SUPPORTED = "JPEG, PNG, WebP, BMP or TIFF"
_JPEG_END = b"\xff\xd9"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = (b"II\x2a\x00", b"MM\x00\x2a", b"II\x2b\x00", b"MM\x00\x2b")
_TIFF_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
FOREIGN = (
    (0, b"GIF8", "GIF"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "Photoshop"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (4, (b"ftypavif", b"ftypavis"), "AVIF"),
    (4, b"ftyphe", "HEIC"),
    (4, (b"ftypmif1", b"ftypmsf1"), "HEIF"),
)
_PREFIX = 32
_BYTES_PER_PIXEL, _BYTES_BESIDE = 8, 64 << 20
MOST_BYTES = _BYTES_PER_PIXEL * DEFAULT_MAX_PIXELS + _BYTES_BESIDE
"""No picture under the default cap has a longer file."""

_CHUNK = 1 << 20
_UNPACKS_TOO_LARGE = re.compile("Decompressed data too large|Too much memory used in text chunks")
_ORIENTATION = 0x0112
_SAVE_OPTIONS = {
    ".jpg": ("JPEG", {"quality": 92}),
    ".jpeg": ("JPEG", {"quality": 92}),
    ".png": ("PNG", {"compress_level": 3}),
    ".webp": ("WEBP", {"quality": 92}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_lzw"}),
    ".tiff": ("TIFF", {"compression": "tiff_lzw"}),
}
JPEG_SUFFIXES = (".jpg", ".jpeg")
LONGEST_JPEG_SIDE = 65500
"""The longest side in pixels that libjpeg writes."""
_LARGE_FILE = 64 << 20
_large_files = threading.Lock()
_warnings_lock = threading.Lock()
_quiet_threads: list[int] = []
_PILLOW = r"PIL\."
_FILTER = ("ignore", None, Warning, re.compile(_PILLOW), 0)


def sniff(prefix: bytes) -> str | None:
    """Return "JPEG", "PNG", "WebP", "BMP" or "TIFF" by the first 16 bytes of a file, or None for others."""
    if prefix.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if prefix.startswith(_PNG_MAGIC):
        return "PNG"
    if prefix.startswith(b"RIFF") and prefix[8:12] == b"WEBP":
        return "WebP"
    if prefix.startswith(b"BM"):
        return "BMP"
    if prefix.startswith(_TIFF_MAGIC):
        return "TIFF"
    return None


def read(
    path: str | os.PathLike[str],
    *,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    take_room: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Read a picture file.

    Args:
        path: The file.
        max_pixels: Pixel cap, checked in the header before any pixel is decoded.
        take_room: Called with the number of pixels before they are decoded; it may wait for memory.

    Returns:
        uint8 [H, W, 3], RGB, contiguous and writable.

    Raises:
        ImageError: The file is missing, a folder, not permitted, empty, no supported picture, truncated,
            corrupt, or over the cap.
    """
    name = os.fspath(path)
    try:
        with Path(name).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _LARGE_FILE:
                with _large_files:  # several at once might not fit the memory
                    data = _bytes_of(file, name, max_pixels, size)
                    return decode(data, name=name, max_pixels=max_pixels, take_room=take_room)
            data = _bytes_of(file, name, max_pixels, size)
    except FileNotFoundError:
        raise ImageError(f"{name}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise ImageError(f"{name}: is a folder, not a picture; give a picture file") from None
    except PermissionError:
        raise ImageError(f"{name}: permission denied; make the file readable") from None
    except MemoryError:
        raise ImageError(f"{name}: doesn't fit the memory; scale or crop it") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageError(f"{name}: can't be read: {reason}; check the path and the disk") from error
    return decode(data, name=name, max_pixels=max_pixels, take_room=take_room)


def _bytes_of(file: BinaryIO, name: str, max_pixels: int, size: int = 0) -> bytes:
    """Read a whole picture file, no further than a picture of so many pixels can reach.

    Args:
        file: The file, at its start.
        name: What messages call it.
        max_pixels: Pixel cap.
        size: The file's length in bytes, where it is known.
    """
    parts = [file.read(_PREFIX)]
    _format_of(parts[0], name)
    most, found = _BYTES_PER_PIXEL * max_pixels + _BYTES_BESIDE, len(parts[0])
    while max(found, size) <= most:
        part = file.read(_CHUNK)
        if not part:
            return b"".join(parts)
        parts.append(part)
        found += len(part)
    raise ImageError(f"{name}: has more bytes than a picture of {max_pixels} pixels needs; scale or crop it")


def read_stdin(stream: BinaryIO | None = None, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> np.ndarray:
    """Read one picture from standard input.

    Args:
        stream: A binary stream; standard input when not given.
        max_pixels: Pixel cap.

    Returns:
        uint8 [H, W, 3], RGB, contiguous and writable.

    Raises:
        ImageError: As in `decode`.
    """
    name = "standard input"
    if stream is None and sys.stdin is None:
        raise ImageError(f"{name}: is closed; pipe a picture into it")
    try:
        data = _bytes_of(stream or sys.stdin.buffer, name, max_pixels)
    except MemoryError:
        raise ImageError(f"{name}: doesn't fit the memory; scale or crop it") from None
    except OSError as error:
        raise ImageError(
            f"{name}: can't be read: {error.strerror or error}; pipe a picture into it"
        ) from error
    return decode(data, name=name, max_pixels=max_pixels)


def decode(
    data: bytes,
    *,
    name: str = "picture",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    tolerant: bool = False,
    take_room: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Decode a picture from the bytes of its file. Safe to call from several threads.

    Args:
        data: The whole file.
        name: What messages call the picture, usually its path.
        max_pixels: Pixel cap, checked in the header before any pixel is decoded.
        tolerant: Accept pixel data that end early or break off: what is missing stays as the decoder left it
            (black or gray). A broken header is an error all the same, and so is any cut WebP, whose decoder
            takes whole files only.
        take_room: As in `read`.

    Returns:
        uint8 [H, W, 3], RGB, contiguous and writable.

    Raises:
        ImageError: The data are empty, no supported picture, truncated, corrupt, or over the cap.
    """
    kind = _format_of(data[:_PREFIX], name)
    if kind == "PNG" and not tolerant:
        _check_png(data, name)
    if kind == "JPEG" and tolerant:
        data += _JPEG_END  # lets the decoder finish what it has; behind a whole picture it is ignored
    try:
        with _quiet():
            image = _OPENERS[kind](io.BytesIO(data))
            _check_size(image.size, max_pixels, name)
        if take_room is not None:
            take_room(image.size[0] * image.size[1])
        # TIFF's loader reads further tags, and may warn of them.
        with _quiet() if kind == "TIFF" else nullcontext():
            _load(image, data, kind, tolerant)
        upright = pixels.turned(pixels.to_rgb(image, data, kind), _orientation(image))
    except ImageError:
        raise
    except Image.DecompressionBombError:
        raise ImageError(f"{name}: has too many pixels for this {kind} decoder; scale it down") from None
    except MemoryError:
        raise ImageError(f"{name}: not enough memory to decode it; scale it down") from None
    except Exception as error:  # hostile bytes make the decoders raise anything from KeyError to struct.error
        if kind == "PNG" and _UNPACKS_TOO_LARGE.search(str(error)):
            leaner = _without_long_text(data)
            if len(leaner) < len(data):
                return decode(
                    leaner, name=name, max_pixels=max_pixels, tolerant=tolerant, take_room=take_room
                )
        if _is_truncated(data, kind, error):
            raise ImageError(f"{name}: truncated {kind}: the data end early; copy the file again") from error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ImageError(f"{name}: corrupt or unsupported {kind} ({reason}); save it again") from error
    return np.require(upright, np.uint8, ["C", "W", "O"])


def write(path: str | os.PathLike[str], rgb: np.ndarray) -> None:
    """Write a picture in the format of its suffix, under a temporary name first.

    JPEG and WebP are written at quality 92; PNG, BMP and TIFF are lossless.

    Args:
        path: The file; .jpg, .jpeg, .png, .webp, .bmp, .tif or .tiff.
        rgb: uint8 [H, W, 3], RGB.

    Raises:
        OutputError: The suffix is unknown, or the file can't be written.
        ValueError: `rgb` isn't uint8 [H, W, 3].
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"a picture must be uint8 [H, W, 3], not {rgb.dtype} {list(rgb.shape)}")
    suffix = Path(path).suffix.lower()
    if suffix not in _SAVE_OPTIONS:
        known = ", ".join(_SAVE_OPTIONS)
        raise OutputError(f"can't write {os.fspath(path)}: unknown picture suffix {suffix!r}; use {known}")
    pillow_format, options = _SAVE_OPTIONS[suffix]
    with atomic_write(path) as temporary:
        try:
            Image.fromarray(np.ascontiguousarray(rgb)).save(temporary, format=pillow_format, **options)
        except ValueError as error:
            raise OutputError(
                f"can't write {os.fspath(path)}: {error}; choose another format or size"
            ) from error


def _format_of(prefix: bytes, name: str) -> str:
    if not prefix:
        raise ImageError(f"{name}: is empty; copy the file again")
    kind = sniff(prefix)
    if kind is None:
        for offset, magic, foreign in FOREIGN:
            if prefix[offset:].startswith(magic):
                raise ImageError(f"{name}: {foreign} isn't supported; convert it to {_SUPPORTED}")
        raise ImageError(f"{name}: is not a supported picture; give {_SUPPORTED}")
    return kind


@contextmanager
def _quiet() -> Iterator[None]:
    """Swallow Pillow's warnings.

    Filters belong to the process, whose other threads may change them meanwhile: one of our own comes and
    goes, and all others stay as they are.
    """
    filters = cast("list[object]", warnings.filters)
    with _warnings_lock:
        _quiet_threads.append(threading.get_ident())
        if _FILTER not in filters:
            # `filterwarnings` would let all that the process warned of once be shown again.
            filters.insert(0, _FILTER)
    try:
        yield
    finally:
        with _warnings_lock:
            _quiet_threads.remove(threading.get_ident())
            if not _quiet_threads and _FILTER in filters:
                filters.remove(_FILTER)


def _check_size(size: tuple[int, int], max_pixels: int, name: str) -> None:
    width, height = size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: corrupt: its size is {width} x {height}; save it again")
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: too many pixels: {width} x {height} is over the cap of {max_pixels / 1e6:g} megapixels;"
            " scale it down, or in Python read it with fauxface.images.read(max_pixels=...)"
        )


def _load(image: Image.Image, data: bytes, kind: str, tolerant: bool) -> None:
    if kind == "TIFF" and not tolerant and _missing_strips(image, len(data)):
        raise OSError("image file is truncated")
    try:
        image.load()
    except OSError:
        if not tolerant:
            raise
        # The rows decoded so far lie in the image; with no tile left to decode, it counts as loaded. Pillow's
        # own switch for this, LOAD_TRUNCATED_IMAGES, would change every thread of the process.
        image.tile = []  # pyright: ignore[reportAttributeAccessIssue]
        image.load()


def _missing_strips(image: Image.Image, length: int) -> bool:
    tags = image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
    for offsets, counts in ((273, 279), (324, 325)):
        pairs = zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False)
        if any(offset + count > length for offset, count in pairs):
            return True
    return False


def _check_png(data: bytes, name: str) -> None:
    """Verify the checksums of the critical chunks and the end marker, which Pillow doesn't."""
    position = len(_PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if kind[:1].isupper():
            checksum = zlib.crc32(memoryview(data)[position + 4 : end - 4])
            if checksum != int.from_bytes(data[end - 4 : end], "big"):
                raise ImageError(f"{name}: corrupt PNG (wrong checksum); copy the file again")
        if kind == b"IEND":
            return
        position = end
    raise ImageError(f"{name}: truncated PNG: the data end early; copy the file again")


def _without_long_text(data: bytes) -> bytes:
    """Leave out a PNG's colour profile, and texts that unpack to more than Pillow takes: none are pixels."""
    parts, position = [_PNG_MAGIC], len(_PNG_MAGIC)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        chunk = data[position : position + 12 + length]
        if kind != b"iCCP" and not _unpacks_long(kind, chunk[8:-4]):
            parts.append(chunk)
        position += 12 + length
    return b"".join(parts)


def _unpacks_long(kind: bytes, body: bytes) -> bool:
    """Tell whether a compressed text of a PNG is one that Pillow refuses."""
    text = body.partition(b"\0")[2]  # behind the keyword
    if kind == b"zTXt":
        packed = text[1:]
    elif kind == b"iTXt" and text[:1] == b"\1":
        packed = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return False
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, PngImagePlugin.MAX_TEXT_CHUNK)
    except zlib.error:
        return False
    return bool(unpacking.unconsumed_tail)


def _is_truncated(data: bytes, kind: str, error: Exception) -> bool:
    """Tell a file that ends early from one that is broken, for the message."""
    text = str(error).lower()
    if "truncat" in text or "not enough image data" in text or "unexpected end" in text:
        return True
    if kind == "WebP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if kind == "JPEG":
        return _JPEG_END not in data
    if kind == "BMP":
        return len(data) < 54
    if kind == "TIFF":
        return _tiff_directory_cut(data)
    return False


def _tiff_directory_cut(data: bytes) -> bool:
    """Tell whether the first directory of a classic TIFF, or a value it points to, lies beyond the data."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for index in range(entries):
            _, kind, count, offset = struct.unpack_from(f"{order}HHII", data, start + 2 + 12 * index)
            size = count * _TIFF_TYPE_BYTES.get(kind, 0)
            if size > 4 and offset + size > len(data):
                return True
    except struct.error:
        return True
    return False


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where it is absent or unreadable."""
    try:
        with _quiet():
            value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # broken EXIF doesn't make the pixels unusable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
