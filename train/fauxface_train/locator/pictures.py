"""Picture files that are decoded once and drawn from by chance."""

from pathlib import Path

import cv2
import numpy as np

from fauxface.errors import DataError
from fauxface.sources import IMAGE_SUFFIXES
from fauxface_train import layouts

_CACHE_BYTES = 2_500_000_000


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures below a folder, sorted; links are followed.

    Raises:
        DataError: The folder is missing or holds no picture, or a folder in it can't be read.
    """
    paths = sorted(p for p in layouts.walk(folder) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    if not paths:
        raise DataError(f"no pictures below {folder}; give a folder with JPEG, PNG, WebP, BMP or TIFF files")
    return paths


def decoded(path: Path) -> np.ndarray | None:
    """Return a picture as uint8 [H, W, 3], BGR; None where it can't be decoded."""
    try:
        data = np.fromfile(path, np.uint8)
        return cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except (OSError, cv2.error):
        return None


def shrunk(picture: np.ndarray, ratio: float) -> np.ndarray:
    """Return a picture at `ratio` of its size, at least one pixel wide and high, by area.

    Args:
        picture: uint8 [H, W, 3].
        ratio: New size over old.
    """
    height, width = picture.shape[:2]
    fx, fy = max(ratio, 1 / width), max(ratio, 1 / height)
    return cv2.resize(picture, None, fx=fx, fy=fy, interpolation=cv2.INTER_AREA)


class Pictures:
    """Pictures that are decoded when first asked for and kept in memory up to a limit.

    Args:
        paths: Picture files; one that can't be decoded is replaced by the next one.
        front: Share of the draws that favours the first of them: half of these go to the first eighth.
        largest: Pictures are shrunk so that the longest side has at most this many pixels.
    """

    def __init__(self, paths: list[Path], *, front: float = 0.0, largest: int = 512) -> None:
        self.paths, self.front, self.largest = paths, front, largest
        self._kept: dict[int, np.ndarray] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.paths)

    def pick(self, rng: np.random.Generator) -> np.ndarray:
        """Return a random picture, uint8 [H, W, 3], BGR; the caller must not write to it."""
        place = rng.random() ** (3 if rng.random() < self.front else 1)
        start = int(place * len(self.paths))
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
        picture = decoded(self.paths[index])
        if picture is None:
            return None
        ratio = self.largest / max(picture.shape[:2])
        if ratio < 1:
            picture = shrunk(picture, ratio)
        if self._bytes < _CACHE_BYTES:
            self._kept[index] = picture
            self._bytes += picture.nbytes
        return picture
