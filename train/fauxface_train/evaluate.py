"""Scoring a split of prepared data and writing metrics.json, scores.csv, report.md and the plots."""

import csv
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np

import fauxface
from fauxface.errors import DataError, OutputError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from fauxface.verdicts import LABELS
from fauxface_train import metrics, plots, report
from fauxface_train.dataset import SPLITS, PreparedData, Sample, load_crop
from fauxface_train.intervals import CONFIDENCE, REPLICATES
from fauxface_train.scorers import Scorer

FORMAT = "fauxface.evaluation/1"

SCORE_COLUMNS = ("crop", "source", "label", "p_generated", "logit_bona_fide", "logit_generated", "called")


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
    """

    samples: Sequence[Sample]
    logits: np.ndarray
    scored: metrics.Scored
    document: dict[str, Any]


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


def score(scorer: _Scores, samples: Sequence[Sample], *, batch: int = 64, label: str = "score") -> np.ndarray:
    """Return the logits of samples, cut and resized by the runtime's own crop code.

    Args:
        scorer: Any model; see `fauxface_train.scorers.open_scorer`.
        samples: What to score.
        batch: Crops per call.
        label: What the progress display calls it.

    Returns:
        float32 [N, 2] in the order bona fide, generated.

    Raises:
        DataError: A stored crop is missing or isn't a picture.
    """
    results = []
    with Progress(len(samples), label, "pictures") as progress:
        for start in range(0, len(samples), batch):
            part = samples[start : start + batch]
            results.append(scorer.logits(np.stack([load_crop(sample) for sample in part])))
            progress.advance(len(part))
    return np.concatenate(results)


def attach(samples: Sequence[Sample], p: np.ndarray) -> metrics.Scored:
    """Join probabilities with what the manifest knows of the samples."""
    return metrics.Scored(
        p=np.asarray(p, np.float64),
        labels=np.array([sample.label for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        attributes={
            "age_band": np.array([metrics.age_band(sample.age) for sample in samples]),
            "gender": np.array([sample.gender or "" for sample in samples]),
            "race": np.array([sample.race or "" for sample in samples]),
        },
    )


def evaluate(
    scorer: Scorer,
    data: PreparedData,
    split: str = "test",
    *,
    batch: int = 64,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> Evaluation:
    """Score a split and compute every figure; nothing is written.

    Args:
        scorer: The model.
        data: Prepared data, cut with the margin that the model was made for (or whole pictures).
        split: "train", "val", "test" or "all".
        batch: Crops per call.
        replicates: Bootstrap resamples of the intervals.
        seed: Of the bootstrap.

    Raises:
        DataError: The split is unknown or empty, a crop can't be read, or the data have another margin.
    """
    _check_margin(scorer, data)
    samples = select(data, split)
    logits = score(scorer, samples, batch=batch, label=f"score {split}")
    scored = attach(samples, scorer.calibration.probability(logits))
    thresholds, calibration = scorer.thresholds, scorer.calibration
    document: dict[str, Any] = {
        "format": FORMAT,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "fauxface": fauxface.__version__,
        "model": {
            "kind": scorer.kind,
            "identity": scorer.identity,
            "provider": scorer.provider,
            **({"precision": scorer.precision} if scorer.precision else {}),
        },
        "data": {"name": data.root.resolve().name, "split": split, "margin": data.margin},
        "operating_point": {
            "shipped": scorer.point.shipped,
            "temperature": calibration.temperature,
            "bias": calibration.bias,
            "fitted_on": calibration.fitted_on,
            "bona_fide_below": thresholds.bona_fide_below,
            "generated_from": thresholds.generated_from,
            "rule": thresholds.rule,
        },
        "intervals": {"confidence": CONFIDENCE, "replicates": replicates, "seed": seed},
        **metrics.evaluate(scored, thresholds, replicates=replicates, seed=seed),
        "reliability": metrics.reliability(scored),
    }
    return Evaluation(samples, logits, scored, document)


def output_folder(out: str | Path) -> Path:
    """Return where to write, checked before the work starts; nothing is made.

    Raises:
        OutputError: It is a file, or can't be written.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file; give a folder with --out")
    nearest = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise OutputError(f"can't write into {nearest}; give another folder with --out")
    return folder


def write(evaluation: Evaluation, scorer: Scorer, data: PreparedData, out: str | Path) -> list[Path]:
    """Write scores.csv, metrics.json, the plots and report.md, each atomically and in this order.

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
    folder = output_folder(out)
    written = [folder / "scores.csv", folder / "metrics.json"]
    with atomic_write(written[0]) as temporary:
        _write_scores(temporary, evaluation, scorer, data)
    with atomic_write(written[1]) as temporary:
        text = json.dumps(evaluation.document, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    drawn = plots.write_all(folder, evaluation.scored, evaluation.document, evaluation.samples)
    page = folder / "report.md"
    with atomic_write(page) as temporary:
        temporary.write_text(
            report.render(evaluation.document, [path.name for path in drawn]), encoding="utf-8"
        )
    return [*written, *drawn, page]


def _check_margin(scorer: Scorer, data: PreparedData) -> None:
    """Refuse data cut around faces with another margin than the model's; whole pictures may pass."""
    wanted = scorer.point.margin
    whole = data.info.get("faces") == "whole"
    if wanted is None or whole or abs(wanted - data.margin) < 1e-6:
        return
    raise DataError(
        f"{data.root} was cut with margin {data.margin:g}, {scorer.path} wants {wanted:g}; "
        "prepare the data again with the model's margin"
    )


def _write_scores(path: Path, evaluation: Evaluation, scorer: Scorer, data: PreparedData) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(SCORE_COLUMNS)
        for sample, p, (zero, one) in zip(
            evaluation.samples, evaluation.scored.p, evaluation.logits, strict=True
        ):
            crop = sample.path.relative_to(data.root).as_posix()
            called = scorer.thresholds.label(float(p))
            writer.writerow([crop, sample.source, LABELS[sample.label], repr(float(p)), zero, one, called])
