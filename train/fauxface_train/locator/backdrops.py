"""What lies behind the faces, and what must not be taken for one."""

import itertools
import math
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np

from fauxface_train.locator.degrade import relight
from fauxface_train.locator.pictures import Pictures, shrunk

_OTHERS = 0.25
_FUR = ((40, 70, 110), (90, 110, 130), (20, 25, 30), (180, 190, 200), (60, 100, 160), (110, 130, 150))


class Backdrops:
    """Makes square backdrops from photographs and from nothing.

    Args:
        pictures: Photographs without faces, or with few.
        size: Side of the backdrops in pixels.
        others: More pictures, for a quarter of the draws.
    """

    def __init__(self, pictures: Pictures, size: int, others: Pictures | None = None) -> None:
        self.pictures, self.size, self.others = pictures, size, others
        self._kinds: list[tuple[float, Callable[[np.random.Generator], np.ndarray]]] = [
            (0.44, self._part),
            (0.18, self._whole),
            (0.13, self._collage),
            (0.07, self._shuffled),
            (0.05, partial(texture, size)),
            (0.07, partial(fur, size)),
            (0.06, self._halves),
        ]

    def make(self, rng: np.random.Generator) -> np.ndarray:
        """Return a backdrop, uint8 [size, size, 3], BGR, that the caller may write to."""
        kind = rng.choice(len(self._kinds), p=[share for share, _ in self._kinds])
        return np.ascontiguousarray(self._kinds[kind][1](rng))

    def patch(self, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
        """Return a random window of a photograph, stretched to uint8 [height, width, 3]."""
        picture = self._pick(rng)
        side = int(rng.uniform(0.1, 0.9) * min(picture.shape[:2])) or 1
        y, x = (int(rng.integers(extent - side + 1)) for extent in picture.shape[:2])
        return cv2.resize(picture[y : y + side, x : x + side], (width, height))

    def _pick(self, rng: np.random.Generator) -> np.ndarray:
        if self.others is not None and rng.random() < _OTHERS:
            return self.others.pick(rng)
        return self.pictures.pick(rng)

    def _part(self, rng: np.random.Generator) -> np.ndarray:
        return window(self._pick(rng), self.size, rng)

    def _whole(self, rng: np.random.Generator) -> np.ndarray:
        """Return a whole photograph, shrunk, with black or its own mirror image around it."""
        picture = self._pick(rng)
        ratio = self.size * rng.uniform(0.4, 1) / max(picture.shape[:2])
        small = shrunk(picture, ratio)
        if rng.random() < 0.5:
            small = small[:, ::-1]
        below, right = (max(0, self.size - extent) for extent in small.shape[:2])
        above, left = 0, 0
        if rng.random() < 0.5:
            above, left = int(rng.integers(below + 1)), int(rng.integers(right + 1))
        border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REFLECT
        canvas = cv2.copyMakeBorder(small, above, below - above, left, right - left, border)
        return canvas[: self.size, : self.size]

    def _collage(self, rng: np.random.Generator) -> np.ndarray:
        canvas = np.empty((self.size, self.size, 3), np.uint8)
        across, down = (int(v) for v in rng.integers(1, 5, 2))
        for y0, y1 in itertools.pairwise(np.linspace(0, self.size, down + 1).astype(int)):
            for x0, x1 in itertools.pairwise(np.linspace(0, self.size, across + 1).astype(int)):
                picture = self._pick(rng)
                canvas[y0:y1, x0:x1] = cv2.resize(
                    picture, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA
                )
        return canvas

    def _shuffled(self, rng: np.random.Generator) -> np.ndarray:
        return shuffled(self._part(rng), rng)

    def _halves(self, rng: np.random.Generator) -> np.ndarray:
        split = int(rng.integers(self.size // 5, self.size * 4 // 5))
        first, second = self._part(rng), self._part(rng)
        first[:, split:] = second[:, split:]
        return first if rng.random() < 0.5 else first.transpose(1, 0, 2)


def window(picture: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random square window of a picture as uint8 [size, size, 3]: zoomed, flipped and relit."""
    height, width = picture.shape[:2]
    side = int(min(height, width) * math.exp(rng.uniform(math.log(0.25), 0)))
    side = max(side, min(32, height, width))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    part = picture[y : y + side, x : x + side]
    part = cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return relight(part[:, ::-1] if rng.random() < 0.5 else part, rng, 0.6)


def shuffled(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a square picture whose patches have changed places: parts and textures without their whole."""
    count = int(rng.choice((2, 3, 4, 5, 8)))
    step = picture.shape[0] // count
    patches = [
        picture[y : y + step, x : x + step]
        for y in range(0, step * count, step)
        for x in range(0, step * count, step)
    ]
    canvas = picture.copy()
    for place, index in enumerate(rng.permutation(len(patches))):
        y, x = place // count * step, place % count * step
        canvas[y : y + step, x : x + step] = patches[index]
    return canvas


def texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return coloured noise of a random grain or a plain colour under shapes, uint8 [size, size, 3]."""
    grain = int(2 ** rng.uniform(1, 8))
    canvas = cv2.resize(rng.integers(0, 256, (grain, grain, 3), np.uint8), (size, size))
    if rng.random() < 0.5:
        canvas[:] = rng.integers(0, 256, 3)
    for _ in range(int(rng.integers(0, 12))):
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(3, max(4, size // 3), 2))
        if rng.random() < 0.5:
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            corner = (centre[0] + axes[0], centre[1] + axes[1])
            cv2.rectangle(canvas, centre, corner, colour, -1 if rng.random() < 0.7 else 3)
    return canvas


def fur(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return combed noise in an animal's colours with dark spots in threes, uint8 [size, size, 3].

    Two eyes and a nose in fur are what a face locator most often takes for a face.
    """
    noise = rng.integers(0, 256, (size, size), np.uint8)
    reach = int(rng.integers(5, 16))
    kernel = np.zeros((reach, reach), np.float32)
    angle = rng.uniform(0, math.pi)
    offset = np.array([math.cos(angle), math.sin(angle)]) * (reach - 1) / 2
    middle = (reach - 1) / 2
    start, end = (tuple(round(middle + s * v) for v in offset) for s in (-1, 1))
    cv2.line(kernel, start, end, (1.0,), 1)
    combed = cv2.filter2D(noise, cv2.CV_32F, kernel / max(float(kernel.sum()), 1.0)) - 127
    grain = float(rng.uniform(0.3, 1.6))
    first, second = (np.array(_FUR[rng.integers(len(_FUR))], np.float32) for _ in range(2))
    blotches = cv2.resize(rng.random((4, 4)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    canvas = first + (second - first) * np.clip(blotches, 0, 1)[..., None] + grain * combed[..., None]
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 7))):
        apart = float(rng.uniform(4, max(5.0, size / 6)))
        centre = rng.uniform(0, size, 2)
        turn = float(rng.normal(0, 0.4))
        across = np.array([math.cos(turn), math.sin(turn)]) * apart / 2
        down = np.array([-math.sin(turn), math.cos(turn)]) * apart * rng.uniform(0.5, 1.3)
        radius = max(1, int(apart * rng.uniform(0.1, 0.25)))
        colour = tuple(int(v) for v in rng.integers(0, 60, 3))
        for place in (centre - across, centre + across, centre + down):
            cv2.circle(canvas, tuple(int(v) for v in place), radius, colour, -1)
    return cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.4, 1.2)))
