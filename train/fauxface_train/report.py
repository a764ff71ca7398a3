"""What a report of an evaluation says, as blocks made from the content of metrics.json alone."""

from collections.abc import Sequence
from typing import Any

from fauxface.verdicts import BONA_FIDE, GENERATED, UNSURE
from fauxface_train.conditions import CLEAN
from fauxface_train.intervals import FPR_TARGETS, few_sources
from fauxface_train.pages import Block, Heading, Items, Picture, Table, Text

_ADDED = "; their train split joined the training"
_OTHERS = "; not the prepared data that the model was trained on"
_FITTED = "; the operating point was fitted to pictures of these data"
_FRAMED = "; the faces were cut by another locator than the model's, so a scan frames them otherwise"
_LEARNED = "; its initial weights or teachers had learned from other data, which weren't compared"
_WHOLE = "; whole pictures, as a scan with --faces whole judges them"
_UNCHECKED = ": whether these pictures are among those wasn't checked"

_OVERALL = (
    ("AUROC", "auroc"),
    ("Average precision", "ap"),
    ("EER", "eer"),
    *((f"TPR at {100 * target:g} % FPR", f"tpr_at_fpr_{target:g}") for target in FPR_TARGETS),
    ("APCER at the operating point", "apcer"),
    ("BPCER at the operating point", "bpcer"),
    ("ACER", "acer"),
    ("Accuracy at the operating point", "accuracy"),
    ("Accuracy at probability 0.5", "accuracy_at_half"),
    ("Balanced accuracy", "balanced_accuracy"),
    ("Unsure", "unsure"),
    ("Accuracy when not unsure", "accuracy_when_decided"),
    ("ECE", "ece"),
    ("Brier score", "brier"),
    ("Negative log-likelihood", "nll"),
)

PLOTS = {
    "roc_det.png": "ROC and DET curves",
    "reliability.png": "Reliability",
    "risk_coverage.png": "Risk and coverage",
    "confusion.png": "Verdicts",
    "errors_per_source.png": "APCER and BPCER per source",
    "scores_per_source.png": "Scores per source",
    "pairs.png": "AUROC per pair of sources",
    "robustness.png": "AUROC and errors per condition",
    "predictions.png": "A random choice of predictions",
    "mistakes.png": "Worst mistakes",
}
_PICTURES_OF_DATA = ("predictions.png", "mistakes.png")


_SEEN = {
    "train": ", on which the model was trained",
    "val": ", by which the model's best checkpoint and its thresholds were chosen",
    "all": ", on most of which the model was trained",
}
"""What splits of its own training data were to a model; of the test split it saw nothing."""


def show(value: dict[str, Any], interval: bool = True) -> str:
    """Return a figure as text: "0.9876 (0.9801-0.9932)", or a dash where there is none.

    Args:
        value: An entry of metrics.json.
        interval: Whether to add the 95 % interval.
    """
    if value["value"] is None:
        return "-"
    text = f"{value['value']:.4f}"
    if interval and "low" in value:
        text += f" ({value['low']:.4f}-{value['high']:.4f})"
    return text


def _precision(model: dict[str, Any]) -> str:
    return f" in {model['precision']}" if model.get("precision") else ""


def _relation(data: dict[str, Any]) -> str:
    """Say whether the pictures were trained on, as far as it is known."""
    overlap = data.get("overlap")
    others = _OTHERS if overlap else _OTHERS + _UNCHECKED
    these = _SEEN.get(data.get("split", ""), "")
    seen = data.get("split") in {"train", "all"}
    added = _ADDED if overlap or seen else f"{_ADDED}; whether others are among what it saw wasn't checked"
    said = {"these": these, "added": added, "others": others}.get(data.get("trained_on", ""), "")
    if overlap:
        known = f"the {overlap['pictures']} of `{overlap['name']}` for training and validation"
        said += f"; {overlap['shared']} of these pictures are among {known}"
    said += _LEARNED if data.get("learned_before") else ""
    said += _WHOLE if data.get("whole") else ""
    said += _FITTED if data.get("fitted_to") else ""
    return said + (_FRAMED if data.get("other_locator") else "")


def blocks(document: dict[str, Any], plots: Sequence[str] = ()) -> list[Block]:
    """Return the whole report.

    Args:
        document: The content of metrics.json.
        plots: File names of the plots beside the report.
    """
    model, data, point = document["model"], document["data"], document["operating_point"]
    overall = document["overall"]
    content: list[Block] = [
        Heading("Evaluation", 1),
        Items(
            [
                f"Model: {model['kind']} `{model['identity']}` on {model['provider']}{_precision(model)}",
                f"Data: `{data['name']}`, split {data['split']}: {overall['bona_fide']} bona fide, "
                f"{overall['generated']} generated{_relation(data)}",
                f"Operating point: bona fide below {point['bona_fide_below']:.6g}, generated from "
                f"{point['generated_from']:.6g}; temperature {point['temperature']:.4g}, bias "
                f"{point['bias']:.4g}",
                f"Rule: {point['rule'] or 'not recorded'}",
                f"fauxface {document['fauxface']}, {document['created']}",
            ]
        ),
        Text(
            "APCER counts generated faces that weren't called generated, so an unsure one counts as an "
            "error; BPCER counts bona fide faces that were called generated. Intervals in brackets are 95 %: "
            "Clopper-Pearson for rates of one source or of a demographic cell, for rates of several sources "
            "the wider of that and a bootstrap grouped by source, such a bootstrap for the rest; "
            "docs/evaluation.md tells those of ACER, balanced accuracy and ECE."
        ),
        *_few_sources(document),
        Heading("Overall"),
        Table(["Figure", "Value"], [[name, show(overall[key])] for name, key in _OVERALL]),
        *_reasons(overall),
        *_verdicts(document),
        *_selective(document["risk_coverage"]),
        *_sources(document, BONA_FIDE, "Bona fide sources", "all generated samples"),
        *_sources(document, GENERATED, "Generators", "all bona fide samples"),
        *_pairs(document["pairs"]),
        *_demographics(document["demographics"]),
        *_gates(document["gates"]),
        *_robustness(document["robustness"]),
    ]
    if plots:
        content.append(Heading("Plots"))
        if any(name in _PICTURES_OF_DATA for name in plots):
            content.append(
                Text(
                    "The last ones show pictures of the data: don't publish them, nor a page that holds "
                    "them, unless you may publish the data."
                )
            )
        content += [Picture(name, PLOTS.get(name, name)) for name in plots]
    return content


def _few_sources(document: dict[str, Any]) -> list[Block]:
    """Say that intervals are too narrow where a label has few sources."""
    counts = [sum(row["label"] == label for row in document["sources"]) for label in (BONA_FIDE, GENERATED)]
    said = few_sources(*counts)
    return [Text(said)] if said else []


def _reasons(overall: dict[str, Any]) -> list[Block]:
    """Name the figures that couldn't be computed."""
    missing: dict[str, list[str]] = {}
    for name, key in _OVERALL:
        if overall[key]["value"] is None:
            missing.setdefault(overall[key]["reason"], []).append(name)
    return [Text(f"Not computed ({reason}): {', '.join(names)}.") for reason, names in missing.items()]


def _verdicts(document: dict[str, Any]) -> list[Block]:
    rows = []
    for label, name in ((BONA_FIDE, "Bona fide"), (GENERATED, "Generated")):
        counts, figures = document["overall"]["confusion"][label], document["labels"][label]
        cells = [
            f"{counts[column]} ({show(figures[f'called_{column}'], interval=False)})"
            for column in (BONA_FIDE, UNSURE, GENERATED)
        ]
        rows.append([name, *cells, show(figures["brier"]), show(figures["nll"])])
    header = ["Truth", "called bona fide", "unsure", "called generated", "Brier", "NLL"]
    return [Heading("Verdicts per label"), Table(header, rows)]


def _selective(found: dict[str, Any]) -> list[Block]:
    """Tell what withholding the unsure verdicts buys."""
    rows = [
        ["Share of verdicts that aren't unsure (coverage)", show(found["coverage"])],
        ["Share of these that are wrong (risk)", show(found["risk"])],
        ["Risk of p >= 0.5 at the same coverage", show(found["curve_risk"])],
        ["Area under the risk-coverage curve (AURC)", show(found["aurc"])],
    ]
    return [Heading("Risk and coverage"), Table(["Figure", "Value"], rows)]


def _sources(document: dict[str, Any], label: str, title: str, against: str) -> list[Block]:
    key = "bpcer" if label == BONA_FIDE else "apcer"
    name = key.upper()
    chosen = [s for s in document["sources"] if s["label"] == label]
    if not chosen:
        return []
    chosen.sort(key=lambda s: -s[key]["value"])
    rows = [
        [
            s["source"],
            str(s["samples"]),
            show(s[key]),
            show(s["called_unsure"], interval=False),
            show(s["auroc"]),
            show(s["eer"], interval=False),
            show(s["tpr_at_fpr_0.01"], interval=False),
            show(s["brier"]),
            f"{s['sharpness']['value']:.0f}",
        ]
        for s in chosen
    ]
    header = ["Source", "n", name, "unsure", f"AUROC against {against}", "EER", "TPR at 1 % FPR", "Brier"]
    worst = document["worst"][key]
    line = f"Highest {name}: {show(worst)} on {worst['source']} ({worst['count']} of {worst['total']})."
    return [Heading(title), Table([*header, "sharpness"], rows), Text(line)]


def _pairs(pairs: dict[str, Any]) -> list[Block]:
    if pairs["auroc"] is None:
        return [Heading("Matched pairs"), Text(f"Not computed: {pairs['reason']}.")]
    worst = pairs["worst"]
    rows = [
        [name, *(show(cell, interval=False) for cell in cells)]
        for name, cells in zip(pairs["real_sources"], pairs["auroc"], strict=True)
    ]
    content: list[Block] = [
        Heading("Matched pairs"),
        Text(
            "AUROC of each bona fide source (row) against each generator (column): a style that tells "
            "sources apart can't hide in it as it can in the pooled figure."
        ),
        Table(["", *pairs["fake_sources"]], rows),
        Text(f"Worst pair: {show(worst)}, {worst['real']} against {worst['fake']}."),
    ]
    if pairs["subsets"]:
        parts = [
            [
                part["name"],
                str(part["pairs"]),
                show(part["median"]),
                show(part["worst"]),
                f"{part['worst']['real']} against {part['worst']['fake']}",
            ]
            for part in pairs["subsets"]
        ]
        header = ["Chosen pairs", "pairs", "median AUROC", "lowest AUROC", "of"]
        content += [Table(header, parts)]
    return content


def _demographics(cells: Sequence[dict[str, Any]]) -> list[Block]:
    if not cells:
        return []
    rows = [
        [", ".join(cell["by"]), ", ".join(cell["cell"]), str(cell["bpcer"]["total"]), show(cell["bpcer"])]
        for cell in cells
    ]
    note = "Bona fide samples whose file names tell age, gender and race (as labelled by their data set)."
    return [
        Heading("BPCER per demographic cell"),
        Text(note),
        Table(["By", "Cell", "n", "BPCER"], rows),
    ]


def _gates(found: dict[str, Any]) -> list[Block]:
    """Tell what the gates change; the figures above are without them."""
    if not found["limits"]:
        return [Heading("Gates"), Text("The model came without gates.")]
    limits = [f"{name} {limit:g} ({found['failed_by'][name]})" for name, limit in found["limits"].items()]
    lines = [
        f"The gates make {show(found['failed'])} of the faces unsure, whatever the classifier says: "
        f"{', '.join(limits)}, in brackets the faces that fail it first. A scan applies them; the figures "
        "above are without them."
    ]
    if found["without_landmarks"]:
        lines.append(
            f"Of {found['without_landmarks']} faces no landmarks are known; they pass the gates of pose."
        )
    rows = [
        ["APCER", show(found["apcer"])],
        ["BPCER", show(found["bpcer"])],
        ["Unsure", show(found["unsure"])],
        ["Accuracy when not unsure", show(found["accuracy_when_decided"])],
    ]
    sources = [
        [
            row["source"],
            show(row["failed"]),
            *(show(row[key]) if key in row else "" for key in ("bpcer", "apcer")),
        ]
        for row in found["sources"]
    ]
    return [
        Heading("Gates"),
        Text(" ".join(lines)),
        Table(["With gates", "Value"], rows),
        Table(["Source", "stopped by a gate", "BPCER", "APCER"], sources),
    ]


def _robustness(found: dict[str, Any]) -> list[Block]:
    conditions = found["conditions"]
    if set(conditions) == {CLEAN}:
        return [Heading("Robustness"), Text("Not measured: no condition was chosen.")]
    flipped = [entry.get("flipped_per_label", {}) for entry in conditions.values()]
    rows = [
        [
            name,
            entry["words"],
            show(entry["auroc"]),
            show(entry["auroc_loss"]) if "auroc_loss" in entry else "",
            show(entry["apcer"], interval=False),
            show(entry["bpcer"], interval=False),
            show(entry["unsure"], interval=False),
            *(show(per[label], interval=False) if per else "" for label in (BONA_FIDE, GENERATED)),
        ]
        for (name, entry), per in zip(conditions.items(), flipped, strict=True)
    ]
    header = ["Condition", "what", "AUROC", "AUROC lost", "APCER", "BPCER", "unsure"]
    return [
        Heading("Robustness"),
        Text(
            "Every condition acts on the crop at 128 px, before the runtime's own preprocessing. Flipped: "
            "share of the label's verdicts that differ from the clean picture's."
        ),
        Table([*header, "bona fide flipped", "generated flipped"], rows),
        *_per_source(conditions, "apcer", "APCER of each generator under each condition"),
        *_per_source(conditions, "bpcer", "BPCER of each bona fide source under each condition"),
        Items([line for key, line in _extremes(found["worst"]) if found["worst"][key]["value"] is not None]),
    ]


def _per_source(conditions: dict[str, Any], key: str, title: str) -> list[Block]:
    tables = {name: entry[f"{key}_per_source"] for name, entry in conditions.items()}
    sources = list(tables[CLEAN])
    rows = [[source, *(show(each[source], interval=False) for each in tables.values())] for source in sources]
    return [Heading(title, 3), Table(["Source", *tables], rows)] if sources else []


def _extremes(worst: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a sentence per figure of `robustness.worst`."""
    where = {
        key: f"{show(value)}, {value.get('source', 'all')} under {value.get('condition')}"
        for key, value in worst.items()
    }
    return [
        ("apcer", f"Highest APCER of a species (generator and condition): {where['apcer']}."),
        ("bpcer", f"Highest BPCER of a source and condition: {where['bpcer']}."),
        ("auroc_loss", f"Most AUROC lost: {where['auroc_loss']}."),
        ("flipped", f"Most verdicts flipped: {where['flipped']}."),
    ]
