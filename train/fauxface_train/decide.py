"""What a finished run decides on its validation split: calibration, thresholds, gates, and their evidence."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from fauxface_train import blur_gate
from fauxface_train.calibration import operating_point
from fauxface_train.calibration_views import CLEAN, FRAMINGS, HARD, WEB, views
from fauxface_train.thresholds import CONFIDENCE, held
from fauxface_train.validation import Validation


def decide(
    val: Validation, logits: Callable[[np.ndarray], np.ndarray], bpcer_target: float
) -> tuple[dict[str, Any], np.ndarray]:
    """Fit and choose everything that turns the network's logits into verdicts.

    The validation faces are scored under every framing clean and web, and once hard; some once more, blurred.

    Args:
        val: The validation split.
        logits: Scores uint8 [N, 128, 128, 3] RGB as float32 [N, 2].
        bpcer_target: BPCER that no real source may contradict; see `choose_thresholds`.

    Returns:
        The checkpoint's entries "calibration", "thresholds", "gates" and "held", JSON values, of which "held"
        lists every real source under the conditions that the BPCER is held on; and the clean logits.
    """
    nominal = logits(val.clean)
    seen = {CLEAN: [nominal], WEB: [], HARD: []}
    for framing in range(FRAMINGS):
        for condition, crops in views(val.samples, (CLEAN, WEB) if framing else (WEB, HARD), framing).items():
            seen[condition].append(logits(crops))
    scores = {condition: np.stack(each, axis=1) for condition, each in seen.items()}
    calibration, thresholds = operating_point(
        scores, val.labels, val.sources, bpcer_target, fitted_on=f"val split, {len(val.labels)} faces"
    )
    blurred, labels = blur_gate.evidence(val.clean, val.labels)
    min_sharpness = blur_gate.choose(
        (blurred, labels, logits(blurred)), (val.clean, val.labels, val.sources), calibration, thresholds
    )
    judged = np.concatenate([scores[CLEAN], scores[WEB]], axis=1)
    rows = held(
        np.stack([calibration.probability(judged[:, k]) for k in range(judged.shape[1])], axis=1),
        val.labels,
        val.sources,
        thresholds.generated_from,
        bpcer_target,
        conditions=np.repeat([CLEAN, WEB], FRAMINGS).tolist(),
    )
    decided = {
        "calibration": asdict(calibration),
        "thresholds": asdict(thresholds),
        "gates": {} if min_sharpness is None else {"min_sharpness": min_sharpness},
        "held": {
            "bpcer_target": bpcer_target,
            "confidence": CONFIDENCE,
            "real_sources": [asdict(row) for row in rows],
        },
    }
    return decided, nominal
