"""YuNet's output format: names, decoding, non-maximum suppression and matching, in NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

STRIDES = (8, 16, 32)
"""Cell sizes in pixels of the three output maps."""
WIDTHS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""Values per cell of each kind of output."""
OUTPUTS = tuple(f"{kind}_{stride}" for kind in WIDTHS for stride in STRIDES)
"""The twelve output names in file order."""
CHANNELS = sum(WIDTHS.values())
"""Values per cell of a packed map: cls, obj, 4 of the box, 10 of the landmarks."""
MULTIPLE = 32
"""Heights and widths of an input must be multiples of this."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Faces of one picture, best score first.

    Attributes:
        boxes: float32 [N, 4], x, y, width, height in pixels.
        landmarks: float32 [N, 5, 2], x, y in pixels: right eye, left eye, nose, right and left mouth corner.
        scores: float32 [N] in [0, 1].
    """

    boxes: np.ndarray
    landmarks: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)

    def keep(self, index: np.ndarray) -> "Detections":
        """Return the faces that an index or a mask selects."""
        return Detections(self.boxes[index], self.landmarks[index], self.scores[index])


def pack(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Concatenate the twelve outputs into one array.

    Args:
        outputs: Name -> float [1, cells, C].

    Returns:
        float [cells of all strides, 16]: cls, obj, box, landmarks; stride 8 first.
    """
    return np.concatenate(
        [np.concatenate([outputs[f"{kind}_{stride}"][0] for kind in WIDTHS], axis=1) for stride in STRIDES]
    )


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the top left corner and the stride of each cell, in the order of `pack`.

    Args:
        height: Input height in pixels, a multiple of 32.
        width: Input width in pixels, a multiple of 32.

    Returns:
        float32 [cells, 2] columns and rows in cells, float32 [cells] strides in pixels.
    """
    cells, strides = [], []
    for stride in STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        cells.append(np.stack([columns.ravel(), rows.ravel()], axis=1))
        strides.append(np.full(rows.size, stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(
    packed: np.ndarray, height: int, width: int, score_threshold: float = 0.6, nms_threshold: float = 0.3
) -> Detections:
    """Turn a packed map into faces, as OpenCV's FaceDetectorYN does.

    score = sqrt(clip(cls) * clip(obj)); centre = (cell + xy) * stride; size = exp(wh) * stride; landmark =
    (cell + xy) * stride (`FaceDetectorYNImpl::postProcess` in OpenCV's modules/objdetect).

    Args:
        packed: float [cells, 16] from `pack`.
        height: Input height in pixels.
        width: Input width in pixels.
        score_threshold: Faces below it are dropped.
        nms_threshold: A box that overlaps a better one by more than this IoU is dropped.
    """
    score = np.sqrt(np.clip(packed[:, 0], 0, 1) * np.clip(packed[:, 1], 0, 1)).astype(np.float32)
    chosen = np.flatnonzero(score >= score_threshold)
    chosen = chosen[np.argsort(-score[chosen], kind="stable")]
    cells, strides = (values[chosen] for values in grid(height, width))
    values = packed[chosen].astype(np.float32)
    size = np.exp(values[:, 4:6]) * strides[:, None]
    corner = (cells + values[:, 2:4]) * strides[:, None] - size / 2
    landmarks = (cells[:, None, :] + values[:, 6:].reshape(-1, 5, 2)) * strides[:, None, None]
    faces = Detections(np.concatenate([corner, size], axis=1), landmarks, score[chosen])
    return faces.keep(suppress(faces.boxes, nms_threshold))


def suppress(boxes: np.ndarray, threshold: float) -> np.ndarray:
    """Return the indices that greedy non-maximum suppression keeps.

    Args:
        boxes: float [N, 4], x, y, width, height, best first.
        threshold: Largest IoU that two kept boxes may have.
    """
    kept: list[int] = []
    free = np.ones(len(boxes), bool)
    for index in range(len(boxes)):
        if free[index]:
            kept.append(index)
            free[index + 1 :] &= iou(boxes[index : index + 1], boxes[index + 1 :])[0] <= threshold
    return np.array(kept, np.intp)


def iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the intersection over union of every pair of boxes.

    Args:
        first: float [N, 4], x, y, width, height.
        second: float [M, 4].

    Returns:
        float [N, M] in [0, 1].
    """
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None] - shared
    return np.where(union > 0, shared / np.maximum(union, 1e-9), 0.0)


def match(reference: np.ndarray, found: np.ndarray, at_least: float = 0.5) -> list[tuple[int, int, float]]:
    """Pair boxes one to one, greedily by falling IoU.

    Args:
        reference: float [N, 4], x, y, width, height.
        found: float [M, 4].
        at_least: Smallest IoU of a pair.

    Returns:
        (index into reference, index into found, IoU) of each pair.
    """
    overlaps = iou(reference, found)
    order = np.argsort(-overlaps, axis=None, kind="stable")
    pairs: list[tuple[int, int, float]] = []
    used_reference: set[int] = set()
    used_found: set[int] = set()
    for row, column in zip(*np.unravel_index(order, overlaps.shape), strict=True):
        value = float(overlaps[row, column])
        if value < at_least:
            break
        if row not in used_reference and column not in used_found:
            used_reference.add(int(row))
            used_found.add(int(column))
            pairs.append((int(row), int(column), value))
    return pairs
