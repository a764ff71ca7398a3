"""YuNet's outputs as one array, which a network learns; the runtime decodes them. And matching of boxes."""

from collections.abc import Mapping

import numpy as np

from fauxface import yunet
from fauxface.yunet import OUTPUTS, STRIDES, WIDTHS

CHANNELS = sum(WIDTHS.values())
"""Values per cell of a packed map: cls, obj, 4 of the box, 10 of the landmarks."""


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


def decode(
    packed: np.ndarray, height: int, width: int, score_threshold: float = 0.6, nms_threshold: float = 0.3
) -> np.ndarray:
    """Turn a packed map into faces, as a scan does.

    Args:
        packed: float [cells, 16] from `pack`.
        height: Input height in pixels, a multiple of 32.
        width: Input width in pixels, a multiple of 32.
        score_threshold: Faces below it are dropped.
        nms_threshold: A box that overlaps a better one by more than this IoU is dropped.

    Returns:
        float32 [N, 15], best score first; see `fauxface.yunet.decode`.
    """
    ends = np.cumsum([(height // stride) * (width // stride) for stride in STRIDES])[:-1]
    found = {}
    for stride, cells in zip(STRIDES, np.split(packed.astype(np.float32), ends), strict=True):
        kinds = np.split(cells, np.cumsum([*WIDTHS.values()])[:-1], axis=1)
        found |= {f"{kind}_{stride}": values[None] for kind, values in zip(WIDTHS, kinds, strict=True)}
    return yunet.decode([found[name] for name in OUTPUTS], (height, width), score_threshold, nms_threshold)


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
