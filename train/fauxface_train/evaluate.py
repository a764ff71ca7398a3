"""Scoring a split of prepared data and writing metrics.json, scores.csv, the plots and the reports."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import fauxface
from fauxface.errors import DataError, OutputError
from fauxface.files import atomic_write, usable_folder
from fauxface.gates import Gates, sharpness
from fauxface.progress import Progress
from fauxface.verdicts import LABELS
from fauxface_train import gated, matched, metrics, pages, plots, report, robustness, selective, stopped
from fauxface_train.conditions import CLEAN, Condition
from fauxface_train.dataset import SPLITS, PreparedData, Sample, check_framing, load_crop, other_locator
from fauxface_train.intervals import CONFIDENCE, REPLICATES
from fauxface_train.provenance import hashes, pictures_digest, standing, written
from fauxface_train.scored import attach
from fauxface_train.scorers import OperatingPoint, Scorer

FORMAT = "fauxface.evaluation/1"

SCORE_COLUMNS = ("crop", "source", "label", "p_generated", "logit_bona_fide", "logit_generated", "called")
"""Columns of scores.csv; a column p_CONDITION follows for each condition."""


class _Scores(Protocol):
    def logits(self, crops: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        samples: The scored samples, in manifest order.
        logits: float32 [N, 2].
        scored: Probabilities, labels, sources and attributes of the same samples.
        document: What metrics.json holds.
        degraded: Per condition float64 [N], the probabilities of the same samples under it.
    """

    samples: Sequence[Sample]
    logits: np.ndarray
    scored: metrics.Scored
    document: dict[str, Any]
    degraded: dict[str, np.ndarray] = field(default_factory=dict)


def select(data: PreparedData, split: str) -> list[Sample]:
    """Return the samples of a split.

    Args:
        data: Prepared data.
        split: "train", "val", "test" or "all".

    Raises:
        DataError: The split is unknown or empty.
    """
    if split not in (*SPLITS, "all"):
        raise DataError(f"unknown split {split!r}; choose {', '.join(SPLITS)} or all")
    samples = data.samples(split=None if split == "all" else split)
    if not samples:
        held = sorted({sample.split for sample in data.samples()})
        raise DataError(f"{data.root} has no sample in split {split!r}; it has {', '.join(held)}")
    return samples


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model said of samples.

    Attributes:
        logits: Per condition float32 [N, 2] in the order bona fide, generated; "clean" is the first.
        sharpness: float64 [N], variance of the Laplacian of each clean crop.
        failed: str [N], what `stopped.failed` returned for each clean crop.
    """

    logits: dict[str, np.ndarray]
    sharpness: np.ndarray
    failed: np.ndarray


def score(
    scorer: _Scores,
    samples: Sequence[Sample],
    conditions: Sequence[Condition] = (),
    *,
    point: OperatingPoint | None = None,
    batch: int = 64,
    label: str = "score",
) -> Scores:
    """Score samples as they are and under conditions, cut and resized by the runtime's own crop code.

    Args:
        scorer: Any model; see `fauxface_train.scorers.open_scorer`.
        samples: What to score.
        conditions: Degradations to score them under too.
        point: Whose gates are tried on the clean crops; None: all pass.
        batch: Crops per call.
        label: What the progress display calls it.

    Raises:
        DataError: A stored crop is missing or isn't a picture.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (CLEAN, *(c.name for c in conditions))}
    gates, smallest = (point.gates, point.min_face_px) if point else (Gates(), 0)
    sharp: list[float] = []
    failed: list[str] = []
    with Progress(len(samples) * len(parts), label, "pictures") as progress:
        for start in range(0, len(samples), batch):
            part = samples[start : start + batch]
            crops = [load_crop(sample) for sample in part]
            sharp += [sharpness(crop) for crop in crops]
            failed += [stopped.failed(s, crop, gates, smallest) for s, crop in zip(part, crops, strict=True)]
            parts[CLEAN].append(scorer.logits(np.stack(crops)))
            progress.advance(len(part))
            for condition in conditions:
                views = [condition.degrade(crop, s.sha256) for crop, s in zip(crops, part, strict=True)]
                parts[condition.name].append(scorer.logits(np.stack(views)))
                progress.advance(len(part))
    logits = {name: np.concatenate(each) for name, each in parts.items()}
    return Scores(logits, np.array(sharp), np.array(failed))


def evaluate(
    scorer: Scorer,
    data: PreparedData,
    split: str = "test",
    *,
    conditions: Sequence[Condition] = (),
    subsets: Sequence[matched.Subset] = (),
    seen: Sequence[PreparedData] = (),
    batch: int = 64,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Score a split and compute every figure; nothing is written.

    Args:
        scorer: The model.
        data: Prepared data, cut with the margin that the model was made for (or whole pictures).
        split: "train", "val", "test" or "all".
        conditions: Degradations to measure under too; see `fauxface_train.conditions.select`.
        subsets: Parts of the pair table to name the worst pair of.
        seen: The prepared data that the model was trained on, or other data of the same pictures: how many of
            the scored pictures are among their train and val splits, byte for byte, is counted.
        batch: Crops per call.
        replicates: Bootstrap resamples of the intervals.
        seed: Of the bootstrap.

    Raises:
        DataError: The split is unknown or empty, a crop can't be read, a subset names no source, or the data
            have another margin.
    """
    check_framing(data, scorer.point.margin, whole=scorer.point.whole, wanted_by=str(scorer.path))
    samples = select(data, split)
    named = attach(samples, np.zeros(len(samples)))
    wanted = [(subset.name, *subset.sources(named)) for subset in subsets]
    point = scorer.point
    scores = score(scorer, samples, conditions, point=point, batch=batch, label=f"score {split}")
    thresholds, calibration = point.thresholds, point.calibration
    limits = ({stopped.SMALL: point.min_face_px} if point.min_face_px else {}) | point.gates.to_dict()
    p = {name: calibration.probability(logits) for name, logits in scores.logits.items()}
    scored = attach(samples, p.pop(CLEAN))
    chance = {"replicates": replicates, "seed": seed}
    document: dict[str, Any] = {
        "format": FORMAT,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fauxface": fauxface.__version__,
        "model": {
            "kind": scorer.kind,
            "identity": scorer.identity,
            "provider": scorer.provider,
            **({"precision": scorer.precision} if scorer.precision else {}),
            **({"checkpoint_sha256": scorer.checkpoint_sha256} if scorer.checkpoint_sha256 else {}),
        },
        "data": {
            "name": written(data.root.resolve()),
            "split": split,
            "margin": data.margin,
            "pictures_sha256": pictures_digest(samples),
            **standing(data, samples, scorer.trained_on, scorer.fitted_to),
            **({"overlap": _overlap(samples, seen)} if seen else {}),
            **({"learned_before": True} if _uncompared(scorer, seen) else {}),
            **({"other_locator": True} if _framed_otherwise(scorer, data) else {}),
        },
        "operating_point": {
            "shipped": scorer.point.shipped,
            "temperature": calibration.temperature,
            "bias": calibration.bias,
            "fitted_on": calibration.fitted_on,
            "bona_fide_below": thresholds.bona_fide_below,
            "generated_from": thresholds.generated_from,
            "rule": thresholds.rule,
        },
        "intervals": {"confidence": CONFIDENCE, **chance},
        **metrics.evaluate(scored, thresholds, **chance),
        "reliability": metrics.reliability(scored),
        "risk_coverage": selective.risk_coverage(scored, thresholds, **chance),
        "gates": gated.measure(scored, thresholds, scores.failed, limits, samples),
        "robustness": robustness.evaluate(scored, p, conditions, thresholds, **chance),
    }
    if document["pairs"]["auroc"] is not None:
        document["pairs"]["subsets"] = matched.subsets(document["pairs"], wanted)
    for source in document["sources"]:
        mine = (scored.sources == source["source"]) & (scored.labels == LABELS.index(source["label"]))
        source["sharpness"] = {"value": float(np.median(scores.sharpness[mine]))}
    return Evaluation(samples, scores.logits[CLEAN], scored, document, p)


def _framed_otherwise(scorer: Scorer, data: PreparedData) -> bool:
    """Tell whether the faces were cut where another locator found them than the model's own."""
    return bool(scorer.locator_sha256) and other_locator(data, scorer.locator_sha256)


def _uncompared(scorer: Scorer, seen: Sequence[PreparedData]) -> bool:
    """Tell whether models before had learned from data that the measured pictures aren't compared with."""
    left = set(scorer.learned_before)
    return bool(left and left - {hashes(data.root)["manifest_sha256"] for data in seen})


def _overlap(samples: Sequence[Sample], seen: Sequence[PreparedData]) -> dict[str, Any]:
    known = {s.sha256 for data in seen for split in ("train", "val") for s in data.samples(split)}
    shared = sum(sample.sha256 in known for sample in samples)
    return {
        "name": ", ".join(written(data.root.resolve()) for data in seen),
        "pictures": len(known),
        "shared": shared,
    }


def write(evaluation: Evaluation, scorer: Scorer, data: PreparedData, out: str | Path) -> list[Path]:
    """Write scores.csv, metrics.json, the plots, report.md and report.html, each atomically, in this order.

    Args:
        evaluation: What `evaluate` returned.
        scorer: The model that it scored with.
        data: The prepared data that it scored.
        out: The folder; it is made when it doesn't exist, and files of an earlier evaluation are replaced.

    Returns:
        The written files.

    Raises:
        OutputError: The folder or a file can't be written.
    """
    folder = usable_folder(out)
    for path in (folder / name for name in (*report.PLOTS, "report.md", "report.html")):
        try:
            path.unlink(missing_ok=True)  # never beside another model's metrics.json
        except OSError as error:
            raise OutputError(f"can't replace {path}: {error.strerror}; remove it") from error
    written = [folder / "scores.csv", folder / "metrics.json"]
    with atomic_write(written[0]) as temporary:
        _write_scores(temporary, evaluation, scorer, data)
    with atomic_write(written[1]) as temporary:
        text = json.dumps(evaluation.document, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    drawn = plots.write_all(folder, evaluation.scored, evaluation.document, evaluation.samples)
    blocks = report.blocks(evaluation.document, [path.name for path in drawn])
    reports = {
        folder / "report.md": pages.markdown(blocks),
        folder / "report.html": pages.html(
            f"Evaluation of {evaluation.document['model']['identity']}",
            blocks,
            {path.name: path.read_bytes() for path in drawn},
        ),
    }
    for page, text in reports.items():
        with atomic_write(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return [*written, *drawn, *reports]


def _write_scores(path: Path, evaluation: Evaluation, scorer: Scorer, data: PreparedData) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*SCORE_COLUMNS, *(f"p_{name}" for name in evaluation.degraded)])
        for row, sample in enumerate(evaluation.samples):
            crop = sample.path.relative_to(data.root).as_posix()
            p = float(evaluation.scored.p[row])
            called = scorer.thresholds.label(p)
            others = [repr(float(values[row])) for values in evaluation.degraded.values()]
            label = LABELS[sample.label]
            writer.writerow([crop, sample.source, label, repr(p), *evaluation.logits[row], called, *others])
