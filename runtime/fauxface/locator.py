"""Finding faces: OpenCV's FaceDetectorYN on a locator in YuNet's output format."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from fauxface.crops import Box
from fauxface.errors import BundleError

_SMALLEST = 32
_TOP_K = 5000


@dataclass(frozen=True, slots=True)
class Location:
    """Where a face is.

    Attributes:
        box: x, y, width, height in pixels of the full picture; it may reach beyond it, its centre doesn't.
        landmarks: Right eye, left eye, nose tip, right and left mouth corner (the person's own right), each
            x, y in pixels.
        score: The locator's confidence in [0, 1].
    """

    box: Box
    landmarks: tuple[tuple[float, float], ...]
    score: float


class FaceLocator(Protocol):
    """Anything that finds faces, for example `Locator`."""

    def locate(self, image: np.ndarray) -> list[Location]:
        """Return the faces of an RGB uint8 [H, W, 3] picture, largest first."""
        ...


class Locator:
    """Finds faces with a YuNet-format network: 12 outputs at strides 8, 16 and 32, any size that 32 divides.

    Not thread-safe: use one per thread.

    Args:
        model_bytes: The ONNX file's content.
        score_threshold: Faces below this confidence are dropped, in [0, 1].
        nms_threshold: Of two boxes that overlap by more than this IoU, the weaker one is dropped.
        max_side: The network sees a copy whose longer side is at most this many pixels.

    Raises:
        BundleError: The bytes aren't an ONNX network that FaceDetectorYN can run.
    """

    def __init__(
        self,
        model_bytes: bytes,
        score_threshold: float = 0.6,
        nms_threshold: float = 0.3,
        max_side: int = 640,
    ) -> None:
        self.max_side = max_side
        try:
            with _quiet_opencv():
                self._detector = cv2.FaceDetectorYN.create(
                    "onnx",
                    np.frombuffer(model_bytes, np.uint8),
                    np.zeros(0, np.uint8),
                    (_SMALLEST, _SMALLEST),
                    score_threshold,
                    nms_threshold,
                    _TOP_K,
                )
                self._detector.detect(np.zeros((_SMALLEST, _SMALLEST, 3), np.uint8))
        except (cv2.error, SystemError) as error:
            raise BundleError(
                "the locator isn't an ONNX file in YuNet's format; use one that cv2.FaceDetectorYN reads"
            ) from error

    def locate(self, image: np.ndarray) -> list[Location]:
        """Find the faces of a picture.

        The network sees a copy shrunk to `max_side` (INTER_AREA; never enlarged); the locations are in pixels
        of the picture itself.

        Args:
            image: uint8 [H, W, 3], RGB, upright.

        Returns:
            The faces, largest area first; empty where there is none.
        """
        height, width = image.shape[:2]
        scale = min(1.0, self.max_side / max(height, width))
        small = image
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        below, right = max(0, _SMALLEST - bgr.shape[0]), max(0, _SMALLEST - bgr.shape[1])
        if below or right:
            bgr = cv2.copyMakeBorder(bgr, 0, below, 0, right, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        self._detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = self._detector.detect(bgr)
        if rows is None:
            return []
        # The copy's sides are whole pixels, so each axis has its own exact factor.
        factors = np.array([width / small.shape[1], height / small.shape[0]])
        return _locations(np.asarray(rows, np.float64), factors, (width, height))


def _locations(rows: np.ndarray, factors: np.ndarray, size: tuple[int, int]) -> list[Location]:
    """Turn FaceDetectorYN's rows [N, 15] into locations; what is centred outside the picture is dropped."""
    found = []
    for row in rows:
        points = row[:14].reshape(7, 2) * factors
        (x, y), (w, h) = points[0], points[1]
        score = float(row[14])
        if not (np.isfinite(points).all() and np.isfinite(score)) or min(w, h) <= 0:
            continue
        if not (0 <= x + w / 2 < size[0] and 0 <= y + h / 2 < size[1]):
            continue
        landmarks = tuple((float(px), float(py)) for px, py in points[2:])
        found.append(Location((float(x), float(y), float(w), float(h)), landmarks, min(max(score, 0.0), 1.0)))
    return sorted(found, key=lambda face: face.box[2] * face.box[3], reverse=True)


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Hold back OpenCV's log: it warns at each creation that the new graph engine knows no targets."""
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(level)
