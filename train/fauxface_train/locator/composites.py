"""Pictures for the distillation: faces of known data over photographs, and everything that isn't a face.

Any picture has a valid target, since the teacher labels it; so the aim is variety, not realism.
"""

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from fauxface.errors import DataError
from fauxface_train.locator.degrade import degrade, relight

FACE_SHARE = 1 / 1.8
"""Assumed width of the face in a face picture; ready crops lie between 1/1.2 and 1/2.2."""
_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))
_SMALLEST, _LARGEST = 11.0, 400.0
_CACHE_BYTES = 2_500_000_000


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures below a folder, sorted.

    Raises:
        DataError: The folder is missing or holds no picture.
    """
    paths = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    if not paths:
        raise DataError(f"no pictures below {folder}; give a folder with JPEG, PNG, WebP, BMP or TIFF files")
    return paths


class Pictures:
    """Pictures that are decoded when first asked for and kept in memory up to a limit.

    Args:
        paths: Picture files; one that can't be decoded is replaced by the next one.
        largest: Pictures are shrunk so that the longest side has at most this many pixels.
    """

    def __init__(self, paths: list[Path], largest: int = 512) -> None:
        self.paths, self.largest = paths, largest
        self._kept: dict[int, np.ndarray] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.paths)

    def pick(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random picture, uint8 [H, W, 3], BGR; the caller must not write to it."""
        start = int(rng.integers(len(self.paths)))
        for step in range(len(self.paths)):
            picture = self._load((start + step) % len(self.paths))
            if picture is not None:
                return picture
        raise DataError(
            f"none of the {len(self.paths)} pictures can be decoded; check {self.paths[0].parent}"
        )

    def _load(self, index: int) -> np.ndarray | None:
        if index in self._kept:
            return self._kept[index]
        picture = cv2.imdecode(np.fromfile(self.paths[index], np.uint8), cv2.IMREAD_COLOR)
        if picture is None:
            return None
        ratio = self.largest / max(picture.shape[:2])
        if ratio < 1:
            picture = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        if self._bytes < _CACHE_BYTES:
            self._kept[index] = picture
            self._bytes += picture.nbytes
        return picture


class Composer:
    """Makes pictures of one size, each a function of its seed alone.

    Args:
        faces: Pictures with one face each, roughly centred.
        backgrounds: Pictures without faces, or with few.
        size: Side of the pictures in pixels, a multiple of 32.
    """

    def __init__(self, faces: Pictures, backgrounds: Pictures, size: int = 320) -> None:
        self.faces, self.backgrounds, self.size = faces, backgrounds, size
        self._kinds: list[tuple[float, Callable[[np.random.Generator], np.ndarray]]] = [
            (0.62, self._scene),
            (0.11, self._base),
            (0.13, self._portrait),
            (0.09, self._tiles),
            (0.05, self._shuffled),
        ]

    def make(self, seed: tuple[int, int]) -> np.ndarray:
        """Return a picture, uint8 [size, size, 3], BGR.

        Args:
            seed: Run seed and sample number.
        """
        rng = np.random.default_rng(seed)
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
        kind = rng.choice(len(self._kinds), p=[share for share, _ in self._kinds])
        return degrade(np.ascontiguousarray(self._kinds[kind][1](rng)), rng)

    def _base(self, rng: np.random.Generator) -> np.ndarray:
        chance = rng.random()
        if chance < 0.78:
            return self._window(self.backgrounds.pick(rng), rng)
        if chance < 0.86:
            return self._shuffled(rng, faces=False)
        if chance < 0.93:
            return _texture(self.size, rng)
        split = int(rng.integers(self.size // 5, self.size * 4 // 5))
        first, second = (self._window(self.backgrounds.pick(rng), rng) for _ in range(2))
        first[:, split:] = second[:, split:]
        return first if rng.random() < 0.5 else first.transpose(1, 0, 2)

    def _window(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return a random window of a picture, zoomed, flipped and relit."""
        height, width = picture.shape[:2]
        side = int(min(height, width) * math.exp(rng.uniform(math.log(0.25), 0)))
        side = max(side, min(32, height, width))
        y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        window = picture[y : y + side, x : x + side]
        interpolation = cv2.INTER_AREA if side > self.size else cv2.INTER_LINEAR
        window = cv2.resize(window, (self.size, self.size), interpolation=interpolation)
        return relight(window[:, ::-1] if rng.random() < 0.5 else window, rng, 0.6)

    def _scene(self, rng: np.random.Generator) -> np.ndarray:
        canvas = np.ascontiguousarray(self._base(rng))
        crowd = rng.random() < 0.15
        count = int(rng.integers(5, 16)) if crowd else 1 + int(rng.geometric(0.5))
        largest = 70.0 if crowd else _LARGEST
        widths = np.exp(rng.uniform(math.log(_SMALLEST), math.log(largest), count))
        for width in sorted(widths, reverse=True):
            self._paste(canvas, float(width), rng)
        return canvas

    def _paste(self, canvas: np.ndarray, face_width: float, rng: np.random.Generator) -> None:
        face = self.faces.pick(rng)
        ratio = face_width / FACE_SHARE / min(face.shape[:2])
        if ratio < 0.6:
            face = cv2.resize(face, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            ratio = 1.0
        if rng.random() < 0.5:
            face = face[:, ::-1]
        if rng.random() < 0.6:
            face = relight(face, rng, 0.7)
        if rng.random() < 0.12:
            face = self._hide(face, rng)
        height, width = face.shape[:2]
        turn = _angle(rng)
        stretch = math.exp(rng.normal(0, 0.06))
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn, ratio)
        matrix[0] *= stretch
        reach = 0.5 * ratio * math.hypot(width * stretch, height)
        centre = rng.uniform(-0.05, 1.05, 2) * self.size
        left, top = (int(v) for v in np.floor(centre - reach))
        right, bottom = (int(v) for v in np.ceil(centre + reach))
        matrix[0, 2] += centre[0] - left - width / 2 * stretch
        matrix[1, 2] += centre[1] - top - height / 2
        inner = max(left, 0), max(top, 0), min(right, self.size), min(bottom, self.size)
        if inner[0] >= inner[2] or inner[1] >= inner[3]:
            return
        matrix[0, 2] += left - inner[0]
        matrix[1, 2] += top - inner[1]
        size = (inner[2] - inner[0], inner[3] - inner[1])
        pasted = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        mask = cv2.warpAffine(_mask(height, width, rng), matrix, size, flags=cv2.INTER_LINEAR)
        region = canvas[inner[1] : inner[3], inner[0] : inner[2]]
        weight = cv2.merge([mask] * 3)
        front = cv2.multiply(pasted, weight, scale=1 / 255)
        region[:] = cv2.add(front, cv2.multiply(region, 255 - weight, scale=1 / 255))

    def _hide(self, face: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cover a part of a face with a patch of a background or a colour."""
        face = face.copy()
        height, width = face.shape[:2]
        h, w = (max(2, int(side * rng.uniform(0.15, 0.55))) for side in (height, width))
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        if rng.random() < 0.5:
            face[y : y + h, x : x + w] = rng.integers(0, 256, 3)
        else:
            face[y : y + h, x : x + w] = cv2.resize(self.backgrounds.pick(rng), (w, h))
        return face

    def _portrait(self, rng: np.random.Generator) -> np.ndarray:
        """Return one ready crop as it is: full frame, zoomed, or padded."""
        face = self.faces.pick(rng)
        if rng.random() < 0.5:
            face = face[:, ::-1]
        side = self.size * (
            1.0 if rng.random() < 0.25 else math.exp(rng.uniform(math.log(0.3), math.log(1.9)))
        )
        ratio = side / max(face.shape[:2])
        matrix = cv2.getRotationMatrix2D(
            (face.shape[1] / 2, face.shape[0] / 2), _angle(rng) if rng.random() < 0.4 else 0.0, ratio
        )
        slack = abs(self.size - side) / 2
        matrix[:, 2] += self.size / 2 - np.array([face.shape[1], face.shape[0]]) / 2
        if rng.random() < 0.7:
            matrix[:, 2] += rng.uniform(-slack, slack, 2)
        borders = (cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)
        border = borders[rng.choice(3, p=(0.6, 0.2, 0.2))]
        colour = (0, 0, 0) if rng.random() < 0.6 else tuple(int(v) for v in rng.integers(0, 256, 3))
        if ratio < 0.6:
            face = cv2.resize(face, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
            matrix[:, :2] /= ratio
        return cv2.warpAffine(
            face,
            matrix,
            (self.size, self.size),
            flags=cv2.INTER_LINEAR,
            borderMode=border,
            borderValue=colour,
        )

    def _tiles(self, rng: np.random.Generator) -> np.ndarray:
        """Return a hard-edged mosaic of ready crops and backgrounds."""
        across, down = (int(v) for v in rng.integers(2, 6, 2))
        canvas = np.zeros((self.size, self.size, 3), np.uint8)
        xs, ys = (np.linspace(0, self.size, n + 1).astype(int) for n in (across, down))
        for y0, y1 in itertools.pairwise(ys):
            for x0, x1 in itertools.pairwise(xs):
                picture = (self.faces if rng.random() < 0.75 else self.backgrounds).pick(rng)
                tile = cv2.resize(picture, (int(x1 - x0), int(y1 - y0)), interpolation=cv2.INTER_AREA)
                canvas[y0:y1, x0:x1] = tile[:, ::-1] if rng.random() < 0.5 else tile
        return relight(canvas, rng, 0.4)

    def _shuffled(self, rng: np.random.Generator, faces: bool = True) -> np.ndarray:
        """Return a picture whose patches have changed places: face parts and textures without a face."""
        picture = self._window((self.faces if faces else self.backgrounds).pick(rng), rng)
        count = int(rng.choice((2, 3, 4, 5, 8)))
        step = self.size // count
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


def _angle(rng: np.random.Generator) -> float:
    """Return degrees: mostly near upright, some up to 45, a few upside down or anything."""
    chance = rng.random()
    if chance < 0.72:
        return float(rng.normal(0, 10))
    if chance < 0.92:
        return float(rng.uniform(-45, 45))
    return float(rng.normal(180, 15)) if chance < 0.97 else float(rng.uniform(-180, 180))


def _mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the opacity of a pasted face, uint8 [height, width]: square or ellipse, hard or feathered."""
    if rng.random() < 0.3:
        return np.full((height, width), 255, np.uint8)
    small = np.zeros((64, 64), np.uint8)
    soft = float(rng.uniform(0.5, 7))
    if rng.random() < 0.6:
        axes = tuple(int(v) for v in rng.uniform(16, 30, 2))
        cv2.ellipse(small, (32, 32 + int(rng.integers(-3, 4))), axes, 0, 0, 360, 255, -1)
    else:
        edge = 1 + int(soft * 2)
        small[edge : 64 - edge, edge : 64 - edge] = 255
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), soft), (width, height))


def _texture(size: int, rng: np.random.Generator) -> np.ndarray:
    """Return a picture of coloured noise of a random grain, a gradient or plain colour under shapes."""
    grain = int(2 ** rng.uniform(1, 8))
    canvas = cv2.resize(rng.integers(0, 256, (grain, grain, 3), np.uint8), (size, size))
    if rng.random() < 0.5:
        canvas[:] = rng.integers(0, 256, 3)
    for _ in range(int(rng.integers(0, 12))):
        colour = tuple(int(v) for v in rng.integers(0, 256, 3))
        centre = tuple(int(v) for v in rng.integers(0, size, 2))
        axes = tuple(int(v) for v in rng.integers(3, size // 3, 2))
        if rng.random() < 0.5:
            cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, colour, -1)
        else:
            corner = (centre[0] + axes[0], centre[1] + axes[1])
            cv2.rectangle(canvas, centre, corner, colour, -1 if rng.random() < 0.7 else 3)
    return canvas
