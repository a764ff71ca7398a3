"""Which of a bundle's limits a face doesn't keep: a scan calls it "unsure" whatever its probability."""

import numpy as np

from fauxface.gates import Gates
from fauxface_train.dataset import Sample

SMALL = "min_face_px"
PASSED = ""


def failed(sample: Sample, crop: np.ndarray, gates: Gates, min_face_px: float = 0) -> str:
    """Return the name of the first limit that a face doesn't keep, as a scan would judge it, or `PASSED`.

    Args:
        sample: The face; without landmarks it passes the gates of pose.
        crop: The classifier's input, uint8 [128, 128, 3] RGB.
        gates: Limits of blur and pose.
        min_face_px: The smallest face, in pixels of the original picture.
    """
    if int(sample.face_px) < min_face_px:
        return SMALL
    for name, limit in gates.to_dict().items():
        if Gates(**{name: limit}).failure(crop, sample.landmarks) is not None:
            return name
    return PASSED
