"""The audit: choose, measure, judge, and hold the result against a limit."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import numpy as np

import fauxface
from fauxface.errors import DataError, GateError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from fauxface_train.audit import features, plots, report
from fauxface_train.audit.classifiers import FOLDS, LEAST, REPLICATES, Judge
from fauxface_train.audit.measure import STAGES, TRAITS, Measured, choose, measure, trait_names
from fauxface_train.dataset import PreparedData, Sample
from fauxface_train.intervals import CONFIDENCE
from fauxface_train.patterns import matches
from fauxface_train.presets import preset
from fauxface_train.provenance import written
from fauxface_train.training_set import check_excluded, joining, made_of

FORMAT = "fauxface.audit/1"
TRANSFORM = "robust"
"""The preset whose degradations are the training transform."""

GATED = "view"
"""The stage that `fail_above` holds against its limit."""


def audit(
    data: PreparedData,
    *,
    split: str = "all",
    added: Sequence[str | Path] = (),
    count: int = 3000,
    originals: bool = True,
    strength: float | None = None,
    framing: float | None = None,
    exclude: Sequence[str] = (),
    seed: int = 0,
    limit: float | None = None,
    replicates: int = REPLICATES,
    stream: TextIO | None = None,
) -> dict[str, Any]:
    """Measure how well each nuisance alone tells the labels apart; nothing is written.

    Args:
        data: Prepared data with pictures of both labels.
        split: "train", "val", "test" or "all".
        added: Further prepared data whose train pictures join those of `data`, as in training.
        count: How many pictures to look at, at most; see `measure.choose`.
        originals: Whether to read the original files, where they are still there.
        strength: Factor on the degradations' probabilities, as of `fauxface train`; None leaves them.
        framing: Share of the framing's range, as of `fauxface train`; None leaves it.
        exclude: Patterns of sources that are left out, as of `fauxface train`.
        seed: Of the choice, the transform, the classifiers and the bootstrap.
        limit: What no group's AUROC after the transform may exceed; see `gate`.
        replicates: Bootstrap resamples of the intervals.
        stream: Where progress goes; standard error when not given.

    Returns:
        The content of audit.json; docs/audit.schema.json describes it.

    Raises:
        DataError: A label has too few pictures, a stored crop can't be read, strength or framing is out of
            range, a pattern matches no source, or `added` can't join (see `training_set.joining`) or is to
            join val or test.
    """
    if added and split not in {"all", "train"}:
        raise DataError(f"further data join the train split; there is nothing to add to {split}")
    degradations = preset(TRANSFORM).degradations
    assert degradations is not None
    transform = TRANSFORM
    if strength is not None:
        degradations, transform = degradations.scaled(strength), f"{transform}, strength {strength:g}"
    if framing is not None:
        degradations, transform = degradations.framed(framing), f"{transform}, framing {framing:g}"
    further = [PreparedData.load(folder) for folder in added]
    check_excluded(data, added, exclude)
    asked = data.samples(None if split == "all" else split)
    known = [sample for sample in asked if not matches(sample.source, exclude)]
    samples = choose([*known, *joining(data, added, exclude)], count, seed)
    _check_counts([data, *further], samples, split)
    measured = measure(
        data,
        samples,
        degradations=degradations,
        originals=originals,
        tolerant=any(each.info.get("tolerate_truncated", False) for each in (data, *further)),
        seed=seed,
        stream=stream,
    )
    labels = np.array([sample.label for sample in samples])
    judge = Judge(
        labels,
        np.array([sample.source for sample in samples]),
        seed,
        replicates,
        groups=_photographs(samples),
    )
    groups = _judge(judge, measured, stream)
    return {
        "format": FORMAT,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "fauxface": fauxface.__version__,
        "data": {
            "name": written(data.root.resolve()),
            "added": [written(each.root.resolve()) for each in further],
            "excluded": list(exclude),
            "split": split,
            "samples": len(samples),
            "bona_fide": int(np.sum(labels == 0)),
            "generated": int(np.sum(labels == 1)),
            "originals": {
                "asked": originals,
                "read": measured.read,
                "missing": measured.missing,
                "changed": measured.changed,
            },
        },
        "settings": {
            "seed": seed,
            "folds": FOLDS,
            "confidence": CONFIDENCE,
            "replicates": replicates,
            "transform": transform,
            "degradations": dataclasses.asdict(degradations),
        },
        "stages": [{"name": name, "title": title} for name, title in STAGES.items()],
        "groups": groups,
        "gate": None if limit is None else gate(groups, limit),
    }


def _photographs(samples: Sequence[Sample]) -> np.ndarray:
    """Return a key for each picture: that of the photograph, also for what was reconstructed from it."""
    return np.array([made_of(sample) or sample.sha256[:16] for sample in samples])


def gate(groups: list[dict[str, Any]], limit: float) -> dict[str, Any]:
    """Hold every group's AUROC after the transform against a limit.

    The figure is the AUROC itself, not the lower end of its interval: few pictures or few sources make the
    interval wide, and a gate on its end would pass just those data sets that nothing is known of.

    Args:
        groups: The groups of audit.json.
        limit: The highest AUROC that passes.
    """
    figures = {group["name"]: group["stages"][GATED]["value"] for group in groups}
    return {
        "stage": GATED,
        "figure": "value",
        "limit": limit,
        "failed": [name for name, value in figures.items() if value is not None and value > limit],
        "not_judged": [name for name, value in figures.items() if value is None],
    }


def require(document: Mapping[str, Any], page: Path) -> None:
    """Raise a GateError that names the groups above the limit, if any.

    Args:
        document: The content of audit.json.
        page: The report to name.
    """
    if document["gate"] is None or not (failed := document["gate"]["failed"]):
        return
    by_name = {group["name"]: group for group in document["groups"]}
    figures = ", ".join(f"{name} {by_name[name]['stages'][GATED]['value']:.3f}" for name in failed)
    raise GateError(
        f"after the training transform the labels can be told by {figures} (AUROC, limit "
        f"{document['gate']['limit']:g}); {page} says which sources carry it: match or drop them"
    )


def write(document: dict[str, Any], folder: Path) -> list[Path]:
    """Write audit.json, the plots and audit.md, each atomically and in this order.

    Raises:
        OutputError: A file can't be written.
    """
    written = [folder / "audit.json"]
    with atomic_write(written[0]) as temporary:
        text = json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    drawn = plots.write_all(folder, document)
    page = folder / "audit.md"
    with atomic_write(page) as temporary:
        temporary.write_text(report.render(document, [path.name for path in drawn]), encoding="utf-8")
    return [*written, *drawn, page]


def summary(document: dict[str, Any]) -> list[str]:
    """Return the figures as lines for the terminal."""
    titles = [stage["title"] for stage in document["stages"]]
    lines = [f"originals: {report.originals(document['data']['originals'])}"]
    lines.append(f"{'AUROC for generated':24}" + "".join(f"{title:>21}" for title in titles))
    for group in document["groups"]:
        cells = [report.show(group["stages"][stage["name"]], interval=False) for stage in document["stages"]]
        lines.append(f"{group['title']:24}" + "".join(f"{cell:>21}" for cell in cells))
    return lines


def _check_counts(folders: Sequence[PreparedData], samples: list[Sample], split: str) -> None:
    for label, name in enumerate(("bona fide", "generated")):
        held = sum(sample.label == label for sample in samples)
        if held < LEAST:
            named = " and ".join(str(data.root) for data in folders)
            where = named if split == "all" else f"split {split} of {named}"
            raise DataError(
                f"{held} {name} pictures were taken of {where}; an audit needs at least {LEAST} of each label"
            )


def _judge(judge: Judge, measured: Measured, stream: TextIO | None) -> list[dict[str, Any]]:
    """Judge every group at every stage."""
    groups = []
    figures = len(features.GROUPS) * len(STAGES) + len(TRAITS)
    with Progress(figures, "judge", "figures", stream) as progress:
        for name, group in features.GROUPS.items():
            stages = {}
            for stage in STAGES:
                table = measured.tables[stage][name]
                stages[stage] = judge.judge(table.values, table.known, group.names)
                progress.advance()
            groups.append({"name": name, "title": group.title, "stages": stages})
        for name, title in TRAITS.items():
            table = measured.traits[name]
            found = judge.judge(table.values, table.known, trait_names(name))
            progress.advance()
            groups.append({"name": name, "title": title, "stages": dict.fromkeys(STAGES, found)})
    _explain(groups, measured)
    return groups


def _explain(groups: list[dict[str, Any]], measured: Measured) -> None:
    """Say why a figure is missing, where the reason isn't in the data."""
    for group in groups:
        for stage, found in group["stages"].items():
            if found["value"] is not None:
                continue
            if stage == "raw" and group["name"] not in TRAITS and not measured.read:
                found["reason"] = "the original files weren't read"
