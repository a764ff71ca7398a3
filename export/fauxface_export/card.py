"""The model card: written from the evaluation's metrics.json, the manifest and the table of terms."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

WORST = 5

_INTENDED = """\
fauxface estimates whether a face in a picture was made by an image generator (whole-face synthesis) or
photographed. It is meant as one signal among several: triage of archives, a flag for a person to look at,
research on detectors. Have a person review a verdict before anything follows from it, above all "generated"
and "unsure"."""

_NOT_FOR = (
    "Liveness: this is not presentation attack detection (PAD). A printed or replayed photograph of a real "
    "person is bona fide to it.",
    "Injection detection: it doesn't see whether a camera stream was replaced, and says nothing of where a "
    "file came from.",
    "Face swaps, re-enactment, retouching or filters: it was neither trained nor tested on them, unless a "
    "source below says so.",
    "Identifying a person, or accusing one: a verdict about a picture is an estimate with known error rates, "
    "not evidence.",
)

_LIMITS = (
    "Generators and cameras that no source below stands for may be judged wrongly, in either direction; the "
    "figures say nothing of them.",
    "The probability is calibrated for equal shares of real and generated faces. Where generated faces are "
    "rare, most faces called generated may be real.",
    "Strong compression, blur, resizing and heavy make-up or lighting move the scores.",
    "Samples of one source resemble each other, so figures on pictures of another origin may differ by more "
    "than the intervals say.",
)

_FOLDER_LABEL = {"bona_fide": "real", "generated": "fake"}

_SEEN = {
    "train": "**These pictures were trained on; the figures say little about others.**",
    "all": "**Pictures that were trained on are among these; the figures say little about others.**",
    "val": "The model was selected and calibrated on this split, which flatters the figures.",
}

_OVERALL = (
    ("auroc", "AUROC"),
    ("ap", "average precision"),
    ("eer", "EER"),
    ("tpr_at_fpr_0.01", "TPR at 1 % FPR"),
    ("tpr_at_fpr_0.001", "TPR at 0.1 % FPR"),
    ("apcer", "APCER, pooled (generated not called generated)"),
    ("bpcer", "BPCER, pooled (bona fide called generated)"),
    ("acer", "ACER"),
    ("accuracy", "accuracy"),
    ("unsure", "share called unsure"),
    ("accuracy_when_decided", "accuracy where not unsure"),
    ("ece", "ECE"),
    ("brier", "Brier score"),
    ("nll", "negative log-likelihood"),
)


def render(
    manifest: Mapping[str, Any],
    metrics: Mapping[str, Any] | None,
    terms: Sequence[Mapping[str, str]] = (),
) -> str:
    """Write the model card of a bundle.

    Args:
        manifest: The fields of bundle.json; `files` isn't needed.
        metrics: metrics.json of `fauxface evaluate`, or None: the card says that nothing was measured.
        terms: Rows with source, label, origin and terms.

    Returns:
        Markdown.
    """
    parts = [
        f"# Model card: {_text(manifest['name'])}",
        f"Written by `fauxface export` on {manifest['created']} from the checkpoint's description, "
        + ("the evaluation's metrics.json" if metrics else "without an evaluation")
        + (" and a table of terms." if terms else "."),
        "## Model",
        _model(manifest),
        "## Intended use",
        _INTENDED,
        "## Not for",
        _bullets(_NOT_FOR),
        "## Operating point",
        _operating_point(manifest),
        *_precisions(manifest),
        "## Evaluation",
        *(_evaluation(metrics) if metrics else [_NOT_EVALUATED]),
        "## Limits and known failures",
        *_limits(metrics),
        "## Data and terms",
        *_data(manifest, terms),
        "## Training",
        _facts(
            _mapping(manifest, "provenance", "training"), "The checkpoint records nothing of its training."
        ),
        "### Configuration",
        _facts(_mapping(manifest, "provenance", "config"), "The checkpoint records no configuration."),
        "## Parity of the exported files",
        *_parity(manifest["parity"]),
        "## Licence",
        f"The weights: {manifest['weights_license']} in this folder. fauxface's code: Apache-2.0."
        if manifest.get("weights_license")
        else "No licence file of the weights was given at export; the terms of the training data apply.",
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


_NOT_EVALUATED = """\
**Not evaluated.** No metrics were given at export, so no error rate of this model is known. Run `fauxface
evaluate` on data that it wasn't trained on and export again with `--metrics` before relying on a verdict."""


def _model(manifest: Mapping[str, Any]) -> str:
    provenance, size = manifest["provenance"], manifest["input"]["size"]
    rows = [
        ("task", "one face crop: bona fide or generated"),
        ("architecture", provenance.get("architecture", "not recorded")),
        (
            "input",
            f"uint8 [N, {size}, {size}, 3] RGB; side of the square: {manifest['crop']['margin']:g} times the "
            "longer side of the face box",
        ),
        ("output", f"logits of {', '.join(manifest['labels'])}"),
        ("checkpoint sha256", provenance.get("checkpoint_sha256", "not recorded")),
        ("ONNX operator set", provenance.get("opset", "not recorded")),
    ]
    return _table(("", ""), rows)


def _operating_point(manifest: Mapping[str, Any]) -> str:
    calibration, thresholds = manifest["calibration"], manifest["thresholds"]
    crop, locator = manifest["crop"], manifest["locator"]
    rows = [
        ("bona fide", f"probability below {thresholds['bona_fide_below']:.6g}"),
        ("generated", f"probability from {thresholds['generated_from']:.6g} on"),
        ("unsure", f"between, or a face smaller than {crop['min_face_px']} px"),
        ("chosen by", thresholds.get("rule") or "not recorded"),
        (
            "probability",
            f"sigmoid((logit generated - logit bona fide) / {calibration['temperature']:.6g} + "
            f"{calibration['bias']:.6g})",
        ),
        ("calibrated on", calibration.get("fitted_on") or "nothing: the calibration is not fitted"),
        ("face locator", f"score from {locator['score_threshold']:g}, longest side {locator['max_side']} px"),
    ]
    return _table(("", ""), rows)


def _precisions(manifest: Mapping[str, Any]) -> list[str]:
    """Return what other precisions lose against fp32; nothing where the bundle has none."""
    rows = []
    for name, variant in _mapping(manifest, "variants").items():
        test, points = _mapping(variant, "test"), _mapping(manifest, "operating_points", name, "thresholds")
        figures = f"{round(test['auroc_loss'], 4) + 0:.4f}", f"{test['flips']:.2%}", test["samples"]
        rows.append((name, *figures, *(f"{points[k]:.6g}" for k in ("bona_fide_below", "generated_from"))))
    if not rows:
        return []
    header = ("precision", "AUROC loss", "changed verdicts", "pictures", "bona fide below", "generated from")
    return [
        "## Other precisions",
        "Against fp32 on the test split, each at its own operating point. The evaluation is that of fp32.",
        _table(header, rows),
    ]


def _evaluation(metrics: Mapping[str, Any]) -> list[str]:
    data, overall = _mapping(metrics, "data"), _mapping(metrics, "overall")
    parts = [
        f"Split `{_text(data.get('split', 'not recorded'))}` of `{_text(data.get('name', 'not recorded'))}`: "
        f"{overall.get('samples', '?')} pictures, {overall.get('bona_fide', '?')} bona fide and "
        f"{overall.get('generated', '?')} generated, measured {metrics.get('created', '(no date)')}. "
        f"95 % intervals in brackets. {_SEEN.get(data.get('split', ''), '')}".rstrip(),
        _table(
            ("figure", "value"), [(name, _value(overall[key])) for key, name in _OVERALL if key in overall]
        ),
    ]
    sources = metrics.get("sources")
    if isinstance(sources, list) and sources:
        header = ("source", "label", "pictures", "error", "called unsure", "AUROC against the other label")
        parts += [
            "### By source",
            "Error: BPCER for bona fide sources (called generated), APCER for generators (not called so).",
            _table(header, [_source_row(source) for source in sources]),
        ]
    cells = metrics.get("demographics")
    if isinstance(cells, list) and cells:
        rows = [(", ".join(c["by"]), ", ".join(c["cell"]), _value(c["bpcer"])) for c in cells]
        parts += [
            "### BPCER by demographic cell (bona fide faces whose attributes are known)",
            _table(("by", "cell", "BPCER"), rows),
        ]
    pairs = _mapping(metrics, "pairs")
    if pairs.get("auroc"):
        header = ("AUROC", *pairs["fake_sources"])
        rows = [
            (name, *(_value(cell, interval=False) for cell in row))
            for name, row in zip(pairs["real_sources"], pairs["auroc"], strict=True)
        ]
        parts += ["### Every bona fide source against every generator", _table(header, rows)]
    return parts


def _limits(metrics: Mapping[str, Any] | None) -> list[str]:
    """Return the general limits and the sources on which the evaluation found most errors."""
    parts = [_bullets(_LIMITS)]
    sources = metrics.get("sources") if metrics else None
    if not isinstance(sources, list) or not sources:
        return [*parts, "Known failures by source: not evaluated."]
    lines = []
    for key, said in (("bpcer", "bona fide called generated"), ("apcer", "generated not called generated")):
        found = [s for s in sources if _mapping(s, key).get("value")]
        found.sort(key=lambda s: s[key]["value"], reverse=True)
        lines += [f"{_text(s['source'])}: {_value(s[key])} of its {said}." for s in found[:WORST]]
    worst = _mapping(metrics or {}, "pairs", "worst")
    if "real" in worst:
        lines.append(
            f"Hardest pair: {_text(worst['real'])} against {_text(worst['fake'])}, AUROC {_value(worst)}."
        )
    return [*parts, "Most errors were measured on:", _bullets(lines or ["no source: none had an error."])]


def _data(manifest: Mapping[str, Any], terms: Sequence[Mapping[str, str]]) -> list[str]:
    data = _mapping(manifest, "provenance", "data")
    used = {
        (label, source): tuple(_mapping(data, split, label).get(source, 0) for split in ("train", "val"))
        for label in ("real", "fake")
        for split in ("train", "val")
        for source in _mapping(data, split, label)
    }
    stated = {(_FOLDER_LABEL.get(row["label"].lower(), row["label"]), row["source"]): row for row in terms}
    rows = []
    for label, source in sorted(used.keys() | stated.keys(), key=lambda key: (key[0] != "real", key)):
        row = stated.get((label, source), {})
        train, val = used.get((label, source), (0, 0))
        facts = (row.get("origin") or "not stated", row.get("terms") or "not stated")
        rows.append((source, label, train, val, *facts))
    parts = [
        "Pictures of the train and the val split, by source, with the terms under which each was obtained."
        if rows
        else "The checkpoint records nothing of its data, and no table of terms was given."
    ]
    if rows and not terms:
        parts.append("**Terms not stated.** No table of terms was given at export.")
    if rows:
        parts.append(_table(("source", "label", "train", "val", "origin", "terms"), rows))
    rest = {key: value for key, value in data.items() if key not in {"train", "val"}}
    return [*parts, _facts(rest, "")] if rest else parts


def _parity(report: Mapping[str, Any]) -> list[str]:
    limits, where = report["limits"], report["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in where["packages"].items())
    header = ("backend", "inputs", "batch", "crops", "logits within", "probability within", "equal decisions")
    rows = [
        (
            row["backend"],
            row["inputs"],
            row["batch"],
            row["crops"],
            f"{row['max_logit_difference']:.2g}",
            f"{row['max_probability_difference']:.2g}",
            f"{row['equal_decisions']:.0%}",
        )
        for row in report["rows"]
    ]
    return [
        f"Largest absolute differences from {report['reference']}; the limit is {limits['logit']:g} for "
        f"logits and {limits['probability']:g} for probabilities, and every decision must be equal.",
        _table(header, rows),
        f"Measured on {_text(where['cpu'])} ({where['system']}, {where['threads']} threads) with {packages}.",
    ]


def _source_row(source: Mapping[str, Any]) -> list[object]:
    error = source.get("bpcer") or source.get("apcer") or {}
    return [
        source["source"],
        source["label"],
        source.get("samples", ""),
        _value(error),
        _value(source.get("called_unsure", {}), interval=False),
        _value(source.get("auroc", {})),
    ]


def _value(entry: Mapping[str, Any], *, interval: bool = True) -> str:
    """Return a figure of metrics.json with its interval, or why there is none."""
    value = entry.get("value")
    if value is None:
        return str(entry.get("reason", "not measured"))
    text = f"{value:.4f}"
    if interval and entry.get("low") is not None and entry.get("high") is not None:
        text += f" [{entry['low']:.4f}, {entry['high']:.4f}]"
    return text


def _mapping(parent: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Return a nested object, empty where it is missing."""
    found: Any = parent
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _facts(values: Mapping[str, Any], otherwise: str) -> str:
    rows = list(_flat(values))
    return _table(("", ""), rows) if rows else otherwise


def _flat(value: Any, name: str = "") -> Iterable[tuple[str, str]]:
    """Yield dotted names and values of nested JSON data; short lists stay on one line."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flat(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list | tuple):
        yield name, ", ".join(str(item) for item in value)
    elif value not in (None, ""):
        yield name, f"{value:.6g}" if isinstance(value, float) else str(value)


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [list(header), ["---"] * len(header), *([_text(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _text(value: object) -> str:
    """Return a value as one line of Markdown that can't break a table or start a tag."""
    line = " ".join(str(value).split()).replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", line)
