"""From logits to a verdict: calibrated probability, label and reason."""

import math
from dataclasses import dataclass

import numpy as np

BONA_FIDE = "bona_fide"
GENERATED = "generated"
UNSURE = "unsure"

LABELS = (BONA_FIDE, GENERATED)
"""The classifier's outputs in order: index 0 is a camera face, index 1 a generated one."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns logits into the calibrated probability of "generated" (Platt scaling of the logit difference).

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017 (temperature); Platt, 1999 (bias).

    Attributes:
        temperature: Divides the difference of the logits; finite, above 0.
        bias: Added after the division; finite.
        fitted_on: What the two were fitted on, in words; empty when they weren't fitted.

    Raises:
        ValueError: The temperature or the bias is out of range.
    """

    temperature: float = 1.0
    bias: float = 0.0
    fitted_on: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature must be finite and above 0, not {self.temperature}")
        if not math.isfinite(self.bias):
            raise ValueError(f"the bias must be finite, not {self.bias}")

    def log_odds(self, logits: np.ndarray) -> np.ndarray:
        """Return (logits[:, 1] - logits[:, 0]) / temperature + bias.

        Args:
            logits: floating point [N, 2], in the order of `LABELS`.

        Returns:
            float64 [N]: natural logarithms of the odds of "generated".

        Raises:
            ValueError: The logits aren't [N, 2].
        """
        values = np.asarray(logits, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != 2:
            raise ValueError(f"logits must be [N, 2], not {list(values.shape)}")
        return (values[:, 1] - values[:, 0]) / self.temperature + self.bias

    def probability(self, logits: np.ndarray) -> np.ndarray:
        """Return sigmoid((logits[:, 1] - logits[:, 0]) / temperature + bias).

        Args:
            logits: floating point [N, 2], in the order of `LABELS`.

        Returns:
            float64 [N] in [0, 1]; it neither overflows nor warns for logits of any size.

        Raises:
            ValueError: The logits aren't [N, 2].
        """
        z = self.log_odds(logits)
        small = np.exp(-np.abs(z))
        return np.where(z >= 0, 1.0, small) / (1.0 + small)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The operating point: below the lower threshold bona fide, from the upper one on generated.

    Attributes:
        bona_fide_below: Probabilities below it are labelled bona fide; in [0, 1].
        generated_from: Probabilities from it on are labelled generated; in [bona_fide_below, 1].
        rule: How the two were chosen, in words.

    Raises:
        ValueError: A threshold is out of range, or the two are in the wrong order.
    """

    bona_fide_below: float = 0.5
    generated_from: float = 0.5
    rule: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.bona_fide_below <= self.generated_from <= 1:
            raise ValueError(
                "thresholds must satisfy 0 <= bona_fide_below <= generated_from <= 1, not "
                f"{self.bona_fide_below} and {self.generated_from}"
            )

    def label(self, p_generated: float) -> str:
        """Return "bona_fide", "generated" or "unsure" for a calibrated probability in [0, 1]."""
        if p_generated >= self.generated_from:
            return GENERATED
        return BONA_FIDE if p_generated < self.bona_fide_below else UNSURE

    def verdict(
        self, p_generated: float, face_px: float, min_face_px: float, failure: str | None = None
    ) -> tuple[str, str | None]:
        """Return the label of a face and the reason where it is "unsure".

        Args:
            p_generated: Calibrated probability of "generated" in [0, 1].
            face_px: Size of the face in pixels of the full-resolution picture.
            min_face_px: Faces smaller than this are "unsure" whatever their probability.
            failure: Why the face fails a quality gate, which makes it "unsure" too; see `Gates.failure`.

        Returns:
            The label, and a reason that is None unless the label is "unsure".
        """
        if face_px < min_face_px:
            return UNSURE, f"face is {math.floor(face_px)} px, smaller than {math.ceil(min_face_px)} px"
        if failure is not None:
            return UNSURE, failure
        label = self.label(p_generated)
        if label != UNSURE:
            return label, None
        return UNSURE, (
            f"probability {p_generated:.3f} lies between the thresholds "
            f"{self.bona_fide_below:.3f} and {self.generated_from:.3f}"
        )
