"""Counting what a locator finds of a reference's faces."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fauxface.locator import Location
from fauxface_train.intervals import clopper_pearson, grouped_rate
from fauxface_train.locator.decode import match

MATCH_IOU = 0.5
"""Smallest IoU at which a face counts as found and as right."""
CLOSE_IOU = 0.6
"""IoU of the stricter share, `found_close`."""
NOMINAL_SIDE = 320
"""Sizes of faces are given in pixels of a copy whose longer side is at most this."""
BANDS = (0.0, 12.0, 24.0, 48.0, 96.0)
"""Where the bands of size begin, in pixels of that copy."""


def nominal_scale(picture: np.ndarray) -> float:
    """Return the factor from pixels of a picture to those in which sizes are given."""
    return min(1.0, NOMINAL_SIDE / max(picture.shape[:2]))


@dataclass(slots=True)
class Tally:
    """Sums over the pictures of one group at one size.

    The figures that are judged leave out faces below the smallest size: of the reference's faces the small
    ones, of the locator's faces the small ones, but a face of either is matched with one of any size, so that
    a box which is a pixel too small is no miss.

    Attributes:
        smallest: Longer side below which faces aren't judged, in pixels of the nominal copy.
        pictures: How many pictures.
        reference_all: Faces that the reference finds, of any size.
        found_all: Faces that the locator finds, of any size.
        matched_all: One-to-one pairs with IoU >= 0.5.
        reference: Reference faces that are large enough.
        reference_matched: Those among them that were matched.
        reference_close: Those that were matched with IoU >= 0.6.
        found: The locator's faces that are large enough.
        found_matched: Those among them that were matched.
        overlap: Sum of IoU over the matched reference faces that are large enough.
        landmark_error: Sum over the same of the landmarks' mean distance over the longer side of the box.
        bands: Of each band of size, reference faces and how many of them were matched.
        files: Of each file, matched and all of `reference`, matched and all of `found`.
    """

    smallest: float = 24.0
    pictures: int = 0
    reference_all: int = 0
    found_all: int = 0
    matched_all: int = 0
    reference: int = 0
    reference_matched: int = 0
    reference_close: int = 0
    found: int = 0
    found_matched: int = 0
    overlap: float = 0.0
    landmark_error: float = 0.0
    bands: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in BANDS])
    files: dict[str, list[int]] = field(default_factory=dict)

    def add(
        self, reference: Sequence[Location], found: Sequence[Location], scale: float, file: str = ""
    ) -> None:
        """Count one picture.

        Args:
            reference: The reference's faces.
            found: The locator's faces.
            scale: Factor from their pixels to those of `smallest`.
            file: Where the picture comes from; frames of one clip aren't independent. A file of its own
                where none is named.
        """
        before = self._counts()
        pairs = match(_boxes(reference), _boxes(found), MATCH_IOU)
        expected, guessed = _sides(reference) * scale, _sides(found) * scale
        self.pictures += 1
        self.reference_all += len(reference)
        self.found_all += len(found)
        self.matched_all += len(pairs)
        self.reference += int((expected >= self.smallest).sum())
        self.found += int((guessed >= self.smallest).sum())
        band_of = np.searchsorted(BANDS, expected, side="right") - 1
        for band in band_of:
            self.bands[band][0] += 1
        for row, column, overlap in pairs:
            self.bands[band_of[row]][1] += 1
            self.found_matched += bool(guessed[column] >= self.smallest)
            if expected[row] < self.smallest:
                continue
            self.reference_matched += 1
            self.reference_close += overlap >= CLOSE_IOU
            self.overlap += overlap
            distance = np.subtract(reference[row].landmarks, found[column].landmarks)
            self.landmark_error += float(
                np.linalg.norm(distance, axis=1).mean() / max(reference[row].box[2:])
            )
        counts = self.files.setdefault(file or f"picture {self.pictures}", [0] * 4)
        for index, (new, old) in enumerate(zip(self._counts(), before, strict=True)):
            counts[index] += new - old

    def _counts(self) -> tuple[int, ...]:
        return self.reference_matched, self.reference, self.found_matched, self.found

    def _interval(self, part: int, whole: int) -> list[float] | None:
        """Return the interval of a share, given which of a file's counts are its part and its whole."""
        parts, wholes = (np.array([counts[i] for counts in self.files.values()], int) for i in (part, whole))
        if not wholes.sum():
            return None
        ends = clopper_pearson(int(parts.sum()), int(wholes.sum()))
        if len(self.files) < self.pictures:
            events = np.concatenate([np.arange(n) < k for k, n in zip(parts, wholes, strict=True)])
            sources = np.repeat(np.arange(len(wholes)), wholes)
            ends = grouped_rate(events, sources, np.zeros(len(events), int))
        return [round(float(end), 5) for end in ends]

    def to_dict(self) -> dict[str, object]:
        """Return counts, rates and 95 % intervals; a rate without anything to count is None."""
        return {
            "pictures": self.pictures,
            "reference_faces": self.reference,
            "found_faces": self.found,
            "recall": _rate(self.reference_matched, self.reference),
            "recall_interval": self._interval(0, 1),
            "precision": _rate(self.found_matched, self.found),
            "precision_interval": self._interval(2, 3),
            "found_close": _rate(self.reference_close, self.reference),
            "mean_iou": _rate(self.overlap, self.reference_matched),
            "landmark_error": _rate(self.landmark_error, self.reference_matched),
            "any_size": {
                "reference_faces": self.reference_all,
                "found_faces": self.found_all,
                "matched": self.matched_all,
                "recall": _rate(self.matched_all, self.reference_all),
                "precision": _rate(self.matched_all, self.found_all),
            },
            "bands": [
                {
                    "from_px": start,
                    "reference_faces": faces,
                    "matched": matched,
                    "recall": _rate(matched, faces),
                }
                for start, (faces, matched) in zip(BANDS, self.bands, strict=True)
            ],
        }

    def to_false_faces(self) -> dict[str, object]:
        """Return what was found where no faces are, of any size."""
        return {
            "pictures": self.pictures,
            "found_faces": self.found_all,
            "reference_faces": self.reference_all,
            "found_by_both": self.matched_all,
        }


def _boxes(faces: Sequence[Location]) -> np.ndarray:
    return np.array([face.box for face in faces], np.float64).reshape(-1, 4)


def _sides(faces: Sequence[Location]) -> np.ndarray:
    return _boxes(faces)[:, 2:].max(axis=1, initial=0.0)


def _rate(part: float, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None
