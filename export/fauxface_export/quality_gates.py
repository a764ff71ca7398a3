"""The bundle's `gates`: blur as training chose it, pose as far as the validation split shows faces."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fauxface.errors import CheckpointError
from fauxface.gates import Gates, roll, yaw
from fauxface.locator import FaceLocator
from fauxface.progress import track
from fauxface_train.checkpoint import Checkpoint
from fauxface_train.dataset import PreparedData, load_stored
from fauxface_train.patterns import matches
from fauxface_train.training_set import excluded

FEWEST_FACES = 200
SHARE = 0.995
SLACK_DEGREES = 15


def field(loaded: Checkpoint, prepared: PreparedData | None, locator: FaceLocator) -> dict[str, Any]:
    """Return the manifest's `gates`, as `{"gates": ...}`, or nothing where there is no gate.

    `min_sharpness` is the checkpoint's. `max_yaw` and `max_roll` lie `SLACK_DEGREES` beyond the angle within
    which `SHARE` of the validation faces lie, rounded up, since nobody has measured how the classifier does
    beyond. They are measured with the locator that goes into the bundle, on the stored crops; below
    `FEWEST_FACES` faces, or without prepared data, there is no gate on pose.

    Args:
        loaded: The checkpoint.
        prepared: Prepared data, whose val split is located again.
        locator: The bundle's locator.

    Raises:
        CheckpointError: The checkpoint's gates are malformed.
        DataError: A crop is missing or corrupt.
    """
    try:
        gates = Gates(**(loaded.info.get("gates") or {}))
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{loaded.path} has no valid gates ({error}); train it again") from None
    fields = gates.to_dict() | (pose(prepared, locator, excluded(loaded.info)) if prepared else {})
    return {"gates": fields} if fields else {}


def pose(prepared: PreparedData, locator: FaceLocator, exclude: Sequence[str] = ()) -> dict[str, float]:
    """Return `max_yaw` and `max_roll` in degrees for the val split, or nothing where it is too small.

    Args:
        prepared: The data.
        locator: The bundle's locator.
        exclude: Patterns of sources that training left out.
    """
    samples = [s for s in prepared.samples(split="val") if not matches(s.source, exclude)]
    yaws, rolls = [], []
    for sample in track(samples, len(samples), "pose of the val split", "faces"):
        found = locator.locate(load_stored(sample))
        if found and len(found[0].landmarks) >= 3:
            yaws.append(abs(yaw(found[0].landmarks)))
            rolls.append(abs(roll(found[0].landmarks)))
    if len(yaws) < FEWEST_FACES:
        return {}

    def limit(angles: list[float], highest: int) -> float:
        # Rounding first keeps a hair above a whole degree from counting as the next.
        seen = math.ceil(round(float(np.quantile(angles, SHARE)), 3))
        return float(min(highest, seen + SLACK_DEGREES))

    return {"max_yaw": limit(yaws, 90), "max_roll": limit(rolls, 180)}
