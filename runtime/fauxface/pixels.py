"""From what a decoder gives to upright 8-bit RGB, by the rules that the module `images` states."""

import numpy as np
from PIL import Image


def turned(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo the EXIF orientation (Exif 3.0, tag 274): 5 to 8 are stored transposed, the rest is mirroring."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return image


def to_rgb(image: Image.Image, data: bytes, kind: str) -> np.ndarray:
    """Return a decoded picture's pixels, uint8 [H, W, 3] RGB, as the module `images` describes.

    Args:
        image: The picture, whose pixels are loaded.
        data: The file.
        kind: Its format, as `images.sniff` names it.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _gray_to_rgb(image, kind)
    if image.mode in ("1", "L", "RGB") and "transparency" in image.info:
        image.info["transparency"] = _key_in_8_bit(image.info["transparency"], image.mode, data[24])
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        if kind == "BMP" and rgba.getchannel("A").getextrema() == (0, 0):  # four bytes a pixel, one unused
            return np.array(rgba.convert("RGB"))
        over = Image.new("RGB", rgba.size, (255, 255, 255))
        over.paste(rgba, mask=rgba.getchannel("A"))
        return np.array(over)
    return np.array(image.convert("RGB"))


def _key_in_8_bit(key: int | tuple[int, ...], mode: str, depth: int) -> int | tuple[int, ...]:
    """Scale a PNG's transparent gray or colour from the file's bit depth to the decoded 8 bits."""
    if mode == "L" and isinstance(key, int) and depth in (2, 4):
        return (key & (2**depth - 1)) * 255 // (2**depth - 1)
    if mode == "RGB" and isinstance(key, tuple) and depth == 16:
        return tuple(value >> 8 for value in key)
    return key


def _gray_to_rgb(image: Image.Image, kind: str) -> np.ndarray:
    values = np.asarray(image)
    tags = image.tag_v2 if kind == "TIFF" else {}  # pyright: ignore[reportAttributeAccessIssue]
    bits = (tags.get(258) or (16,))[0]
    if image.mode == "F":
        gray = _float_to_gray(values)
    elif image.mode == "I":
        signed = 2 in tags.get(339, ())
        gray = _integers_to_gray(np.maximum(values, 0) if signed else values.view(np.uint32), bits, signed)
    else:
        gray = (values >> (4 if bits == 12 else 8)).astype(np.uint8)
        if tags.get(262) == 0:  # WhiteIsZero, which Pillow leaves to the caller at this depth
            gray = 255 - gray
        if "transparency" in image.info:
            gray = np.where(values == image.info["transparency"], np.uint8(255), gray)
    return np.repeat(gray[:, :, None], 3, axis=2)


def _integers_to_gray(values: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    if bits == 16:
        return (values >> (7 if signed else 8)).astype(np.uint8)
    length = int(values.max()).bit_length()
    shift = 0 if length <= 8 else 8 if length <= 16 else length - 8
    return (values >> shift).astype(np.uint8)


def _float_to_gray(values: np.ndarray) -> np.ndarray:
    finite = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    top = float(finite.max())
    scale = 255.0 if top <= 2.0 else 1.0 if top <= 255.5 else 1 / 257 if top <= 65535.5 else 255.0 / top
    gray = np.where(np.isposinf(values), 255.0, finite.astype(np.float64) * scale)
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8)
