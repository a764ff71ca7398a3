"""What `fauxface evaluate` measures; docs/evaluation.md defines every figure and the layout of metrics.json.

Values are plain dictionaries, ready for JSON: {"value", "low", "high", ...} with a 95 % interval, or
{"value": null, "reason": "..."} where a figure can't be computed.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score, roc_curve

from fauxface.verdicts import LABELS, UNSURE, Thresholds
from fauxface_train.intervals import (
    ECE_BINS,
    FPR_TARGETS,
    REPLICATES,
    bin_of,
    calibration_interval,
    calibration_residuals,
    clopper_pearson,
    equal_error_rate,
    grouped_rate,
    percentile_interval,
    resamples,
    unseen_error,
    weighted_curves,
)
from fauxface_train.scored import Scored

Value = dict[str, Any]

REAL, FAKE = 0, 1
_AGE_BAND = re.compile(r"(\d+)(?:-\d+|\+)")
_NEEDS_BOTH = "needs both bona fide and generated samples"


def rate(events: np.ndarray, of: Scored | None = None) -> Value:
    """Return the share of true entries with its interval.

    Args:
        events: bool [N].
        of: The N samples, where they may come from several sources: see `intervals.grouped_rate`. Else the
            interval is Clopper-Pearson's.
    """
    count, total = int(np.count_nonzero(events)), len(events)
    if total == 0:
        return missing("no samples")
    low, high = (
        clopper_pearson(count, total)
        if of is None or len(set(zip(of.labels, of.sources, strict=True))) == 1
        else grouped_rate(events, of.sources, of.labels)
    )
    return {"value": count / total, "low": low, "high": high, "count": count, "total": total}


def bounded(value: float, draws: np.ndarray) -> Value:
    """Return a figure with the percentile interval of its bootstrap values [B].

    Without one where all of them are the same, as where the labels are told apart without an error: resamples
    of such a set say nothing of what others would show.
    """
    # Sums of the same terms in another order differ, and leave a rest where they are subtracted.
    if np.ptp(draws) <= max(1e-9 * np.abs(draws).max(), 1e-12):
        return {"value": value}
    low, high = percentile_interval(draws)
    return {"value": value, "low": low, "high": high}


def missing(reason: str = _NEEDS_BOTH) -> Value:
    """Return what stands for a figure that can't be computed."""
    return {"value": None, "reason": reason}


def verdicts(p: np.ndarray, thresholds: Thresholds) -> np.ndarray:
    """Return the verdict of each probability: 0 bona fide, 1 unsure, 2 generated."""
    return np.where(p >= thresholds.generated_from, 2, np.where(p < thresholds.bona_fide_below, 0, 1))


def evaluate(
    scored: Scored, thresholds: Thresholds, *, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, Any]:
    """Compute every figure of the report.

    Args:
        scored: The samples; one label alone is allowed.
        thresholds: The shipped operating point.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        The entries "overall", "labels", "sources", "worst", "pairs" and "demographics" of metrics.json.
    """
    sources = [
        {"source": name, "label": LABELS[label]}
        | one_label(scored.of(label, name), label, thresholds, replicates=replicates, seed=seed)
        | {"against": f"all {LABELS[1 - label]}"}
        | ranking(_versus(scored, label, name), balanced=True, replicates=replicates, seed=seed)
        for label in (REAL, FAKE)
        for name in scored.names(label)
    ]
    return {
        "overall": overall(scored, thresholds, replicates=replicates, seed=seed),
        "labels": {
            LABELS[label]: one_label(scored.of(label), label, thresholds, replicates=replicates, seed=seed)
            for label in (REAL, FAKE)
        },
        "sources": sources,
        "worst": {
            "apcer": _worst(sources, "apcer", max),
            "bpcer": _worst(sources, "bpcer", max),
            "auroc": _worst(sources, "auroc", min),
        },
        "pairs": pairs(scored, replicates=replicates, seed=seed),
        "demographics": demographics(scored, thresholds),
    }


def overall(scored: Scored, thresholds: Thresholds, *, replicates: int, seed: int) -> dict[str, Any]:
    """Return the figures over all samples of the split."""
    called = scored.p >= thresholds.generated_from
    decided = called | (scored.p < thresholds.bona_fide_below)
    fakes, reals = scored.labels == FAKE, scored.labels == REAL
    return {
        "samples": len(scored),
        "bona_fide": int(np.count_nonzero(reals)),
        "generated": int(np.count_nonzero(fakes)),
        "accuracy": rate(called == fakes, scored),
        "accuracy_at_half": rate((scored.p >= 0.5) == fakes, scored),
        "apcer": rate(~called[fakes], scored.of(FAKE)),
        "bpcer": rate(called[reals], scored.of(REAL)),
        **_of_both(scored, called, replicates=replicates, seed=seed),
        "unsure": rate(~decided, scored),
        "accuracy_when_decided": rate((called == fakes)[decided], scored.take(decided)),
        "confusion": confusion(scored, thresholds),
        **ranking(scored, balanced=False, replicates=replicates, seed=seed),
        **proper_scores(scored, replicates=replicates, seed=seed),
    }


def one_label(
    scored: Scored, label: int, thresholds: Thresholds, *, replicates: int, seed: int
) -> dict[str, Any]:
    """Return the figures of samples that all have one label.

    Args:
        scored: Samples of that label only.
        label: 0 bona fide (gives BPCER) or 1 generated (gives APCER).
        thresholds: The operating point.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    called = scored.p >= thresholds.generated_from
    below = scored.p < thresholds.bona_fide_below
    error = {"bpcer": rate(called, scored)} if label == REAL else {"apcer": rate(~called, scored)}
    return {
        "samples": len(scored),
        "accuracy": rate(called == (label == FAKE), scored),
        **error,
        "called_bona_fide": rate(below, scored),
        "called_unsure": rate(~called & ~below, scored),
        "called_generated": rate(called, scored),
        "median_p": {"value": float(np.median(scored.p))} if len(scored) else missing("no samples"),
        **proper_scores(scored, replicates=replicates, seed=seed),
    }


def ranking(scored: Scored, *, balanced: bool, replicates: int, seed: int) -> dict[str, Any]:
    """Return AUROC, AP, EER, TPR at fixed FPR and ECE with bootstrap intervals.

    Args:
        scored: Samples of both labels; with one label only, every value is null with the reason.
        balanced: Give each label half of the weight, so that AP and ECE can be compared between sources.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    keys = ["auroc", "ap", "eer", *(f"tpr_at_fpr_{target:g}" for target in FPR_TARGETS), "ece"]
    if len(np.unique(scored.labels)) < 2:
        return {key: missing() for key in keys}
    p, labels = scored.p, scored.labels
    weight = 1 / np.bincount(labels, minlength=2)[labels] if balanced else np.ones(len(p))
    fpr, tpr, _ = roc_curve(labels, p, sample_weight=weight, drop_intermediate=False)
    values = [
        float(roc_auc_score(labels, p, sample_weight=weight)),
        float(average_precision_score(labels, p, sample_weight=weight)),
        float(equal_error_rate(fpr[None], tpr[None])[0]),
        *(float(tpr[fpr <= target + 1e-12].max()) for target in FPR_TARGETS),
    ]
    draws: list[np.ndarray] = []
    terms: list[np.ndarray] = []
    for counts in resamples(labels, scored.sources, seed, replicates):
        drawn = counts * weight
        if balanced:
            # Drawn sources have other sizes than all of them: each label gets its half in each resample too.
            for value in (REAL, FAKE):
                drawn[:, labels == value] /= drawn[:, labels == value].sum(axis=1, keepdims=True)
        curves = weighted_curves(p, labels, drawn)
        each = [curves.auroc, curves.ap, curves.eer, *(curves.tpr[target] for target in FPR_TARGETS)]
        draws.append(np.stack(each, axis=1))
        terms.append(calibration_residuals(p, labels, drawn))
    found = calibration_residuals(p, labels, weight[None])[0]
    low, high = calibration_interval(found, np.concatenate(terms), unseen_error(p, labels, weight))
    reals = int(np.count_nonzero(labels == REAL))
    return {
        **_each_bounded(keys[:-1], values, np.concatenate(draws)),
        **{
            f"tpr_at_fpr_{target:g}": missing(f"needs {round(1 / target)} bona fide samples, not {reals}")
            for target in FPR_TARGETS
            if reals * target < 1
        },
        "ece": {"value": float(np.sum(np.abs(found))), "low": low, "high": high},
    }


def proper_scores(scored: Scored, *, replicates: int, seed: int) -> dict[str, Value]:
    """Return the Brier score and the negative log-likelihood (natural logarithm) of p("generated")."""
    if not len(scored):
        return {"brier": missing("no samples"), "nll": missing("no samples")}
    p, labels = scored.p, scored.labels
    values = [
        float(brier_score_loss(labels, p, labels=[0, 1], pos_label=1)),
        float(log_loss(labels, p, labels=[0, 1])),
    ]
    tiny = np.finfo(p.dtype).eps  # where scikit-learn cuts probabilities off
    surprise = -np.log(np.clip(np.where(labels == FAKE, p, 1 - p), tiny, 1 - tiny))
    losses = np.stack([(p - labels) ** 2, surprise], axis=1)
    draws = [
        weights @ losses / weights.sum(axis=1, keepdims=True)
        for weights in resamples(labels, scored.sources, seed, replicates)
    ]
    return _each_bounded(("brier", "nll"), values, np.concatenate(draws))


def confusion(scored: Scored, thresholds: Thresholds) -> dict[str, dict[str, int]]:
    """Return how many samples of each label were called bona fide, unsure and generated."""
    called = verdicts(scored.p, thresholds)
    columns = (LABELS[REAL], UNSURE, LABELS[FAKE])
    return {
        LABELS[label]: {
            name: int(np.count_nonzero((scored.labels == label) & (called == column)))
            for column, name in enumerate(columns)
        }
        for label in (REAL, FAKE)
    }


def pairs(scored: Scored, *, replicates: int = REPLICATES, seed: int = 0) -> dict[str, Any]:
    """Return the AUROC of every real source against every fake source, and the worst pair."""
    reals, fakes = scored.names(REAL), scored.names(FAKE)
    if not reals or not fakes:
        return {"auroc": None, "reason": _NEEDS_BOTH}
    cells: list[list[Value]] = []
    for real in reals:
        row = []
        for fake in fakes:
            mine = scored.take(
                ((scored.labels == REAL) & (scored.sources == real))
                | ((scored.labels == FAKE) & (scored.sources == fake))
            )
            value = float(roc_auc_score(mine.labels, mine.p))
            draws = [
                weighted_curves(mine.p, mine.labels, weights).auroc
                for weights in resamples(mine.labels, mine.sources, seed, replicates)
            ]
            row.append(bounded(value, np.concatenate(draws)))
        cells.append(row)
    values = np.array([[cell["value"] for cell in row] for row in cells])
    at = np.unravel_index(int(np.argmin(values)), values.shape)
    return {
        "real_sources": reals,
        "fake_sources": fakes,
        "auroc": cells,
        "worst": {"real": reals[at[0]], "fake": fakes[at[1]], **cells[at[0]][at[1]]},
    }


def demographics(scored: Scored, thresholds: Thresholds) -> list[dict[str, Any]]:
    """Return BPCER per demographic cell of the reals whose attributes are known.

    Cells are each attribute alone (age band, gender, race) and gender with race.
    """
    reals = scored.of(REAL)
    called = reals.p >= thresholds.generated_from
    cells: list[dict[str, Any]] = []
    for names in (("age_band",), ("gender",), ("race",), ("gender", "race")):
        if any(name not in reals.attributes for name in names):
            continue
        rows = list(zip(*(reals.attributes[name] for name in names), strict=True))
        known = sorted({row for row in rows if all(row)}, key=_natural)
        for value in known:
            mask = np.array([row == value for row in rows])
            cells.append({"by": list(names), "cell": [str(v) for v in value], "bpcer": rate(called[mask])})
    return cells


def reliability(scored: Scored, bins: int = ECE_BINS) -> list[dict[str, float | int]]:
    """Return, for every bin with samples, its edges, count, mean p("generated") and share of generated."""
    index = bin_of(scored.p, bins)
    table = []
    for number in np.unique(index):
        mask = index == number
        table.append(
            {
                "low": float(number / bins),
                "high": float((number + 1) / bins),
                "count": int(np.count_nonzero(mask)),
                "mean_p": float(np.mean(scored.p[mask])),
                "generated": float(np.mean(scored.labels[mask])),
            }
        )
    return table


def _versus(scored: Scored, label: int, name: str) -> Scored:
    """Return one source together with all samples of the other label."""
    return scored.take((scored.labels != label) | (scored.sources == name))


def _of_both(scored: Scored, called: np.ndarray, *, replicates: int, seed: int) -> dict[str, Value]:
    """Return balanced accuracy, and ACER: half of the sum of the worst source's APCER and the pooled BPCER.

    Their intervals are the wider of two at each end: the bootstrap's, and the mean of the two rates'
    Clopper-Pearson ends, without which a set without an error would leave none possible.

    Args:
        scored: Samples of both labels; with one label only, both are null with the reason.
        called: bool [N], called generated.
        replicates: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    if len(np.unique(scored.labels)) < 2:
        return {"balanced_accuracy": missing(), "acer": missing()}
    wrong = called != (scored.labels == FAKE)
    members = [scored.labels == REAL, scored.labels == FAKE]
    members += [members[FAKE] & (scored.sources == name) for name in scored.names(FAKE)]

    def errors(weights: np.ndarray) -> np.ndarray:
        sizes = np.stack([weights[:, mask].sum(axis=1) for mask in members], axis=1)
        counts = np.stack([weights[:, mask & wrong].sum(axis=1) for mask in members], axis=1)
        # A source that wasn't drawn has no rate; 0 never is the highest unless all are.
        each = np.divide(counts, sizes, out=np.zeros_like(counts), where=sizes > 0)
        bpcer, apcer, worst = each[:, 0], each[:, 1], each[:, 2:].max(axis=1)
        return np.stack([1 - (apcer + bpcer) / 2, (worst + bpcer) / 2], axis=1)

    values = errors(np.ones((1, len(scored))))[0]
    drawn = [errors(weights) for weights in resamples(scored.labels, scored.sources, seed, replicates)]
    found = _each_bounded(("balanced_accuracy", "acer"), values.tolist(), np.concatenate(drawn))
    bpcer, apcer, *species = ((int((mask & wrong).sum()), int(mask.sum())) for mask in members)
    worst = max(species, key=lambda rate: rate[0] / rate[1])
    pooled, highest = (
        np.mean([clopper_pearson(*rate) for rate in (of_fakes, bpcer)], axis=0) for of_fakes in (apcer, worst)
    )
    return {
        "balanced_accuracy": _widened(found["balanced_accuracy"], 1 - pooled[::-1]),
        "acer": _widened(found["acer"], highest),
    }


def _widened(figure: Value, ends: np.ndarray) -> Value:
    """Return a figure whose interval reaches to both ends at least, which its rates' exact intervals give."""
    low, high = float(ends[0]), float(ends[1])
    return figure | {"low": min(figure.get("low", low), low), "high": max(figure.get("high", high), high)}


def _each_bounded(keys: Sequence[str], values: Sequence[float], draws: np.ndarray) -> dict[str, Value]:
    """Return several figures with their intervals; draws is [B, number of keys]."""
    return {key: bounded(value, column) for key, value, column in zip(keys, values, draws.T, strict=True)}


def _worst(sources: Iterable[dict[str, Any]], key: str, choose: Callable[..., Any]) -> Value:
    """Return the entry with the highest or lowest value of a key, with its source's name."""
    found = [s for s in sources if key in s and s[key]["value"] is not None]
    if not found:
        return missing(f"no source has {key}")
    chosen = choose(found, key=lambda s: s[key]["value"])
    return {"source": chosen["source"], **chosen[key]}


def _natural(cell: tuple[str, ...]) -> tuple[Any, ...]:
    """Sort age bands by their first number and other values by name."""
    bands = [_AGE_BAND.fullmatch(value) for value in cell]
    return tuple((int(band[1]), "") if band else (0, value) for band, value in zip(bands, cell, strict=True))
