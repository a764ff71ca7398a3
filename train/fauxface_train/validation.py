"""Scoring the validation split during training, and the named metrics that choose the best checkpoint."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from fauxface.errors import DataError
from fauxface.progress import track
from fauxface_train.augment import degraded, nominal
from fauxface_train.dataset import Sample, load_stored
from fauxface_train.model import in_full_precision
from fauxface_train.presets import Degradations

MIN_SOURCE_SAMPLES = 40
"""Sources with fewer validation pictures don't count for worst_source_auroc."""


@dataclass(frozen=True, slots=True)
class Validation:
    """The validation split, decoded.

    Attributes:
        samples: The N faces.
        clean: Nominal crops, uint8 [N, 128, 128, 3] RGB, cut and resized by the runtime's own code.
        degraded: The same faces through degradations with a fixed seed, or None.
        labels: int64 [N].
        sources: N names.
    """

    samples: tuple[Sample, ...]
    clean: np.ndarray
    degraded: np.ndarray | None
    labels: np.ndarray
    sources: np.ndarray


def prepare(samples: Sequence[Sample], degradations: Degradations | None) -> Validation:
    """Decode a validation split.

    A picture's degraded view hangs on the picture and the degradations alone, so that runs can be compared,
    whatever their seeds are and whichever sources they leave out.

    Args:
        samples: The samples.
        degradations: Those of the degraded views; None: there are none.

    Raises:
        DataError: A crop is missing or corrupt.
    """
    clean, hard = [], []
    for sample in track(samples, len(samples), "decode val", "crops"):
        stored = load_stored(sample)
        clean.append(nominal(stored, sample.square))
        if degradations is not None:
            seed = [5, int(sample.sha256[:15], 16)]
            hard.append(degraded(stored, sample.square, np.random.default_rng(seed), degradations))
    return Validation(
        tuple(samples),
        np.stack(clean),
        np.stack(hard) if hard else None,
        np.array([s.label for s in samples]),
        np.array([s.source for s in samples]),
    )


def logits(
    module: nn.Module,
    crops: np.ndarray,
    device: torch.device,
    autocast: Callable[[], AbstractContextManager] | None = None,
    batch: int = 128,
) -> np.ndarray:
    """Score crops.

    Args:
        module: A `Deployed` in eval mode on `device`.
        crops: uint8 [N, 128, 128, 3] RGB.
        device: Where the module lies.
        autocast: Makes the context of mixed precision; None: float32.
        batch: Crops per pass.

    Returns:
        float32 [N, 2].

    Raises:
        DataError: A logit is NaN or infinite, as those of a network that diverged.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(crops), batch):
            part = torch.from_numpy(crops[start : start + batch]).to(device)
            if autocast is None:
                with in_full_precision():
                    parts.append(module(part).cpu())
            else:
                with autocast():
                    parts.append(module(part).cpu())
    scores = torch.cat(parts).float().numpy()
    if not np.isfinite(scores).all():
        raise DataError("the network's answers aren't finite; train it with a lower --lr or in fp32")
    return scores


def measure(scores: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> dict[str, float]:
    """Return the validation metrics of logits, uncalibrated.

    Args:
        scores: float32 logits [N, 2].
        labels: [N], both present.
        sources: N names.

    Returns:
        auroc, accuracy, balanced_accuracy (both at p = 0.5), loss (cross-entropy in nats) and
        worst_source_auroc: the lowest AUROC of one source's pictures against all pictures of the other label,
        over sources of at least `MIN_SOURCE_SAMPLES` pictures; auroc where none has so many.
    """
    margin = scores[:, 1].astype(np.float64) - scores[:, 0]
    right = (margin > 0) == (labels == 1)
    signed = np.where(labels == 1, -margin, margin)
    auroc = float(roc_auc_score(labels, margin))
    return {
        "auroc": auroc,
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean([right[labels == value].mean() for value in (0, 1)])),
        "loss": float(np.logaddexp(0, signed).mean()),
        "worst_source_auroc": min(per_source(margin, labels, sources).values(), default=auroc),
    }


def measured(val: Validation, score: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """Return the metrics of `measure` on the clean faces, and degraded_auroc where some are degraded.

    Args:
        val: The validation split.
        score: Scores uint8 [N, 128, 128, 3] RGB as float32 [N, 2].
    """
    metrics = measure(score(val.clean), val.labels, val.sources)
    if val.degraded is None:
        return metrics
    return metrics | {"degraded_auroc": measure(score(val.degraded), val.labels, val.sources)["auroc"]}


def per_source(margin: np.ndarray, labels: np.ndarray, sources: np.ndarray) -> dict[str, float]:
    """Return the AUROC of each large enough source against all pictures of the other label."""
    groups = {
        (name, int(label)): (sources == name) & (labels == label)
        for name in np.unique(sources)
        for label in np.unique(labels[sources == name])
    }
    result = {}
    for (name, label), inside in groups.items():
        if inside.sum() < MIN_SOURCE_SAMPLES:
            continue
        part = inside | (labels != label)
        result[f"{name}/{'fake' if label else 'real'}"] = float(roc_auc_score(labels[part], margin[part]))
    return result
