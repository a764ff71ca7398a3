"""The conditions under which a classifier is calibrated: clean, web and hard views of the same faces.

A view depends on its key alone, never on the label or on a run's seed, so that runs can be compared. The
conditions are fixed here rather than set by a recipe: what a model is calibrated for must not change with
what it was trained on.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from fauxface.crops import Square, extract, to_input
from fauxface.progress import track
from fauxface_train.dataset import Sample, load_stored

CLEAN, WEB, HARD = "clean", "web", "hard"
CONDITIONS = (CLEAN, WEB, HARD)
"""Clean: as stored. Web: shrunk and written as JPEG once. Hard: a small, blurred, noisy, coarse JPEG."""

FRAMINGS = 4
"""How often a face is framed to choose thresholds: as the locator did, and as it might have."""

_KERNELS = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC)
_NUMBERS = {name: number for number, name in enumerate(CONDITIONS)}
_SMALLEST_WEB = 96


def view(stored: np.ndarray, square: Square, condition: str, key: int, framing: int = 0) -> np.ndarray:
    """Return a face as the classifier sees it under a condition.

    clean: the nominal crop. web: the side times 0.5 to 1 (never below 96 px), then JPEG at quality 60 to
    90, as a web site stores a picture. hard: a Gaussian blur, a side of 48 to 96 px, a change of gamma,
    Gaussian noise and JPEG at quality 30 to 60, as a bad camera or the third forwarding leaves it.

    Args:
        stored: Stored crop, uint8 [S, S, 3] RGB.
        square: The nominal square in pixels of the stored crop.
        condition: One of `CONDITIONS`.
        key: Names the face; the same key gives the same pixels on every run.
        framing: 0 for the nominal square; another number for one that is moved by up to 2 %, up to 5 %
            smaller or larger, and mirrored where the number is odd: a locator's boxes differ that much
            between frames.

    Returns:
        uint8 [128, 128, 3] RGB, through the runtime's own resize.
    """
    crop = extract(stored, square) if framing == 0 else _framed(stored, square, key, framing)
    if condition == CLEAN:
        return to_input(crop)
    rng = np.random.default_rng([_NUMBERS[condition], key, *([framing] if framing else [])])
    return to_input(_web(crop, rng) if condition == WEB else _hard(crop, rng))


def views(
    samples: Sequence[Sample], conditions: Sequence[str] = CONDITIONS, framing: int = 0
) -> dict[str, np.ndarray]:
    """Decode samples and return their views.

    Args:
        samples: The faces; a sample's place in the sequence plays no part, its content does.
        conditions: Which of `CONDITIONS`.
        framing: See `view`.

    Returns:
        uint8 [N, 128, 128, 3] RGB by condition.

    Raises:
        DataError: A crop is missing or corrupt.
    """
    made: dict[str, list[np.ndarray]] = {name: [] for name in conditions}
    for sample in track(samples, len(samples), "views for calibration", "crops"):
        stored = load_stored(sample)
        for name, pictures in made.items():
            pictures.append(view(stored, sample.square, name, int(sample.sha256[:12], 16), framing))
    return {name: np.stack(pictures) for name, pictures in made.items()}


def _framed(stored: np.ndarray, square: Square, key: int, framing: int) -> np.ndarray:
    """Cut a face as a slightly different box would, mirrored where `framing` is odd."""
    rng = np.random.default_rng([len(CONDITIONS), key, framing])
    side = round(square.side * rng.uniform(0.95, 1.05))
    moved = rng.uniform(-0.02, 0.02, 2) * square.side + (square.side - side) / 2
    crop = extract(stored, Square(square.x + round(moved[0]), square.y + round(moved[1]), side))
    return np.ascontiguousarray(crop[:, ::-1]) if framing % 2 else crop


def _web(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = crop.shape[0]
    wanted = max(min(side, _SMALLEST_WEB), round(side * (0.5 + 0.5 * rng.random())))
    return _jpeg(_resized(crop, wanted, rng), int(rng.integers(60, 91)))


def _hard(crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side = crop.shape[0]
    blurred = cv2.GaussianBlur(crop, (0, 0), (0.2 + 0.8 * rng.random()) * side / 128)
    small = _resized(blurred, min(side, int(rng.integers(48, 97))), rng)
    levels = np.linspace(0, 1, 256) ** (0.7 + 0.7 * rng.random())
    small = cv2.LUT(small, np.rint(levels * 255).astype(np.uint8))
    noise = rng.standard_normal(small.shape, np.float32) * (1 + 4 * rng.random())
    noisy = np.clip(np.rint(small + noise), 0, 255).astype(np.uint8)
    return _jpeg(noisy, int(rng.integers(30, 61)))


def _resized(crop: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    kernel = int(rng.choice(_KERNELS))
    return cv2.resize(crop, (side, side), interpolation=kernel) if side != crop.shape[0] else crop


def _jpeg(crop: np.ndarray, quality: int) -> np.ndarray:
    """Write to a JPEG in memory and read it again."""
    bgr = cv2.cvtColor(crop, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR) if done else None
    if decoded is None:
        raise RuntimeError("OpenCV can't write JPEG")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
