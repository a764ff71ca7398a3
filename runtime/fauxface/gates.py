"""Quality gates: a face that is too blurred or turned too far is "unsure", whatever the classifier says."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

NOSE_REACH = 0.5
"""How far the tip of the nose stands before the eyes, as a share of the distance between the eyes."""


def sharpness(crop: np.ndarray) -> float:
    """Return the variance of the Laplacian: 0 for a plain colour, a few units for a hopeless blur.

    The Laplacian is OpenCV's 3 x 3 kernel on the gray picture (ITU-R BT.601), so the unit is squared gray
    levels. It falls with blur and rises with noise, which it can't tell from detail.

    Source: Pech-Pacheco et al., "Diatom autofocusing in brightfield microscopy", ICPR 2000.

    Args:
        crop: The classifier's input, uint8 [128, 128, 3] RGB.
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.CV_16S))
    return float(deviation.item()) ** 2


def roll(landmarks: Sequence[tuple[float, float]]) -> float:
    """Return by how many degrees the line through the eyes is turned from the horizontal, in (-180, 180].

    0 is upright, positive clockwise as seen in the picture.

    Args:
        landmarks: Right eye, left eye, nose tip, ... (the person's own right), each x, y in pixels.
    """
    (right_x, right_y), (left_x, left_y) = landmarks[:2]
    return math.degrees(math.atan2(left_y - right_y, left_x - right_x))


def yaw(landmarks: Sequence[tuple[float, float]]) -> float:
    """Estimate by how many degrees the head is turned to the side, in [-90, 90].

    0 faces the camera; positive is turned towards the person's own left, which is the picture's right. With
    the nose's tip `NOSE_REACH` eye distances before the middle of the eyes, a head that turns by `yaw` moves
    it along the eye line by `NOSE_REACH * sin(yaw)`, while the eyes close up to `cos(yaw)`, so

        tan(yaw) = offset / NOSE_REACH

    where `offset` is the nose's distance from the middle of the eyes along the eye line, over the distance
    of the eyes. It is a coarse estimate: noses differ, and beyond about 60 degrees one eye is hidden.

    Args:
        landmarks: Right eye, left eye, nose tip, ... (the person's own right), each x, y in pixels.
    """
    (right_x, right_y), (left_x, left_y), (nose_x, nose_y) = landmarks[:3]
    across_x, across_y = left_x - right_x, left_y - right_y
    offset_x, offset_y = nose_x - (right_x + left_x) / 2, nose_y - (right_y + left_y) / 2
    along = offset_x * across_x + offset_y * across_y
    return math.degrees(math.atan2(along, NOSE_REACH * (across_x**2 + across_y**2)))


@dataclass(frozen=True, slots=True)
class Gates:
    """What a face must fulfil for its probability to count; None switches a gate off.

    Attributes:
        min_sharpness: Faces below this `sharpness` are "unsure"; at least 0, squared gray levels.
        max_yaw: Faces whose `yaw` is larger either way are "unsure"; degrees, in [1, 90].
        max_roll: Faces whose `roll` is larger either way are "unsure"; degrees, in [1, 180].

    Raises:
        ValueError: A number is out of range.
    """

    min_sharpness: float | None = None
    max_yaw: float | None = None
    max_roll: float | None = None

    def __post_init__(self) -> None:
        if self.min_sharpness is not None and not 0 <= self.min_sharpness <= 1e6:
            raise ValueError(f"min_sharpness must lie in [0, 1e6], not {self.min_sharpness}")
        for name, value, high in (("max_yaw", self.max_yaw, 90), ("max_roll", self.max_roll, 180)):
            if value is not None and not 1 <= value <= high:
                raise ValueError(f"{name} must lie in [1, {high}], not {value}")

    def __bool__(self) -> bool:
        return (self.min_sharpness, self.max_yaw, self.max_roll) != (None, None, None)

    def failure(self, crop: np.ndarray, landmarks: Sequence[tuple[float, float]] = ()) -> str | None:
        """Return why a face fails, or None where it passes.

        Args:
            crop: The classifier's input, uint8 [128, 128, 3] RGB.
            landmarks: The five landmarks; empty where they aren't known, which passes the gates of pose.

        Returns:
            For example "face is blurred: sharpness 6.1, below 12".
        """
        if self.min_sharpness is not None and (measured := sharpness(crop)) < self.min_sharpness:
            return f"face is blurred: sharpness {_below(measured):g}, below {self.min_sharpness:g}"
        if not landmarks:
            return None
        for what, limit, angle in (
            ("turned to the side: yaw", self.max_yaw, yaw),
            ("tilted: roll", self.max_roll, roll),
        ):
            if limit is not None and (degrees := abs(angle(landmarks))) > limit:
                return f"face is {what} {math.ceil(degrees)} degrees, above {limit:g}"
        return None

    def to_dict(self) -> dict[str, float]:
        """Return the gates that are switched on, as JSON values."""
        values = {"min_sharpness": self.min_sharpness, "max_yaw": self.max_yaw, "max_roll": self.max_roll}
        return {name: value for name, value in values.items() if value is not None}


def _below(value: float) -> float:
    """Round down to a tenth, so that a value below a limit is never shown as the limit."""
    return math.floor(value * 10) / 10
