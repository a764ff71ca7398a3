"""Light changes and camera faults for the composites."""

import math

import cv2
import numpy as np

_CHROMA = (
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
)


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


def shade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light a picture unevenly: spots, shadows, a window behind, coloured lamps.

    Args:
        picture: uint8 [H, W, 3].
        rng: Source of chance.

    Returns:
        A new uint8 [H, W, 3].
    """
    height, width = picture.shape[:2]
    cells = int(rng.integers(2, 5))
    darkest = float(rng.uniform(0.06, 0.6))
    light = rng.uniform(darkest, 1.25, (cells, cells, 1))
    if rng.random() < 0.4:
        light = light * np.exp(rng.normal(0, 0.3, (cells, cells, 3)))
    light = np.broadcast_to(np.minimum(light, 2.0), (cells, cells, 3)).astype(np.float32)
    field = cv2.resize(np.ascontiguousarray(light), (width, height), interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(picture, field, dtype=cv2.CV_8U)


def blur(picture: np.ndarray, rng: np.random.Generator, sigma: float | None = None) -> np.ndarray:
    """Blur a picture: out of focus, or by motion.

    Args:
        picture: uint8 [H, W, 3].
        rng: Source of chance.
        sigma: Of the Gaussian, in pixels; by chance between 0.5 and 2.5 when not given.

    Returns:
        A new uint8 [H, W, 3].
    """
    if sigma is None:
        sigma = float(rng.uniform(0.5, 2.5))
    if rng.random() < 0.5:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    length = int(np.clip(round(sigma * rng.uniform(2.5, 5)), 3, 13))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    turn = cv2.getRotationMatrix2D((length / 2 - 0.5,) * 2, float(rng.uniform(0, 180)), 1)
    kernel = cv2.warpAffine(kernel, turn, (length, length)).astype(np.float32)
    kernel /= max(float(kernel.sum()), 1e-6)
    return cv2.filter2D(picture, -1, kernel)


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Apply what cameras, codecs and padding do to a whole picture; a good part stays as it is.

    Args:
        picture: uint8 [H, W, 3], BGR; may be written to.
        rng: Source of chance.

    Returns:
        uint8 [H, W, 3], BGR.
    """
    height, width = picture.shape[:2]
    if rng.random() < 0.005:
        picture = np.ascontiguousarray(np.rot90(picture, int(rng.integers(1, 4))))
    chance = rng.random()
    if chance < 0.18:
        picture = relight(picture, rng, 0.8)
    elif chance < 0.29:
        picture = cv2.convertScaleAbs(picture, alpha=float(rng.uniform(0.08, 0.4)))
    elif chance < 0.39:
        picture = shade(picture, rng)
    if rng.random() < 0.07:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    if rng.random() < 0.11:
        picture = blur(picture, rng)
    if rng.random() < 0.06:
        picture = _rescaled(picture, float(rng.uniform(0.3, 0.8)))
    if rng.random() < 0.1:
        noise = np.empty((height, width, 3), np.int16)
        cv2.randn(noise, np.zeros(3), np.full(3, rng.uniform(2, 18)))
        picture = cv2.add(picture, noise, dtype=cv2.CV_8U)
    chance = rng.random()
    if chance < 0.15:
        picture = _jpeg(picture, int(rng.integers(30, 95)), rng)
    elif chance < 0.27:  # a frame of a starved stream
        coded = _jpeg(picture, int(rng.integers(8, 35)), rng)
        picture = _rescaled(coded, float(rng.uniform(0.6, 0.95))) if rng.random() < 0.4 else coded
    if rng.random() < 0.2:
        # FaceDetectorYN pads with zeros on the right and at the bottom up to a multiple of 32.
        picture[height - int(rng.integers(0, 32)) :] = 0
        picture[:, width - int(rng.integers(0, 32)) :] = 0
    return picture


def _rescaled(picture: np.ndarray, ratio: float) -> np.ndarray:
    small = cv2.resize(picture, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)


def _jpeg(picture: np.ndarray, quality: int, rng: np.random.Generator) -> np.ndarray:
    chroma = _CHROMA[rng.integers(len(_CHROMA))]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, chroma]
    done, coded = cv2.imencode(".jpg", picture, options)
    assert done
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded
