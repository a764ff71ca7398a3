"""What a finished run decides on its validation split: calibration, thresholds, gates, and their evidence."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fauxface_train import blur_gate
from fauxface_train.calibration import operating_point
from fauxface_train.calibration_views import CLEAN, HARD, WEB, views
from fauxface_train.thresholds import BPCER_TARGET, CONFIDENCE, held
from fauxface_train.validation import Validation


def decide(val: Validation, logits: Callable[[np.ndarray], np.ndarray]) -> tuple[dict[str, Any], np.ndarray]:
    """Fit and choose everything that turns the network's logits into verdicts.

    The validation faces are scored three times (clean, web, hard), and some of them once more, blurred.

    Args:
        val: The validation split.
        logits: Scores uint8 [N, 128, 128, 3] RGB as float32 [N, 2].

    Returns:
        The checkpoint's entries "calibration", "thresholds", "gates" and "held", JSON values, of which "held"
        lists every real source under the conditions that the BPCER is held on; and the clean logits.
    """
    scores = {CLEAN: logits(val.clean)}
    for condition, crops in views(val.samples, (WEB, HARD)).items():
        scores[condition] = logits(crops)
    calibration, thresholds = operating_point(
        scores, val.labels, val.sources, fitted_on=f"val split, {len(val.labels)} faces"
    )
    blurred, labels = blur_gate.evidence(val.clean, val.labels)
    min_sharpness = blur_gate.choose(
        (blurred, labels, logits(blurred)), (val.clean, val.labels, val.sources), calibration, thresholds
    )
    rows = [
        row
        for condition in (CLEAN, WEB)
        for row in held(
            calibration.probability(scores[condition]),
            val.labels,
            val.sources,
            thresholds.generated_from,
            condition=condition,
        )
    ]
    decided = {
        "calibration": asdict(calibration),
        "thresholds": asdict(thresholds),
        "gates": {} if min_sharpness is None else {"min_sharpness": min_sharpness},
        "held": {
            "bpcer_target": BPCER_TARGET,
            "confidence": CONFIDENCE,
            "real_sources": [asdict(row) for row in rows],
        },
    }
    return decided, scores[CLEAN]
