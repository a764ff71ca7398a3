"""How blurred a face may be for the classifier's verdict to count: the bundle's `gates.min_sharpness`."""

import math

import cv2
import numpy as np

from fauxface.gates import sharpness
from fauxface.verdicts import Calibration, Thresholds

RISK_LIMIT = 0.25
MOST_REFUSED = 0.01
MIN_EVIDENCE = 20
FACES_PER_LABEL = 150

_SIGMA = (1.0, 6.0)


def evidence(crops: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return blurred copies of some faces of both labels.

    Each is blurred by a Gaussian of 1 to 6 px, drawn evenly on a logarithmic scale: from soft to hopeless.

    Args:
        crops: uint8 [N, 128, 128, 3] RGB.
        labels: int [N], 0 bona fide, 1 generated.

    Returns:
        uint8 [M, 128, 128, 3] RGB and int [M]; at most `FACES_PER_LABEL` faces of each label, spread evenly
        over the given order; the same on every run.
    """
    chosen = []
    for value in (0, 1):
        mine = np.flatnonzero(labels == value)
        wanted = min(len(mine), FACES_PER_LABEL)
        chosen += mine[np.linspace(0, len(mine) - 1, wanted).round().astype(int)].tolist() if wanted else []
    rng = np.random.default_rng(7)
    low, high = _SIGMA
    blurred = [cv2.GaussianBlur(crops[i], (0, 0), low * (high / low) ** rng.random()) for i in chosen]
    return np.stack(blurred), labels[chosen]


def choose(
    blurred: tuple[np.ndarray, np.ndarray, np.ndarray],
    clean: tuple[np.ndarray, np.ndarray, np.ndarray],
    calibration: Calibration,
    thresholds: Thresholds,
) -> float | None:
    """Return the sharpness below which a face is "unsure", or None where no gate is called for.

    It is the highest value at which, among the blurred faces below it that got a verdict, the risk exceeds
    `RISK_LIMIT`: the share of wrong verdicts, each label having half of the weight; a label needs
    `MIN_EVIDENCE` such faces. But a camera face isn't refused for being soft: never more than `MOST_REFUSED`
    of the clean crops of any real source lie below it, which usually decides. Rounded down to a tenth.

    Args:
        blurred: Crops, labels and logits of `evidence`.
        clean: Crops, labels and sources of the validation split.
        calibration: From logits to probability.
        thresholds: From probability to label.
    """
    crops, labels, logits = blurred
    p = calibration.probability(logits)
    called = p >= thresholds.generated_from
    decided = called | (p < thresholds.bona_fide_below)
    wrong = called != (labels == 1)
    measured = np.array([sharpness(crop) for crop in crops])
    highest = None
    for limit in np.sort(measured):
        inside = decided & (measured < limit)
        shares = [
            float(np.mean(wrong[inside & (labels == value)]))
            for value in (0, 1)
            if np.count_nonzero(inside & (labels == value)) >= MIN_EVIDENCE
        ]
        if len(shares) == 2 and np.mean(shares) > RISK_LIMIT:
            highest = float(limit)
    if highest is None:
        return None
    value = min(highest, _spares(*clean))
    return math.floor(value * 10) / 10 or None


def _spares(crops: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> float:
    """Return the highest sharpness below which at most `MOST_REFUSED` of each real source lies."""
    measured = np.array([sharpness(crop) for crop in crops])
    real = labels == 0
    limits = []
    for name in np.unique(sources[real]):
        mine = np.sort(measured[real & (sources == name)])
        limits.append(float(mine[int(MOST_REFUSED * len(mine) + 1e-9)]))
    return min(limits)
