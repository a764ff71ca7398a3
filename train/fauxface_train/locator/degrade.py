"""Light changes and camera faults for the composites."""

import math

import cv2
import numpy as np


def relight(picture: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Change brightness, contrast, gamma and colour balance.

    Args:
        picture: uint8 [H, W, 3].
        rng: Source of chance.
        strength: 0 changes nothing, 1 strongly.

    Returns:
        A new uint8 [H, W, 3].
    """
    levels = np.linspace(0, 1, 256) ** math.exp(rng.normal(0, 0.35 * strength))
    gains = math.exp(rng.normal(0, 0.3 * strength)) * np.exp(rng.normal(0, 0.1 * strength, 3))
    offset = rng.normal(0, 0.08 * strength)
    table = np.clip((levels[:, None] * gains + offset) * 255, 0, 255).astype(np.uint8)
    return cv2.LUT(np.ascontiguousarray(picture), table.reshape(1, 256, 3))


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply what cameras, codecs and padding do to a whole picture.

    Args:
        picture: uint8 [H, W, 3], BGR; may be written to.
        rng: Source of chance.

    Returns:
        uint8 [H, W, 3], BGR.
    """
    height, width = picture.shape[:2]
    if rng.random() < 0.02:
        picture = np.ascontiguousarray(np.rot90(picture, int(rng.integers(1, 4))))
    chance = rng.random()
    if chance < 0.3:
        picture = relight(picture, rng, 0.8)
    elif chance < 0.4:
        picture = cv2.convertScaleAbs(picture, alpha=float(rng.uniform(0.08, 0.4)))
    if rng.random() < 0.1:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.14:
        picture = _blur(picture, rng)
    if rng.random() < 0.1:
        ratio = float(rng.uniform(0.25, 0.8))
        small = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.14:
        noise = np.empty((height, width, 3), np.int16)
        cv2.randn(noise, np.zeros(3), np.full(3, rng.uniform(2, 25)))
        picture = cv2.add(picture, noise, dtype=cv2.CV_8U)
    if rng.random() < 0.3:
        quality = int(rng.integers(20, 95))
        done, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert done
        decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
        assert decoded is not None
        picture = decoded
    if rng.random() < 0.25:
        # FaceDetectorYN pads with zeros on the right and at the bottom up to a multiple of 32.
        picture[height - int(rng.integers(0, 32)) :] = 0
        picture[:, width - int(rng.integers(0, 32)) :] = 0
    return picture


def _blur(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.6:
        return cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.5, 3)))
    length = int(rng.integers(3, 14))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5,) * 2, float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length)).astype(np.float32)
    kernel /= max(float(kernel.sum()), 1e-6)
    return cv2.filter2D(picture, -1, kernel)
