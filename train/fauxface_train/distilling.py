"""Teachers: models whose mean answer a network under training learns, besides the labels."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from fauxface.bundle import DEFAULT_BUNDLE
from fauxface.errors import DataError
from fauxface.manifest import MANIFEST_NAME
from fauxface_train import provenance
from fauxface_train.checkpoint import description
from fauxface_train.dataset import PreparedData, check_framing
from fauxface_train.scorers import Scorer, open_scorer

SOFTENING = 2.0
"""Divides log-odds before they are compared, so that a sure teacher's doubts count too."""


@dataclass(frozen=True, slots=True)
class Teachers:
    """Models of any kind, which are asked together.

    Attributes:
        scorers: The models, with their calibration.
        sha256: What identifies each: the bundle's hash, or its file's.
    """

    scorers: tuple[Scorer, ...] = ()
    sha256: tuple[str, ...] = ()

    @classmethod
    def load(
        cls, models: Sequence[str | Path], weight: float, device: torch.device, data: PreparedData
    ) -> "Teachers":
        """Open models.

        Args:
            models: Runs, checkpoints, bundles or exported files, see `scorers.open_scorer`; "shipped" is the
                default bundle.
            weight: What they count in the loss.
            device: Where the network trains; a CPU keeps the teachers there, too.
            data: The training data.

        Raises:
            CheckpointError: A model isn't there, or can't be read.
            BundleError: A bundle is refused.
            DataError: There are models and no weight, or weight and no models; or a model isn't calibrated,
                or was made for another crop margin, or for whole pictures.
        """
        if bool(models) != (weight > 0):
            raise DataError(
                "teachers need a weight above 0, and that needs teachers; check --teacher, --taught"
            )
        provider = "cpu" if device.type == "cpu" else "auto"
        scorers = [open_scorer(DEFAULT_BUNDLE if str(m) == "shipped" else m, provider) for m in models]
        for scorer in scorers:
            if not scorer.point.shipped:
                raise DataError(
                    f"the teacher {scorer.path} isn't calibrated; give the best checkpoint of a finished "
                    "run, or a bundle"
                )
            named = f"the teacher {scorer.path}"
            check_framing(data, scorer.point.margin, whole=scorer.point.whole, wanted_by=named)
            if data.whole and scorer.point.margin not in (None, data.margin):
                raise DataError(
                    f"{named} was made for faces cut with margin {scorer.point.margin:g}, {data.root} holds "
                    "whole pictures; give a model that was trained on such"
                )
        return cls(tuple(scorers), tuple(map(_sha256, scorers)))

    def log_odds(self, crops: np.ndarray, step: int) -> np.ndarray:
        """Return the mean of the teachers' calibrated log-odds of "generated".

        Each sees either the pictures or their mirror images, in turns from step to step: over many steps that
        is the mean of both, at the price of one.

        Args:
            crops: uint8 [B, 128, 128, 3], RGB.
            step: Number of the step, from 0.

        Returns:
            float32 [B].
        """
        sides = (crops, np.ascontiguousarray(crops[:, :, ::-1]))
        odds = [
            scorer.calibration.log_odds(scorer.logits(sides[(index + step) % 2]))
            for index, scorer in enumerate(self.scorers)
        ]
        return np.mean(odds, axis=0).astype(np.float32)

    def to_list(self) -> list[dict[str, Any]]:
        """Return them JSON-compatible, as run and bundle record them."""
        return [
            {
                "kind": scorer.kind,
                "sha256": digest,
                "trained_on": list(scorer.trained_on),
                "from_bundle": _from_bundle(scorer),
            }
            for scorer, digest in zip(self.scorers, self.sha256, strict=True)
        ]

    def are(self, recorded: Sequence[Mapping[str, Any]]) -> bool:
        """Tell whether these are the teachers that `to_list` recorded, in the same order."""
        return [each["sha256"] for each in recorded] == list(self.sha256)


def divergence(scores: torch.Tensor, log_odds: torch.Tensor) -> torch.Tensor:
    """Return how far a network's answers are from its teachers'.

    It is the Kullback-Leibler divergence of the probabilities, all log-odds divided by `SOFTENING`, times its
    square (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).

    Args:
        scores: float32 logits [B, 2].
        log_odds: The teachers' log-odds of "generated", float32 [B].

    Returns:
        A scalar, averaged over the pictures; 0 where they agree.
    """
    wanted = log_odds / SOFTENING
    given = (scores[:, 1] - scores[:, 0]) / SOFTENING
    target = torch.sigmoid(wanted)
    crossed, least = (F.binary_cross_entropy_with_logits(odds, target) for odds in (given, wanted))
    return SOFTENING**2 * (crossed - least)


def _from_bundle(scorer: Scorer) -> bool:
    """Tell whether a model is a bundle's, or was trained from one."""
    if scorer.kind == "bundle" or (scorer.path.parent / MANIFEST_NAME).is_file():
        return True
    return provenance.from_bundle(description(scorer.path) or {})


def _sha256(scorer: Scorer) -> str:
    return (
        scorer.identity if scorer.kind == "bundle" else hashlib.sha256(scorer.path.read_bytes()).hexdigest()
    )
