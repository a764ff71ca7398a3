"""What the model card says of an evaluation; every figure comes from its metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

from fauxface.verdicts import BONA_FIDE, GENERATED
from fauxface_export.markdown import bullets, figure, mapping, table, text
from fauxface_train.intervals import few_sources

WORST = 5

NOT_EVALUATED = """\
**Not evaluated.** No metrics were given at export, so no error rate of the fp32 classifier is known. Run
`fauxface evaluate` on data that it wasn't trained on and export again with `--metrics` before relying on a
verdict."""

_LIMITS = (
    "Generators and cameras that no source below stands for may be judged wrongly, in either direction; the "
    "figures say nothing of them.",
    "The probability is calibrated for equal shares of real and generated faces. Where generated faces are "
    "rare, most faces called generated may be real.",
    "Compression, blur and resizing move the scores, by as much as the table of degradations says where they "
    "were measured; heavy make-up, filters and lighting may too, which was not measured.",
    "Samples of one source resemble each other, so figures on pictures of another origin may differ by more "
    "than the intervals say.",
)

_SEEN = {
    "train": "**These pictures were trained on; the figures say little about others.**",
    "all": "**Pictures that were trained on are among these; the figures say little about others.**",
    "val": "The model was selected and calibrated on this split, which flatters the figures.",
}
_ADDED = "The train split of these data joined the training; this split didn't."
_LEARNED = "What its initial weights or teachers had learned from before wasn't compared with these pictures."
_WHOLE = "These are whole pictures, which a scan judges so with --faces whole alone."
_OTHERS = "These aren't the prepared data that the model was trained on."
_FITTED = "The operating point was fitted to pictures of these data, which flatters its figures."
_FRAMED = "The faces were cut by another locator than the bundle's, so a scan frames them otherwise."
_UNKNOWN = "Whether the pictures were trained on isn't known."
_UNCHECKED = "Whether some of the pictures were trained on wasn't checked."

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


_ASKED = """\
NIST SP 800-63A-4, section 3.14, asks of algorithms that analyse submitted media: that they are tested on
genuine media and on the attack artefacts available, for the false positives and false negatives to be
expected; that the kinds of artefacts tested and their false negative rates are documented; and that people
review what the algorithm decides. This section has what was measured for that. It is no statement of
conformity, which concerns a whole service and not a model."""

_REVIEW = """\
**Manual review is advised**: have a trained person look at every verdict "generated" or "unsure" and at a
sample of the "bona fide" ones before anything follows from them, and let the person concerned be heard.
Single pictures of faces were tested: no video, no document, no injected stream; and no face swap or morph,
unless an artefact is named so above."""


def seen(data: Mapping[str, Any]) -> str:
    """Say whether the measured pictures were trained on, as far as it is known."""
    related, split, overlap = data.get("trained_on"), data.get("split", ""), mapping(data, "overlap")
    unchecked = related in {"added", "others"}
    if related == "added" and split not in {"train", "all"}:
        said = _ADDED
    elif related in {"these", "added"}:
        said = _SEEN.get(split, "")
    else:
        said = _OTHERS if related == "others" else _UNKNOWN
    for key, sentence in (("learned_before", _LEARNED), ("whole", _WHOLE), ("fitted_to", _FITTED)):
        if data.get(key):
            said = f"{said} {sentence}".lstrip()
    if data.get("other_locator"):
        said = f"{said} {_FRAMED}".lstrip()
    if overlap:
        counted = (
            f"{overlap.get('shared', '?')} of the pictures are among the {overlap.get('pictures', '?')} of "
            f"`{text(overlap.get('name', 'not recorded'))}` for training and validation."
        )
        return f"{said} {counted}".lstrip()
    return f"{said} {_UNCHECKED}" if unchecked and split not in {"train", "all"} else said


def evaluation(metrics: Mapping[str, Any]) -> list[str]:
    """Return the figures overall, by source, by demographic cell, by pair of sources and by condition."""
    data, overall, sources = mapping(metrics, "data"), mapping(metrics, "overall"), metrics.get("sources")
    parts = [
        f"Split `{text(data.get('split', 'not recorded'))}` of `{text(data.get('name', 'not recorded'))}`: "
        f"{overall.get('samples', '?')} pictures, {overall.get('bona_fide', '?')} bona fide and "
        f"{overall.get('generated', '?')} generated, measured {metrics.get('created', '(no date)')}. "
        f"95 % intervals in brackets. {seen(data)}".rstrip(),
        *_few_sources(sources),
        table(
            ("figure", "value"), [(name, figure(overall[key])) for key, name in _OVERALL if key in overall]
        ),
        *_withheld(mapping(metrics, "risk_coverage")),
        *_gated(mapping(metrics, "gates")),
    ]
    if isinstance(sources, list) and sources:
        header = ("source", "label", "pictures", "error", "called unsure", "AUROC against the other label")
        parts += [
            "### By source",
            "Error: BPCER for bona fide sources (called generated), APCER for generators (not called so).",
            table(header, [_source_row(source) for source in sources]),
        ]
    cells = metrics.get("demographics")
    if isinstance(cells, list) and cells:
        header = ("by", "cell", "faces", "called generated", "BPCER")
        rows = [
            (", ".join(c["by"]), ", ".join(c["cell"]), *_counted(c["bpcer"]), figure(c["bpcer"]))
            for c in cells
        ]
        parts += [
            "### BPCER by demographic cell (bona fide faces whose attributes are known)",
            table(header, rows),
        ]
    pairs = mapping(metrics, "pairs")
    if pairs.get("auroc"):
        header = ("AUROC", *pairs["fake_sources"])
        rows = [
            (name, *(figure(cell, interval=False) for cell in row))
            for name, row in zip(pairs["real_sources"], pairs["auroc"], strict=True)
        ]
        parts += ["### Every bona fide source against every generator", table(header, rows)]
    return [*parts, *_robustness(mapping(metrics, "robustness"))]


def media_analysis(metrics: Mapping[str, Any] | None, terms: Sequence[Mapping[str, str]] = ()) -> list[str]:
    """Return what was tested, with the expected false positives and false negatives.

    Args:
        metrics: metrics.json, or None.
        terms: Rows with source, label, origin and terms; a fake source's origin tells what kind it is.
    """
    sources = metrics.get("sources") if metrics else None
    if not metrics or not isinstance(sources, list) or not sources:
        return [_ASKED, "**Not tested**: no evaluation was given at export.", _REVIEW]
    overall, conditions = mapping(metrics, "overall"), mapping(metrics, "robustness", "conditions")
    genuine = [s for s in sources if "bpcer" in s]
    worst = mapping(metrics, "worst", "bpcer")
    highest = f"; highest in a source {figure(worst)} ({text(worst['source'])})" if "source" in worst else ""
    rows = [
        ("genuine media tested", f"{overall.get('bona_fide', '?')} pictures of {len(genuine)} sources"),
        ("false positives to be expected (BPCER)", figure(mapping(overall, "bpcer")) + highest),
        (
            "attack artefacts tested",
            f"{overall.get('generated', '?')} pictures of {len(sources) - len(genuine)} generators",
        ),
        ("false negatives to be expected (APCER)", figure(mapping(overall, "apcer"))),
        (
            "also degraded by",
            ", ".join(name for name in conditions if name != "clean") or "nothing: not tested",
        ),
    ]
    return [_ASKED, table(("", ""), rows), *_artefacts(sources, conditions, terms), _REVIEW]


def _artefacts(
    sources: Sequence[Mapping[str, Any]],
    conditions: Mapping[str, Any],
    terms: Sequence[Mapping[str, str]],
) -> list[str]:
    """Return the kinds of artefacts with their false negative rates, clean and at their highest."""
    origins = {row["source"]: row["origin"] for row in terms if row["label"] == "fake"}
    rows = []
    for source in sources:
        if "apcer" not in source:
            continue
        name = source["source"]
        degraded = {
            condition: value
            for condition, entry in conditions.items()
            if (value := mapping(entry, "apcer_per_source", name)).get("value") is not None
        }
        highest = max(degraded, key=lambda condition: degraded[condition]["value"], default=None)
        rows.append(
            (
                name,
                origins.get(name) or "not stated",
                source.get("samples", ""),
                figure(source["apcer"]),
                f"{figure(degraded[highest])} ({highest})" if highest and len(degraded) > 1 else "not tested",
            )
        )
    if not rows:
        return ["No attack artefact was tested."]
    header = ("artefact (generator)", "kind", "pictures", "false negatives", "highest under any condition")
    return ["False negatives count unsure ones, which raise no alarm.", table(header, rows)]


def _few_sources(sources: object) -> list[str]:
    """Say that intervals are too narrow, where a label has few sources."""
    if not isinstance(sources, list):
        return []
    counts = [sum(row.get("label") == label for row in sources) for label in (BONA_FIDE, GENERATED)]
    said = few_sources(*counts)
    return [said] if said else []


def _counted(rate: Mapping[str, Any]) -> tuple[object, object]:
    """Return of how many a rate is, and how many they are."""
    return rate.get("total", ""), rate.get("count", "")


def _withheld(found: Mapping[str, Any]) -> list[str]:
    """Tell what share of verdicts is given, and how many of these are wrong."""
    if "risk" not in found:
        return []
    return [
        f"Not unsure: {figure(found['coverage'])} of the pictures; of these verdicts {figure(found['risk'])} "
        f"are wrong. Area under the risk-coverage curve: {figure(found['aurc'])}."
    ]


def _gated(found: Mapping[str, Any]) -> list[str]:
    """Tell what the gates change, where the evaluation tried any."""
    if not found.get("limits"):
        return []
    unknown = found["without_landmarks"]
    return [
        f"A scan applies gates too. Those on {', '.join(found['limits'])} make {figure(found['failed'])} of "
        f"the pictures unsure; with them APCER is {figure(found['apcer'])}, BPCER {figure(found['bpcer'])}, "
        f"the share called unsure {figure(found['unsure'])}, accuracy where not unsure "
        f"{figure(found['accuracy_when_decided'])}. "
        "All other figures are without gates."
        + (f" Of {unknown} pictures no landmarks are known; they pass the gates of pose." if unknown else "")
    ]


def _robustness(found: Mapping[str, Any]) -> list[str]:
    """Return one row per condition, and the highest errors of a source under any of them."""
    conditions = mapping(found, "conditions")
    if len(conditions) < 2:
        return ["### Under degradations", "Not measured: no degradation was chosen for the evaluation."]
    rows = [
        (
            name,
            entry.get("words", ""),
            figure(mapping(entry, "auroc")),
            figure(entry["auroc_loss"]) if "auroc_loss" in entry else "",
            *(figure(mapping(entry, key), interval=False) for key in ("apcer", "bpcer", "unsure")),
            figure(entry["flipped"], interval=False) if "flipped" in entry else "",
        )
        for name, entry in conditions.items()
    ]
    header = ("condition", "what", "AUROC", "AUROC lost", "APCER", "BPCER", "unsure", "verdicts changed")
    lines = [
        f"Highest {key.upper()} of a source: {figure(value)}, {text(value['source'])} under "
        f"{text(value['condition'])}."
        for key in ("apcer", "bpcer")
        if "condition" in (value := mapping(found, "worst", key))
    ]
    parts = [
        "### Under degradations",
        "The same pictures, degraded at 128 px before the runtime's preprocessing; the same thresholds.",
        table(header, rows),
    ]
    return [*parts, bullets(lines)] if lines else parts


def limits(metrics: Mapping[str, Any] | None) -> list[str]:
    """Return the general limits and the sources on which the evaluation found most errors."""
    parts = [bullets(_LIMITS)]
    sources = metrics.get("sources") if metrics else None
    if not isinstance(sources, list) or not sources:
        return [*parts, "Known failures by source: not evaluated."]
    lines = []
    for key, said in (("bpcer", "bona fide called generated"), ("apcer", "generated not called generated")):
        found = [s for s in sources if mapping(s, key).get("value")]
        found.sort(key=lambda s: s[key]["value"], reverse=True)
        lines += [f"{text(s['source'])}: {figure(s[key])} of its {said}." for s in found[:WORST]]
    worst = mapping(metrics or {}, "pairs", "worst")
    if "real" in worst:
        lines.append(
            f"Hardest pair: {text(worst['real'])} against {text(worst['fake'])}, AUROC {figure(worst)}."
        )
    for part in mapping(metrics or {}, "pairs").get("subsets", ()):
        hardest = part["worst"]
        lines.append(
            f"Hardest pair of {text(part['name'])}: {text(hardest['real'])} against {text(hardest['fake'])}, "
            f"AUROC {figure(hardest)}."
        )
    return [*parts, "Most errors were measured on:", bullets(lines or ["no source: none had an error."])]


def _source_row(source: Mapping[str, Any]) -> list[object]:
    error = source.get("bpcer") or source.get("apcer") or {}
    return [
        source["source"],
        source["label"],
        source.get("samples", ""),
        figure(error),
        figure(source.get("called_unsure", {}), interval=False),
        figure(source.get("auroc", {})),
    ]
