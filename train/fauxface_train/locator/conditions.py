"""Face pictures made harder: dark, blurred, turned, partly hidden; and which of them show children."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from fauxface.locator import Location
from fauxface_train.utkface import parse_utkface

CHILD_AGE = 12
"""Oldest age in years of a child face; ages are read from UTKFace names."""
TURN_DEGREES = 30.0

Change = Callable[[np.ndarray, Location, np.random.Generator], np.ndarray]
"""From a picture, uint8 [H, W, 3], and its face to a new picture of the same size."""


def is_child(path: Path) -> bool:
    """Return whether a file's name says that it shows somebody of at most 12 years."""
    person = parse_utkface(path.name)
    return person is not None and person.age is not None and person.age <= CHILD_AGE


def rng_for(path: Path, condition: str, seed: int) -> np.random.Generator:
    """Return a source of chance that depends on a file's name, the condition and the seed alone."""
    digest = hashlib.sha256(os.fsencode(f"{path.name}/{condition}")).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "big")])


def choose(paths: Sequence[Path], count: int, seed: int) -> list[Path]:
    """Return at most `count` of the paths, chosen by their names and the seed alone, in their order."""
    ranked = sorted(paths, key=lambda path: (rng_for(path, "choice", seed).random(), str(path)))
    kept = set(ranked[:count])
    return [path for path in paths if path in kept]


def as_given(picture: np.ndarray, face: Location, rng: np.random.Generator) -> np.ndarray:
    """Change nothing."""
    return picture


def darken(picture: np.ndarray, face: Location, rng: np.random.Generator) -> np.ndarray:
    """Keep 8 to 25 % of the light, with noise of 1.5 to 4 levels."""
    noise = rng.normal(0, rng.uniform(1.5, 4), picture.shape)
    return np.clip(picture * rng.uniform(0.08, 0.25) + noise, 0, 255).astype(np.uint8)


def soften(picture: np.ndarray, face: Location, rng: np.random.Generator) -> np.ndarray:
    """Blur by a Gaussian with a sigma of 2 to 5 % of the face's longer side, or by motion over 6 to 15 %."""
    side = max(face.box[2:])
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), max(0.3, float(rng.uniform(0.02, 0.05)) * side))
    length = max(3, round(float(rng.uniform(0.06, 0.15)) * side))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5,) * 2, float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length)).astype(np.float32)
    return cv2.filter2D(picture, -1, kernel / max(float(kernel.sum()), 1e-6))


def turn(picture: np.ndarray, face: Location, rng: np.random.Generator) -> np.ndarray:
    """Turn by 30 degrees to either side about the face's middle; the corners get the mean colour."""
    x, y, width, height = face.box
    degrees = TURN_DEGREES if rng.random() < 0.5 else -TURN_DEGREES
    matrix = cv2.getRotationMatrix2D((x + width / 2, y + height / 2), degrees, 1)
    colour = tuple(float(v) for v in picture.mean(axis=(0, 1)))
    size = (picture.shape[1], picture.shape[0])
    return cv2.warpAffine(picture, matrix, size, borderMode=cv2.BORDER_CONSTANT, borderValue=colour)


def cover(picture: np.ndarray, face: Location, rng: np.random.Generator) -> np.ndarray:
    """Hide the lower 40 %, the upper 30 % or a side 35 % of the face's box under one colour."""
    x, y, width, height = face.box
    parts = (
        (x, y + 0.6 * height, width, 0.4 * height),
        (x, y, width, 0.3 * height),
        (x, y, 0.35 * width, height),
        (x + 0.65 * width, y, 0.35 * width, height),
    )
    left, top, across, down = parts[rng.integers(len(parts))]
    picture = picture.copy()
    corner = (round(left), round(top))
    opposite = (round(left + across), round(top + down))
    cv2.rectangle(picture, corner, opposite, tuple(int(v) for v in rng.integers(0, 256, 3)), -1)
    return picture


CONDITIONS: dict[str, Change] = {
    "as given": as_given,
    "dark": darken,
    "blurred": soften,
    "rotated by 30 degrees": turn,
    "partly hidden": cover,
}
"""Every condition that is made from any face picture, by name."""
CHILDREN = "children"
"""Name of the condition that takes pictures of children as they are."""
