"""What degradations do to a model's figures: per condition, and per condition and source."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from fauxface.verdicts import LABELS, Thresholds
from fauxface_train.conditions import CLEAN, Condition
from fauxface_train.intervals import REPLICATES, resamples, weighted_curves
from fauxface_train.metrics import FAKE, REAL, Scored, Value, bounded, missing, rate, verdicts


def evaluate(
    clean: Scored,
    degraded: Mapping[str, np.ndarray],
    grid: Sequence[Condition],
    thresholds: Thresholds,
    *,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute the entry "robustness" of metrics.json.

    Args:
        clean: The samples as they are.
        degraded: Per condition's name the probabilities of the same samples, float64 [N] in [0, 1].
        grid: The conditions, in the order of the tables; each has an entry in `degraded`.
        thresholds: The shipped operating point.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap; with that of `metrics.evaluate`, the clean AUROC has the same interval.

    Returns:
        "conditions" by name, "clean" being the first, and "worst".
    """
    runs = {CLEAN: clean.p} | {condition.name: degraded[condition.name] for condition in grid}
    areas = _areas(clean, runs, replicates, seed)
    words = {condition.name: condition.words for condition in grid}
    conditions: dict[str, dict[str, Any]] = {}
    for name, p in runs.items():
        scored = Scored(p, clean.labels, clean.sources)
        entry = {"words": words.get(name, "as stored"), **areas[name], **_errors(scored, thresholds)}
        conditions[name] = entry | (_flips(clean, scored, thresholds) if name != CLEAN else {})
    return {"conditions": conditions, "worst": _worst(conditions)}


def _areas(
    clean: Scored, runs: Mapping[str, np.ndarray], replicates: int, seed: int
) -> dict[str, dict[str, Value]]:
    """Return each condition's AUROC and what it lost; all share their resamples, so the loss is paired."""
    if len(np.unique(clean.labels)) < 2:
        return {
            name: {"auroc": missing()} | ({"auroc_loss": missing()} if name != CLEAN else {}) for name in runs
        }
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in runs}
    for weights in resamples(clean.labels, clean.sources, seed, replicates):
        for name, p in runs.items():
            drawn[name].append(weighted_curves(p, clean.labels, weights).auroc)
    draws = {name: np.concatenate(parts) for name, parts in drawn.items()}
    values = {name: float(roc_auc_score(clean.labels, p)) for name, p in runs.items()}
    return {
        name: {"auroc": bounded(values[name], draws[name])}
        | (
            {"auroc_loss": bounded(values[CLEAN] - values[name], draws[CLEAN] - draws[name])}
            if name != CLEAN
            else {}
        )
        for name in runs
    }


def _errors(scored: Scored, thresholds: Thresholds) -> dict[str, Any]:
    called = scored.p >= thresholds.generated_from
    unsure = ~called & (scored.p >= thresholds.bona_fide_below)
    fakes = scored.labels == FAKE
    return {
        "apcer": rate(~called[fakes], scored.of(FAKE)),
        "bpcer": rate(called[~fakes], scored.of(REAL)),
        "unsure": rate(unsure, scored),
        "apcer_per_source": {
            name: rate(~called[fakes & (scored.sources == name)]) for name in scored.names(FAKE)
        },
        "bpcer_per_source": {
            name: rate(called[~fakes & (scored.sources == name)]) for name in scored.names(REAL)
        },
    }


def _flips(clean: Scored, scored: Scored, thresholds: Thresholds) -> dict[str, Any]:
    """Return the share of samples whose verdict, one of three, isn't the clean picture's."""
    changed = verdicts(clean.p, thresholds) != verdicts(scored.p, thresholds)
    return {
        "flipped": rate(changed, clean),
        "flipped_per_label": {
            LABELS[label]: rate(changed[clean.labels == label], clean.of(label)) for label in (REAL, FAKE)
        },
    }


def _worst(conditions: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """Name the condition, and for error rates the source too, with the highest value."""
    worst: dict[str, Value] = {}
    for key in ("apcer", "bpcer"):
        cells = [
            {"condition": name, "source": source, **value}
            for name, entry in conditions.items()
            for source, value in entry[f"{key}_per_source"].items()
        ]
        worst[key] = _highest(cells, f"no source has {key}")
    for key in ("auroc_loss", "flipped"):
        cells = [{"condition": name, **entry[key]} for name, entry in conditions.items() if key in entry]
        worst[key] = _highest(cells, "no condition was measured")
    return worst


def _highest(cells: Sequence[Value], otherwise: str) -> Value:
    known = [cell for cell in cells if cell["value"] is not None]
    if not known:
        return missing(cells[0]["reason"] if cells else otherwise)
    return max(known, key=lambda cell: cell["value"])
