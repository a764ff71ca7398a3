"""How far a classifier in another precision is from fp32: AUROC lost, decisions changed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.metrics import roc_auc_score

from fauxface.manifest import OperatingPoint
from fauxface.verdicts import Calibration
from fauxface_export.golden import spread
from fauxface_train.dataset import Sample

AUROC_LOSS_LIMIT = 0.002
FLIP_LIMIT = 0.01
LIMITS = {"auroc_loss": AUROC_LOSS_LIMIT, "flips": FLIP_LIMIT}


@dataclass(frozen=True, slots=True)
class Scored:
    """A split and what fp32 says of it.

    Attributes:
        samples: The pictures.
        logits: float32 [N, 2] of fp32.
    """

    samples: Sequence[Sample]
    logits: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """Label of each sample, int [N]."""
        return np.array([sample.label for sample in self.samples])

    @property
    def sources(self) -> np.ndarray:
        """Source of each sample."""
        return np.array([sample.source for sample in self.samples])

    def part(self, count: int) -> "Scored":
        """Return at most `count` samples, spread over labels and sources."""
        order = sorted(range(len(self.samples)), key=lambda i: order_key(self.samples[i]))
        chosen = [order[i] for i in spread(len(order), count)]
        return Scored([self.samples[i] for i in chosen], self.logits[chosen])


@dataclass(frozen=True, slots=True)
class Difference:
    """A variant against fp32 on one set of pictures, each at its own operating point.

    Attributes:
        samples: Number of pictures.
        auroc_fp32: AUROC of fp32.
        auroc_loss: What the variant loses of it; negative where it gains.
        flips: Share of pictures whose label isn't fp32's, in [0, 1].
        probability: Mean absolute difference of the calibrated probability.
        logit: Root mean square difference of the two logits' difference.
    """

    samples: int
    auroc_fp32: float
    auroc_loss: float
    flips: float
    probability: float
    logit: float

    @property
    def holds(self) -> bool:
        """Whether AUROC loss and flips are within the limits; a NaN isn't."""
        return self.auroc_loss <= AUROC_LOSS_LIMIT and self.flips <= FLIP_LIMIT

    def to_dict(self) -> dict[str, float]:
        """Return the figures as they stand in the manifest."""
        return {
            "samples": self.samples,
            "auroc_fp32": self.auroc_fp32,
            "auroc_loss": self.auroc_loss,
            "flips": self.flips,
            "mean_probability_difference": self.probability,
            "rms_logit_difference": self.logit,
        }


def matched(fp32: Scored, point: OperatingPoint, logits: np.ndarray) -> OperatingPoint:
    """Return the operating point at which a variant says what fp32 says, as nearly as two numbers can.

    Temperature and bias are fitted by least squares to the calibrated log-odds of fp32, each picture with the
    weight p (1 - p), the slope of its probability: what counts is where verdicts change. The thresholds stay,
    since choosing them anew from the same few pictures would move them by more than the rounding does.

    Args:
        fp32: Pictures with the logits of fp32.
        point: The operating point of fp32.
        logits: float32 [N, 2] of the variant for the same pictures.
    """
    wanted, found = point.calibration.log_odds(fp32.logits), Calibration().log_odds(logits)
    p = point.calibration.probability(fp32.logits)
    weight = np.sqrt(p * (1 - p) + 1e-6)
    slope, bias = np.linalg.lstsq(
        np.stack([found, np.ones_like(found)], axis=1) * weight[:, None], wanted * weight, rcond=None
    )[0]
    if not slope > 0:
        return point
    said = f"val split, {len(logits)} clean crops, to the probabilities of fp32"
    thresholds = replace(point.thresholds, rule="those of fp32")
    return OperatingPoint(Calibration(float(1 / slope), float(bias), said), thresholds)


def compare(
    fp32: Scored, fp32_point: OperatingPoint, logits: np.ndarray, point: OperatingPoint
) -> Difference:
    """Compare a variant's logits with those of fp32, each at its own operating point.

    Args:
        fp32: Pictures with the logits of fp32.
        fp32_point: The operating point of fp32.
        logits: float32 [N, 2] of the variant.
        point: The operating point of the variant.
    """
    differences = [values[:, 1].astype(np.float64) - values[:, 0] for values in (fp32.logits, logits)]
    before, after = (roc_auc_score(fp32.labels, values) for values in differences)
    p = fp32_point.calibration.probability(fp32.logits), point.calibration.probability(logits)
    labels = [
        [fp32_point.thresholds.label(value) for value in p[0]],
        [point.thresholds.label(v) for v in p[1]],
    ]
    return Difference(
        samples=len(logits),
        auroc_fp32=float(before),
        auroc_loss=float(before - after),
        flips=float(np.mean([one != other for one, other in zip(*labels, strict=True)])),
        probability=float(np.mean(np.abs(p[0] - p[1]))),
        logit=float(np.sqrt(np.mean((differences[0] - differences[1]) ** 2))),
    )


def order_key(sample: Sample) -> tuple[int, str, str]:
    """Return what spreads samples over labels and sources when they are sorted by it."""
    return sample.label, sample.source, sample.sha256
