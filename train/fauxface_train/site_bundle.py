"""Writing a bundle that was calibrated again on site, and the record of it in manifest and model card."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fauxface.bundle import Bundle, write_manifest
from fauxface.errors import DataError
from fauxface.files import atomic_folder
from fauxface.precision import PRECISIONS, open_classifier
from fauxface.verdicts import Calibration, Thresholds
from fauxface_train.dataset import (
    FOLDER_LABELS,
    PreparedData,
    Sample,
    check_framing,
    load_crop,
    other_locator,
)
from fauxface_train.intervals import CONFIDENCE
from fauxface_train.provenance import (
    calibrated_on,
    derivation,
    earlier,
    hashes,
    learned_before,
    marks,
    pictures_digest,
    relation,
    trained_on,
    trained_whole,
)
from fauxface_train.site import FOLDS, Refit, refit
from fauxface_train.stopped import PASSED, failed
from fauxface_train.thresholds import BPCER_TARGET

FIGURES = {"bpcer": "BPCER", "apcer": "APCER", "missed": "generated called bona fide"}
"""How the rates of `site.Errors` are called."""
_OF_POINTS = ("flips", "mean_probability_difference")
"""Figures of a variant against fp32 that hold for the operating points that both had."""
_MOST_MARKS = 5000
"""Pictures that a calibration names one by one, of more those whose digests come first; a manifest may have a
mebibyte."""
_CARD_MARK = "<!-- calibrated on site -->"
_SUPERSEDED = '**These no longer hold: see "Calibrated on site" at the end.**'
_OF_THE_PARENT = (
    "## Operating point\n",
    "## Other precisions\n",
    "## Evaluation\n",
    "## Media analysis as NIST SP 800-63A-4 asks for it\n",
    "## Limits and known failures\n",
)


def calibrate(
    bundle: Bundle,
    data: PreparedData,
    out: Path,
    *,
    bpcer_target: float = BPCER_TARGET,
    name: str | None = None,
    signed_off_by: str | None = None,
    provider: str = "auto",
) -> dict[str, Refit]:
    """Write a bundle whose operating points are fitted to prepared pictures; nothing else of it changes.

    The manifest's `provenance.calibrations` gets a record of this calibration: when, by which version, on
    what, with which result, and the SHA-256 of the parent. `metrics`, each variant's own `metrics` and
    `provenance.held`, which belong to the parent's operating points, move there too, and
    `provenance.failures.model` names the bundle that the card's pictures of failures were scanned with. The
    model card gets a section of its own.

    Args:
        bundle: The parent.
        data: Prepared pictures; all splits are used, but only test where the parent was trained on these very
            data, and not train where that joined its training. Faces that the parent's gates or its smallest
            face make "unsure" are left out, since a scan doesn't ask for their probability.
        out: The folder to make.
        bpcer_target: BPCER that no real source may contradict.
        name: Name of the new bundle; the parent's when not given.
        signed_off_by: Who answers for it; the manifest and the card name them.
        provider: As for `open_classifier`.

    Returns:
        The new operating point of each precision.

    Raises:
        DataError: The pictures are too few, were cut with another margin or locator, or can't be read, all of
            them may have been trained on, or the parent was calibrated on these very pictures.
        BundleError: The bundle changed while it was used.
        OutputError: `out` exists or can't be written.
    """
    manifest = bundle.manifest
    margin = manifest.crop.margin
    check_framing(data, margin, whole=trained_whole(manifest.provenance), wanted_by="the bundle")
    if other_locator(data, manifest.files[manifest.locator.file].sha256):
        raise DataError(
            f"{data.root} was cut with another locator than the bundle's; "
            "prepare it again, or give the pictures themselves"
        )
    known = relation(trained_on(manifest.provenance), data)
    samples, crops, stopped = _judged(bundle, data, [s for s in data.samples() if _is_new(s, known)])
    if not samples:
        raise DataError(
            f"{data.root} has no picture left to calibrate on: those that the bundle was trained on don't "
            "count, nor those that its gates stop; give other pictures"
        )
    _refuse_twice(bundle, samples)
    labels, sources = np.array([s.label for s in samples]), np.array([s.source for s in samples])
    document = bundle.document()
    points: dict[str, Refit] = {}
    for precision in (name for name in PRECISIONS if name in manifest.classifier):
        session, _ = open_classifier(bundle, provider=provider, precision=precision)
        parent = _parent_point(document, precision)
        points[precision] = refit(session.logits(crops), labels, sources, parent, bpcer_target)
    record = _record(
        bundle,
        data,
        samples,
        points=points,
        target=bpcer_target,
        metrics=document.get("metrics") or {},
    )
    record["data"] |= {"trained_on": known, "gated": stopped}
    record["data"] |= {"learned_before": True} if learned_before(manifest.provenance) else {}
    record["data"] |= {"whole": True} if data.whole else {}
    record["data"]["pictures"] = marks(samples)[:_MOST_MARKS]
    if signed_off_by:
        record["signed_off_by"] = signed_off_by
    fitted_on = f"{len(samples)} pictures on site, from the point of {bundle.sha256[:12]}"
    changed = {precision: _as_json(point, fitted_on) for precision, point in points.items()}
    document |= changed["fp32"]
    own = {**document.pop("operating_points", {}), **changed}
    if others := {key: value for key, value in own.items() if key != "fp32"}:
        document["operating_points"] = others
    document |= {"name": name or manifest.name, "created": record["created"], "metrics": {}}
    variants = {name: dict(found) for name, found in manifest.variants.items() if isinstance(found, Mapping)}
    if own := {name: moved for name, found in variants.items() if (moved := _take_of_points(found))}:
        record["parent_variants"] = own
        document["variants"] = {**manifest.variants, **variants}
    provenance = dict(document.get("provenance") or {})
    record["parent_held"] = provenance.pop("held", {})
    if isinstance(failures := provenance.get("failures"), Mapping) and failures:
        provenance["failures"] = {"model": bundle.sha256, **failures}
    document["provenance"] = provenance | {
        "calibrations": [*earlier(provenance, "calibrations"), record],
    }
    with atomic_folder(out) as folder:
        bundle.copy_files(folder)
        (folder / manifest.card).write_text(_card(bundle.card(), record, document["name"]), encoding="utf-8")
        write_manifest(folder, document)
        Bundle.load(folder)
    return points


def _refuse_twice(bundle: Bundle, samples: Sequence[Sample]) -> None:
    """Raise a DataError where the bundle was calibrated on any of these pictures."""
    before = calibrated_on(bundle.manifest.provenance)
    known = {str(mark) for used in before for mark in earlier(used, "pictures")}
    twice = len(known.intersection(marks(samples)))
    cut = any(len(earlier(used, "pictures")) >= _MOST_MARKS for used in before)
    least = "at least " if cut else ""
    if any(used.get("pictures_sha256") == pictures_digest(samples) for used in before):
        twice, least = len(samples), ""
    if twice:
        raise DataError(
            f"{bundle.path} was calibrated on {least}{twice} of these {len(samples)} pictures, which would "
            "count twice; give the bundle that it was made from, or other pictures"
        )


def _take_of_points(variant: dict[str, Any]) -> dict[str, Any]:
    """Take out of a variant's entry, and return, what was measured at the parent's operating points."""
    taken = {"metrics": variant.pop("metrics")} if "metrics" in variant else {}
    for split in ("val", "test"):
        found = variant.get(split)
        if isinstance(found, Mapping) and (moved := {key: found[key] for key in _OF_POINTS if key in found}):
            taken[split] = moved
            variant[split] = {key: value for key, value in found.items() if key not in moved}
    return taken


def _is_new(sample: Sample, known: str) -> bool:
    """Tell whether training didn't read a sample, as far as it is known."""
    return {"these": sample.split == "test", "added": sample.split != "train"}.get(known, True)


def _judged(
    bundle: Bundle, data: PreparedData, samples: Sequence[Sample]
) -> tuple[list[Sample], np.ndarray, dict[str, int]]:
    """Return the samples that the bundle's gates let pass, their crops, and how many each gate stopped."""
    manifest = bundle.manifest
    kept: list[Sample] = []
    crops: list[np.ndarray] = []
    stopped: dict[str, int] = {}
    for sample in samples:
        crop = load_crop(sample)
        name = failed(sample, crop, manifest.gates, manifest.crop.min_face_px)
        if name == PASSED:
            kept.append(sample)
            crops.append(crop)
        else:
            stopped[name] = stopped.get(name, 0) + 1
    return kept, np.array(crops), stopped


def _parent_point(document: Mapping[str, Any], precision: str) -> tuple[Calibration, Thresholds]:
    """Return a precision's operating point; the top-level one where it has none of its own."""
    own = (document.get("operating_points") or {}).get(precision) or {}
    calibration = {**document["calibration"], **own.get("calibration", {})}
    thresholds = {**document["thresholds"], **own.get("thresholds", {})}
    return (
        Calibration(float(calibration["temperature"]), float(calibration["bias"])),
        Thresholds(float(thresholds["bona_fide_below"]), float(thresholds["generated_from"])),
    )


def _as_json(point: Refit, fitted_on: str) -> dict[str, Any]:
    calibration, thresholds = point.calibration, point.thresholds
    return {
        "calibration": {
            "temperature": calibration.temperature,
            "bias": calibration.bias,
            "fitted_on": f"{point.fitted} on {fitted_on}",
        },
        "thresholds": {
            "bona_fide_below": thresholds.bona_fide_below,
            "generated_from": thresholds.generated_from,
            "rule": thresholds.rule,
        },
    }


def _record(
    bundle: Bundle,
    data: PreparedData,
    samples: Sequence[Sample],
    *,
    points: Mapping[str, Refit],
    target: float,
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what the manifest says about this calibration."""
    counts: dict[str, dict[str, int]] = {label: {} for label in FOLDER_LABELS}
    for sample in samples:
        group = counts[FOLDER_LABELS[sample.label]]
        group[sample.source] = group.get(sample.source, 0) + 1
    made = derivation(bundle, data, samples)
    return made | {
        "data": made["data"] | {"manifest_sha256": hashes(data.root)["manifest_sha256"]} | counts,
        "bpcer_target": target,
        "confidence": CONFIDENCE,
        "folds": FOLDS,
        "results": {
            precision: {
                "fitted": point.fitted,
                "temperature": point.calibration.temperature,
                "bias": point.calibration.bias,
                "bona_fide_below": point.thresholds.bona_fide_below,
                "generated_from": point.thresholds.generated_from,
                "before": asdict(point.before),
                "after": asdict(point.after),
            }
            for precision, point in points.items()
        },
        "parent_metrics": dict(metrics),
    }


def _card(text: str, record: Mapping[str, Any], name: str) -> str:
    """Return the parent's card under a name of its own, with a section on this calibration."""
    data = record["data"]
    lines = [
        _CARD_MARK,
        "## Calibrated on site",
        "",
        f"On {record['created']} by fauxface {record['fauxface']}, from the bundle "
        f"`{record['parent']['sha256']}`. The network is the same; thresholds and error rates elsewhere in "
        "this card are those of that bundle, not of this one. "
        + (
            f"Signed off by {record['signed_off_by']}."
            if "signed_off_by" in record
            else "Nobody signed it off."
        ),
        "",
        "| precision | temperature | bias | bona fide below | generated from |",
        "|---|---|---|---|---|",
        *(
            f"| {precision} | {result['temperature']:.6g} | {result['bias']:.6g} "
            f"| {result['bona_fide_below']:.6g} | {result['generated_from']:.6g} |"
            for precision, result in record["results"].items()
        ),
        "",
        f"Pictures: {sum(data['real'].values())} camera faces, {sum(data['fake'].values())} generated ones. "
        f"{used(data)} BPCER target {record['bpcer_target']:g}. Each picture was judged by an operating "
        f"point fitted without it ({record['folds']} folds); {record['confidence']:.0%} intervals "
        "(Clopper-Pearson).",
        "",
        "| precision | fitted | figure | before | after |",
        "|---|---|---|---|---|",
    ]
    for precision, result in record["results"].items():
        for figure, title in FIGURES.items():
            cells = " | ".join(shown(result[when][figure]) for when in ("before", "after"))
            lines.append(f"| {precision} | {result['fitted']} | {title} | {cells} |")
    kept = text.partition(_CARD_MARK)[0].rstrip()  # an earlier calibration's section goes
    if name != record["parent"]["name"]:
        title = " ".join(name.split()).replace("<", "&lt;")
        kept = re.sub(r"\A# Model card: .*", lambda _: f"# Model card: {title}", kept)
    for heading in _OF_THE_PARENT:
        marked = f"{heading}\n{_SUPERSEDED}\n"
        if marked not in kept:
            kept = kept.replace(heading, marked, 1)
    return f"{kept}\n\n" + "\n".join(lines) + "\n"


def used(data: Mapping[str, Any]) -> str:
    """Return in words which pictures a calibration could use, from its record's `data`."""
    stopped = sum(data["gated"].values())
    seen = {
        "these": "The network was trained on these data, so only their test split was used.",
        "added": "Their train split joined the network's training, so it wasn't used; whether others are "
        "among what else the network saw wasn't checked.",
        "others": "Whether the network saw some of them in training, on other data, wasn't checked.",
        "unknown": "Whether the network saw some of them in training isn't known.",
    }[data["trained_on"]]
    left_out = f" {stopped} more are unsure by the bundle's gates and were left out."
    if data.get("learned_before"):
        seen += " What its initial weights or teachers had learned from before wasn't compared with them."
    if data.get("whole"):
        seen += " They are whole pictures, as a scan with --faces whole judges them."
    return seen + (left_out if stopped else "")


def shown(rate: Mapping[str, Any] | None) -> str:
    """Return a rate in words, for example "0.020 (0.001-0.106), 1 of 50"."""
    if rate is None:
        return "not known: no picture"
    share = rate["errors"] / rate["total"]
    return f"{share:.3f} ({rate['low']:.3f}-{rate['high']:.3f}), {rate['errors']} of {rate['total']}"
