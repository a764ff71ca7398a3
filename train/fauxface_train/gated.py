"""What a bundle's gates change: faces that are "unsure" whatever the classifier says of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fauxface.verdicts import LABELS, Thresholds
from fauxface_train import metrics
from fauxface_train.dataset import Sample
from fauxface_train.metrics import FAKE, REAL, Scored
from fauxface_train.stopped import PASSED


def measure(
    scored: Scored,
    thresholds: Thresholds,
    names: np.ndarray,
    limits: dict[str, float],
    samples: Sequence[Sample],
) -> dict[str, Any]:
    """Return the entry "gates" of metrics.json: the verdicts' figures with the gates applied.

    Args:
        scored: The N samples.
        thresholds: The operating point.
        names: str [N], what `stopped.failed` returned for each.
        limits: The limits by name.
        samples: The same samples.
    """
    stopped = names != PASSED
    verdict = np.where(stopped, 1, metrics.verdicts(scored.p, thresholds))
    called = verdict == 2
    decided = verdict != 1
    right = np.where(scored.labels == FAKE, called, verdict == 0)
    errors = {
        "bpcer": (REAL, called),
        "apcer": (FAKE, ~called),
    }

    def rate(events: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        return metrics.rate(events[mask], scored.take(mask))

    everything = np.ones(len(scored), bool)
    sources = []
    for key, (label, events) in errors.items():
        for source in scored.names(label):
            mask = (scored.labels == label) & (scored.sources == source)
            sources.append(
                {
                    "source": source,
                    "label": LABELS[label],
                    "failed": rate(stopped, mask),
                    key: rate(events, mask),
                }
            )
    return {
        "limits": limits,
        "without_landmarks": sum(not sample.landmarks for sample in samples),
        "failed": rate(stopped, everything),
        "failed_by": {name: int(np.count_nonzero(names == name)) for name in limits},
        **{key: rate(events, scored.labels == label) for key, (label, events) in errors.items()},
        "unsure": rate(~decided, everything),
        "accuracy_when_decided": rate(right, decided),
        "sources": sources,
    }
