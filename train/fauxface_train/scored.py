"""Scored samples: probabilities joined with what the manifest knows of the pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fauxface_train.dataset import Sample

AGE_BANDS = ((0, 12), (13, 19), (20, 39), (40, 59), (60, 199))


@dataclass(frozen=True, slots=True)
class Scored:
    """Scored samples of one split.

    Attributes:
        p: float64 [N], calibrated probability of "generated" in [0, 1].
        labels: int [N], 0 bona fide, 1 generated.
        sources: str [N], the data set, camera or generator.
        attributes: Per attribute name (age_band, gender, race) str [N]; "" where unknown.
    """

    p: np.ndarray
    labels: np.ndarray
    sources: np.ndarray
    attributes: dict[str, np.ndarray] = field(default_factory=dict)

    def take(self, mask: np.ndarray) -> "Scored":
        """Return the samples where the mask is true."""
        attributes = {name: values[mask] for name, values in self.attributes.items()}
        return Scored(self.p[mask], self.labels[mask], self.sources[mask], attributes)

    def of(self, label: int, source: str | None = None) -> "Scored":
        """Return the samples of one label, or of one source of that label."""
        mask = self.labels == label
        return self.take(mask if source is None else mask & (self.sources == source))

    def names(self, label: int) -> list[str]:
        """Return the sorted sources of one label."""
        return [str(name) for name in np.unique(self.sources[self.labels == label])]

    def __len__(self) -> int:
        return len(self.p)


def age_band(age: int | None) -> str:
    """Return the band of an age in years, for example "20-39" or "60+"; "" where it isn't known."""
    for low, high in AGE_BANDS:
        if age is not None and low <= age <= high:
            return f"{low}+" if high > 150 else f"{low}-{high}"
    return ""


def attach(samples: Sequence[Sample], p: np.ndarray) -> Scored:
    """Join probabilities with what the manifest knows of the samples."""
    return Scored(
        p=np.asarray(p, np.float64),
        labels=np.array([sample.label for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        attributes={
            "age_band": np.array([age_band(sample.age) for sample in samples]),
            "gender": np.array([sample.gender or "" for sample in samples]),
            "race": np.array([sample.race or "" for sample in samples]),
        },
    )
