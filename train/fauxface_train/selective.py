"""Risk and coverage: how many verdicts are wrong when the least certain ones are withheld."""

from typing import Any

import numpy as np

from fauxface.verdicts import Thresholds
from fauxface_train.intervals import REPLICATES, resamples
from fauxface_train.metrics import FAKE, Scored, bounded, missing, rate

POINTS = 50
"""Points of the curve in metrics.json, at equal steps of coverage."""


def risk_coverage(
    scored: Scored, thresholds: Thresholds, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """Compute the entry "risk_coverage" of metrics.json.

    The curve asks only what the probability is worth: the verdict is p >= 0.5, its confidence max(p, 1 - p),
    and samples of equal confidence are kept or withheld together. The shipped band isn't symmetric, since
    BPCER sets its upper end, so it may lie above the curve; `curve_risk` tells what the curve has at its
    coverage.

    Sources: Geifman and El-Yaniv, "Selective classification for deep neural networks", NeurIPS 2017; AURC:
    Geifman, Uziel and El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019.

    Args:
        scored: The samples, at least one.
        thresholds: The shipped operating point.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    confidence = np.maximum(scored.p, 1 - scored.p)
    wrong = (scored.p >= 0.5) != (scored.labels == FAKE)
    coverage, risk, levels = (row[0] for row in _curves(confidence, wrong, np.ones((1, len(scored)))))
    draws = [
        _area(*_curves(confidence, wrong, weights)[:2])
        for weights in resamples(scored.labels, scored.sources, seed, replicates)
    ]
    called = scored.p >= thresholds.generated_from
    decided = called | (scored.p < thresholds.bona_fide_below)
    kept = float(np.mean(decided))
    chosen = np.unique(np.searchsorted(coverage, np.arange(1, POINTS + 1) / POINTS - 1e-9))
    return {
        "aurc": bounded(float(_area(coverage[None], risk[None])[0]), np.concatenate(draws)),
        "coverage": rate(decided, scored),
        "risk": rate((called != (scored.labels == FAKE))[decided], scored.take(decided)),
        "curve_risk": {"value": float(risk[np.searchsorted(coverage, kept - 1e-9)])}
        if kept
        else missing("every verdict is unsure"),
        "curve": [
            {"coverage": float(coverage[i]), "risk": float(risk[i]), "confidence": float(levels[i])}
            for i in chosen
        ],
    }


def _curves(
    confidence: np.ndarray, wrong: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coverage, risk and confidence, each [B, K], for keeping all down to each distinct confidence.

    Args:
        confidence: float [N].
        wrong: bool [N].
        weights: float [B, N].
    """
    order = np.argsort(-confidence, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(confidence[order]) != 0])
    kept = np.cumsum(np.add.reduceat(weights[:, order], starts, axis=1), axis=1)
    errors = np.cumsum(np.add.reduceat((weights * wrong)[:, order], starts, axis=1), axis=1)
    risk = np.divide(errors, kept, out=np.zeros_like(kept), where=kept > 0)
    levels = np.broadcast_to(confidence[order][starts], kept.shape)
    return kept / kept[:, -1:], risk, levels


def _area(coverage: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """Return the mean risk over all coverages, float64 [B]."""
    return np.sum(np.diff(coverage, axis=1, prepend=0.0) * risk, axis=1)
