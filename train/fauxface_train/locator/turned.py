"""Which faces are turned aside: few portraits are, and a locator that seldom saw one doesn't find it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fauxface.errors import BundleError, CheckpointError
from fauxface.locator import Location, Locator
from fauxface.progress import track
from fauxface_train.locator.pictures import decoded

_SIDE = 160


def most_turned_first(paths: Sequence[Path], teacher: Path) -> list[Path]:
    """Return face pictures by how far the largest face of each is turned aside, the full profiles first.

    Args:
        paths: Pictures; those that can't be decoded, and those in which the teacher finds no face, come last.
        teacher: The teacher's ONNX file.

    Raises:
        CheckpointError: The teacher isn't in YuNet's format.
    """
    try:
        locator = Locator(teacher.read_bytes(), max_side=_SIDE)
        turns = [_turn(path, locator) for path in track(paths, len(paths), "poses", "pictures")]
    except BundleError as error:
        raise CheckpointError(f"{teacher}: {error}") from error
    return [paths[index] for index in np.argsort(turns, kind="stable")]


def frontality(face: Location) -> float:
    """Return the distance between the eyes over that from between the eyes to between the mouth's corners.

    About 1 for a face seen from the front, 0.6 in full profile, whatever the head's roll. (`gates.yaw` goes
    by where the nose is between the eyes, and is coarse in profile.)
    """
    right_eye, left_eye, _, right_mouth, left_mouth = np.array(face.landmarks)
    height = float(np.linalg.norm((right_mouth + left_mouth - right_eye - left_eye) / 2))
    return float(np.linalg.norm(left_eye - right_eye)) / max(height, 1e-6)


def _turn(path: Path, locator: Locator) -> float:
    picture = decoded(path)
    faces = [] if picture is None else locator.locate(picture, bgr=True)
    return frontality(faces[0]) if faces else float("inf")
