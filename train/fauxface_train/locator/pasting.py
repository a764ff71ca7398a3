"""One face photograph pasted into a picture: cut out or whole, turned, squeezed, lit and partly hidden."""

import math

import cv2
import numpy as np

from fauxface_train.locator.backdrops import Backdrops
from fauxface_train.locator.degrade import blur, relight

FACE_SHARE = 1 / 1.8
"""Assumed width of the face in a face picture; ready crops lie between 1/1.2 and 1/2.2."""


def angle(rng: np.random.Generator) -> float:
    """Return degrees: mostly near upright, some up to 40, seldom upside down or anything."""
    chance = rng.random()
    if chance < 0.62:
        return float(rng.normal(0, 9))
    if chance < 0.97:
        return float(rng.uniform(-40, 40))
    return float(rng.normal(180, 15)) if chance < 0.98 else float(rng.uniform(-180, 180))


def paste(
    canvas: np.ndarray,
    face: np.ndarray,
    rng: np.random.Generator,
    *,
    centre: tuple[float, float],
    face_width: float,
    backdrops: Backdrops,
) -> None:
    """Paste a face picture into a picture.

    Args:
        canvas: uint8 [H, W, 3]; written to.
        face: uint8 [h, w, 3], a picture with one face.
        rng: Source of chance.
        centre: x, y in pixels of the canvas where the middle of the face picture comes to lie.
        face_width: Wanted width of the face in pixels.
        backdrops: Give what may hide a part of the face.
    """
    face, ratio = shrunk(face, face_width / FACE_SHARE / min(face.shape[:2]), rng)
    face = _varied(face, backdrops, rng)
    height, width = face.shape[:2]
    matrix = _matrix(ratio, rng)
    reach = np.abs(matrix) @ (width / 2, height / 2)
    low = np.maximum(np.floor(np.subtract(centre, reach)), 0).astype(int)
    high = np.minimum(np.ceil(np.add(centre, reach)), canvas.shape[1::-1]).astype(int)
    if (low >= high).any():
        return
    shift = np.subtract(centre, low) - matrix @ (width / 2, height / 2)
    affine = np.concatenate([matrix, shift[:, None]], axis=1)
    size = (int(high[0] - low[0]), int(high[1] - low[1]))
    pasted = cv2.warpAffine(face, affine, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(_mask(height, width, rng), affine, size, flags=cv2.INTER_LINEAR)
    region = canvas[low[1] : high[1], low[0] : high[0]]
    weight = cv2.merge([mask] * 3)
    front = cv2.multiply(pasted, weight, scale=1 / 255)
    region[:] = cv2.add(front, cv2.multiply(region, 255 - weight, scale=1 / 255))


def shrunk(face: np.ndarray, ratio: float, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return a picture made smaller where a warp would skip pixels, and the ratio that is left to do."""
    if ratio >= 0.6:
        return face, ratio
    # A scaler that averages, as the runtime's; now and then one that doesn't, as some cameras'.
    kernel = cv2.INTER_AREA if rng.random() < 0.85 else cv2.INTER_LINEAR
    size = tuple(max(4, round(side * ratio)) for side in face.shape[1::-1])
    return cv2.resize(face, size, interpolation=kernel), 1.0


def hide(face: np.ndarray, backdrops: Backdrops, rng: np.random.Generator) -> np.ndarray:
    """Return a face picture, parts of which are covered: a patch, an ellipse, a bar, a mask, one side."""
    face = face.copy()
    height, width = face.shape[:2]
    kind = rng.choice(4)
    if kind == 0:  # a patch anywhere
        h, w = (min(side, max(2, int(side * rng.uniform(0.12, 0.5)))) for side in (height, width))
        y, x = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    elif kind == 1:  # the lower half: a mask, a microphone, a shoulder in front
        y, h = int(height * rng.uniform(0.5, 0.7)), height
        x, w = int(width * rng.uniform(0, 0.35)), int(width * rng.uniform(0.4, 1)) + 1
    elif kind == 2:  # the upper part: a brim, dark glasses, hair
        y, h = int(height * rng.uniform(0.1, 0.45)), int(height * rng.uniform(0.06, 0.22)) + 1
        x, w = int(width * rng.uniform(0, 0.25)), int(width * rng.uniform(0.5, 1)) + 1
    else:  # one side, as by the next person's head
        y, h = 0, height
        w = int(width * rng.uniform(0.2, 0.5)) + 1
        x = 0 if rng.random() < 0.5 else width - w
    part = face[y : y + h, x : x + w]
    if rng.random() < 0.5:
        cover = np.empty_like(part)
        cover[:] = rng.integers(0, 256, 3)
    else:
        cover = backdrops.patch(part.shape[0], part.shape[1], rng)
    if rng.random() < 0.5:
        part[:] = cover
    else:
        stencil = np.zeros(part.shape[:2], np.uint8)
        middle = (part.shape[1] // 2, part.shape[0] // 2)
        cv2.ellipse(stencil, middle, middle, 0, 0, 360, 255, -1)
        np.copyto(part, cover, where=stencil[..., None] > 0)
    return face


def _varied(face: np.ndarray, backdrops: Backdrops, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.5:
        face = face[:, ::-1]
    chance = rng.random()
    if chance < 0.5:
        face = relight(face, rng, 0.7)
    elif chance < 0.6:  # lit from behind
        face = cv2.convertScaleAbs(face, alpha=float(rng.uniform(0.12, 0.5)))
    if rng.random() < 0.15:
        face = hide(face, backdrops, rng)
    if rng.random() < 0.08:
        face = blur(face, rng, max(0.5, min(face.shape[:2]) * 0.015))
    return face


def _matrix(ratio: float, rng: np.random.Generator) -> np.ndarray:
    """Return the linear part of the warp: a turn, and a squeeze that looks like a head turned aside."""
    turn = math.radians(angle(rng))
    if rng.random() < 0.22:
        squeeze, shear = float(rng.uniform(0.6, 0.9)), float(rng.normal(0, 0.08))
    else:
        squeeze, shear = math.exp(rng.normal(0, 0.06)), 0.0
    rotation = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    return ratio * rotation @ np.array([[squeeze, shear], [0.0, 1.0]])


def _mask(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the opacity of a pasted face, uint8 [height, width]: all, a head, a bust or a square."""
    chance = rng.random()
    if chance < 0.3:
        return np.full((height, width), 255, np.uint8)
    small = np.zeros((64, 64), np.uint8)
    soft = float(rng.uniform(0.5, 4))
    if chance < 0.8:
        axes = (int(rng.integers(17, 28)), int(rng.integers(22, 32)))
        cv2.ellipse(small, (32, 32 + int(rng.integers(-3, 4))), axes, 0, 0, 360, 255, -1)
        if chance > 0.5:
            shoulders = (int(rng.integers(26, 36)), int(rng.integers(10, 22)))
            cv2.ellipse(small, (32, 66), shoulders, 0, 0, 360, 255, -1)
    else:
        edge = 1 + int(soft * 2)
        small[edge : 64 - edge, edge : 64 - edge] = 255
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), soft), (width, height))
