"""The crop rule: from a face box to the square of pixels that the classifier sees."""

from dataclasses import dataclass

import cv2
import numpy as np

Box = tuple[float, float, float, float]
"""A face box as x, y, width, height in pixels of the upright picture."""


@dataclass(frozen=True, slots=True)
class Square:
    """An axis-aligned square of whole pixels; it may reach beyond the picture.

    Attributes:
        x: Left edge in pixels, negative where the square starts left of the picture.
        y: Top edge in pixels.
        side: Side length in pixels, at least 1.
    """

    x: int
    y: int
    side: int


def face_square(box: Box, margin: float) -> Square:
    """Return the square crop around a face box.

    The square shares the box's centre and is `margin` times the longer side of the box.

    Args:
        box: x, y, width, height in pixels.
        margin: Side of the square over the longer side of the box, for example 1.0.
    """
    x, y, w, h = box
    side = max(1, round(margin * max(w, h)))
    return Square(round(x + w / 2 - side / 2), round(y + h / 2 - side / 2), side)


def whole_square(width: int, height: int) -> Square:
    """Return the largest centred square of a picture, for data sets of ready crops."""
    side = min(width, height)
    return Square((width - side) // 2, (height - side) // 2, side)


def extract(image: np.ndarray, square: Square) -> np.ndarray:
    """Cut a square out of a picture; pixels beyond its border are mirrored (reflect-101).

    Args:
        image: uint8 [H, W, C].
        square: The square to cut; it must overlap the picture.

    Returns:
        uint8 [side, side, C]; a view of `image` where no padding is needed.

    Raises:
        ValueError: The square doesn't overlap the picture.
    """
    height, width = image.shape[:2]
    x0, y0, x1, y1 = square.x, square.y, square.x + square.side, square.y + square.side
    cx0, cy0, cx1, cy1 = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if cx0 >= cx1 or cy0 >= cy1:
        raise ValueError(f"{square} doesn't overlap a picture of {width}x{height}")
    if (cx0, cy0, cx1, cy1) == (x0, y0, x1, y1):
        return image[y0:y1, x0:x1]
    # The whole picture is mirrored, so that a face at a border keeps its true surroundings.
    (low_x, high_x), (low_y, high_y) = _sources(x0, x1, width), _sources(y0, y1, height)
    if min(low_x, low_y) < 0 or high_x > width or high_y > height:  # it is mirrored more than once
        columns = _reflect(np.arange(x0, x1), width)
        rows = _reflect(np.arange(y0, y1), height)
        return image[rows[:, None], columns[None, :]]
    padded = cv2.copyMakeBorder(
        image[low_y:high_y, low_x:high_x],
        max(0, -y0),
        max(0, y1 - height),
        max(0, -x0),
        max(0, x1 - width),
        cv2.BORDER_REFLECT_101,
    )
    left, top = max(x0, 0) - low_x, max(y0, 0) - low_y
    return padded[top : top + square.side, left : left + square.side]


def _sources(start: int, end: int, length: int) -> tuple[int, int]:
    """Return the range of pixels that [start, end) shows when what lies beyond [0, length) is mirrored once.

    The range reaches beyond [0, length) itself where mirroring once isn't enough.
    """
    low, high = max(start, 0), min(end, length)
    if start < 0:
        high = max(high, 1 - start)
    if end > length:
        low = min(low, 2 * length - 1 - end)
    return low, high


def _reflect(index: np.ndarray, length: int) -> np.ndarray:
    """Map indices beyond [0, length) back into it by mirroring without repeating the edge."""
    if length == 1:
        return np.zeros_like(index)
    period = 2 * (length - 1)
    index = np.abs(index) % period
    return np.where(index >= length, period - index, index)


INPUT_SIZE = 128


def to_input(crop: np.ndarray) -> np.ndarray:
    """Resize a square crop to the classifier's input: the one preprocessing of training, export and runtime.

    Larger crops are scaled by `shrink`, smaller ones are interpolated linearly. Normalisation isn't done
    here: it lies inside the exported graph.

    Args:
        crop: uint8 [S, S, 3], RGB.

    Returns:
        uint8 [128, 128, 3], RGB, contiguous; never a view of `crop`.

    Raises:
        ValueError: The crop isn't uint8 [S, S, 3].
    """
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or crop.shape[0] != crop.shape[1]:
        raise ValueError(f"a crop must be uint8 [S, S, 3], not {crop.dtype} {list(crop.shape)}")
    size = (INPUT_SIZE, INPUT_SIZE)
    if crop.shape[0] == INPUT_SIZE:
        return crop.copy()
    if crop.shape[0] < INPUT_SIZE:
        return cv2.resize(crop, size, interpolation=cv2.INTER_LINEAR)
    return shrink(crop, size)[0]


def shrink(image: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, tuple[float, float]]:
    """Scale a picture down.

    It is halved (each pixel the mean of four) as long as it stays at least as large as asked, and what is
    left, less than a factor of two, is interpolated linearly. OpenCV does both with vector instructions; its
    INTER_AREA in one step takes several times as long.

    Args:
        image: uint8 [H, W, 3].
        size: Width and height to make, neither larger than the picture's.

    Returns:
        uint8 [height, width, 3], and how many pixels of `image` one pixel of it spans along x and y. An odd
        last column or row of a picture that is halved is left out.
    """
    factor = 1
    while image.shape[1] >= 2 * size[0] and image.shape[0] >= 2 * size[1]:
        half = (image.shape[1] // 2, image.shape[0] // 2)
        image = cv2.resize(image[: 2 * half[1], : 2 * half[0]], half, interpolation=cv2.INTER_AREA)
        factor *= 2
    factors = (factor * image.shape[1] / size[0], factor * image.shape[0] / size[1])
    if image.shape[1::-1] != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    return image, factors
