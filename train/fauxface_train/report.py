"""report.md: the evaluation as tables for people, rendered from the content of metrics.json."""

from collections.abc import Iterable, Sequence
from typing import Any

from fauxface.verdicts import BONA_FIDE, GENERATED, UNSURE
from fauxface_train.intervals import FPR_TARGETS

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

_PLOTS = {
    "roc_det.png": "ROC and DET curves",
    "reliability.png": "Reliability",
    "confusion.png": "Verdicts",
    "errors_per_source.png": "APCER and BPCER per source",
    "scores_per_source.png": "Scores per source",
    "pairs.png": "AUROC per pair of sources",
    "predictions.png": "A random choice of predictions",
    "mistakes.png": "Worst mistakes",
}


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


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table; pipes in cells are escaped."""
    lines = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines]


def render(document: dict[str, Any], plots: Sequence[str] = ()) -> str:
    """Return the whole report as Markdown.

    Args:
        document: The content of metrics.json.
        plots: File names of the plots beside the report.
    """
    model, data, point = document["model"], document["data"], document["operating_point"]
    overall = document["overall"]
    lines = [
        "# Evaluation",
        "",
        f"- Model: {model['kind']} `{model['identity']}` on {model['provider']}",
        f"- Data: `{data['name']}`, split {data['split']}: {overall['bona_fide']} bona fide, "
        f"{overall['generated']} generated",
        f"- Operating point: bona fide below {point['bona_fide_below']:.6g}, generated from "
        f"{point['generated_from']:.6g}; temperature {point['temperature']:.4g}, bias {point['bias']:.4g}",
        f"- Rule: {point['rule'] or 'not recorded'}",
        f"- fauxface {document['fauxface']}, {document['created']}",
        "",
        "APCER counts generated faces that weren't called generated, so an unsure one counts as an error; "
        "BPCER counts bona fide faces that were called generated. Intervals in brackets are 95 %: "
        "Clopper-Pearson for rates, a bootstrap grouped by source for the rest.",
        "",
        "## Overall",
        "",
        *table(["Figure", "Value"], [[name, show(overall[key])] for name, key in _OVERALL]),
        *_reasons(overall),
        "",
        *_verdicts(document),
        *_sources(document, BONA_FIDE, "Bona fide sources", "all generated samples"),
        *_sources(document, GENERATED, "Generators", "all bona fide samples"),
        *_pairs(document["pairs"]),
        *_demographics(document["demographics"]),
    ]
    if plots:
        lines += ["## Plots", ""]
        for name in plots:
            lines += [f"![{_PLOTS.get(name, name)}]({name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def _reasons(overall: dict[str, Any]) -> list[str]:
    """Name the figures that couldn't be computed."""
    missing: dict[str, list[str]] = {}
    for name, key in _OVERALL:
        if overall[key]["value"] is None:
            missing.setdefault(overall[key]["reason"], []).append(name)
    return [
        line
        for reason, names in missing.items()
        for line in ("", f"Not computed ({reason}): {', '.join(names)}.")
    ]


def _verdicts(document: dict[str, Any]) -> list[str]:
    rows = []
    for label, name in ((BONA_FIDE, "Bona fide"), (GENERATED, "Generated")):
        counts, figures = document["overall"]["confusion"][label], document["labels"][label]
        cells = [
            f"{counts[column]} ({show(figures[f'called_{column}'], interval=False)})"
            for column in (BONA_FIDE, UNSURE, GENERATED)
        ]
        rows.append([name, *cells, show(figures["brier"]), show(figures["nll"])])
    header = ["Truth", "called bona fide", "unsure", "called generated", "Brier", "NLL"]
    return ["## Verdicts per label", "", *table(header, rows), ""]


def _sources(document: dict[str, Any], label: str, title: str, against: str) -> list[str]:
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
        ]
        for s in chosen
    ]
    header = ["Source", "n", name, "unsure", f"AUROC against {against}", "EER", "TPR at 1 % FPR", "Brier"]
    worst = document["worst"][key]
    line = f"Highest {name}: {show(worst)} on {worst['source']} ({worst['count']} of {worst['total']})."
    return [f"## {title}", "", *table(header, rows), "", line, ""]


def _pairs(pairs: dict[str, Any]) -> list[str]:
    if pairs["auroc"] is None:
        return ["## Matched pairs", "", f"Not computed: {pairs['reason']}.", ""]
    worst = pairs["worst"]
    rows = [
        [name, *(show(cell, interval=False) for cell in cells)]
        for name, cells in zip(pairs["real_sources"], pairs["auroc"], strict=True)
    ]
    return [
        "## Matched pairs",
        "",
        "AUROC of each bona fide source (row) against each generator (column): a style that tells sources "
        "apart can't hide in it as it can in the pooled figure.",
        "",
        *table(["", *pairs["fake_sources"]], rows),
        "",
        f"Worst pair: {show(worst)}, {worst['real']} against {worst['fake']}.",
        "",
    ]


def _demographics(cells: Sequence[dict[str, Any]]) -> list[str]:
    if not cells:
        return []
    rows = [
        [", ".join(cell["by"]), ", ".join(cell["cell"]), str(cell["bpcer"]["total"]), show(cell["bpcer"])]
        for cell in cells
    ]
    note = "Bona fide samples whose file names tell age, gender and race (as labelled by their data set)."
    return ["## BPCER per demographic cell", "", note, "", *table(["By", "Cell", "n", "BPCER"], rows), ""]
