"""Pictures as bytes, encoded by Pillow or built by hand, for the tests of decoding."""

import io
import itertools
import struct
import zlib

import numpy as np
from PIL import Image

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
