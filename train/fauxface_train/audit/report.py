"""audit.md: the audit as tables for people, rendered from the content of audit.json."""

from collections.abc import Sequence
from typing import Any

from fauxface_train.pages import table

_PLOTS = {
    "groups.png": "AUROC of each nuisance at each stage",
    "sources_raw.png": "Each source against the other label: raw files",
    "sources_crop.png": "Each source against the other label: stored crops",
    "sources_input.png": "Each source against the other label: network input",
    "sources_view.png": "Each source against the other label: after the transform",
}
_READING = (
    'Each row is a small classifier that sees nothing but this: its AUROC for "generated" on pictures that '
    "it didn't see, with a 95 % interval (bootstrap, grouped by source). 0.5 is chance. *Stored crops* are "
    "the files that `prepare` wrote; *network input* is the same at 128 pixels, as evaluation and the "
    "runtime see it; *after the transform* is what training sees."
)
_UNSEEN = (
    "The same with folds made of whole sources. Where the figure above is high and this one is near 0.5 or "
    "below, the nuisance tells *sources* apart, one by one; where this one is high too, the labels as such "
    "differ in it."
)
_LIMITS = (
    "A figure near 0.5 means that this nuisance alone, as measured here, doesn't tell the labels apart; it "
    "doesn't prove that a network finds no other one. A high figure means that a shortcut is there to be "
    "learnt, not that a model learnt it. Sharpness and spectrum can hold real traces of generators too: look "
    "at which sources carry the figure."
)
_NOTABLE = 0.6
_MOST_SOURCES = 4


def render(document: dict[str, Any], plots: Sequence[str] = ()) -> str:
    """Return the whole report as Markdown.

    Args:
        document: The content of audit.json.
        plots: File names of the plots beside the report.
    """
    data, settings = document["data"], document["settings"]
    as_far = "" if _is_balanced(document) else ", as far as there are pictures"
    joined = "".join(f", and the train pictures of `{name}`" for name in data.get("added", ()))
    if data.get("excluded"):
        joined += f", without {', '.join(f'`{pattern}`' for pattern in data['excluded'])}"
    lines = [
        "# Data audit",
        "",
        f"- Data: `{data['name']}`, split {data['split']}{joined}: "
        f"{data['bona_fide']} bona fide and {data['generated']} generated pictures, "
        f"balanced over labels and sources{as_far}",
        f"- Originals: {originals(data['originals'])}",
        f"- Transform: preset {settings['transform']}; seed {settings['seed']}",
        f"- fauxface {document['fauxface']}, {document['created']}",
        "",
        *_gate(document),
        "## Which nuisance tells the labels apart",
        "",
        _READING,
        "",
        *table(
            ["Nuisance", *(stage["title"] for stage in document["stages"])],
            [
                [group["title"], *(_figure(group["stages"][s["name"]]) for s in document["stages"])]
                for group in document["groups"]
            ],
        ),
        *_reasons(document),
        "",
        *_change(document),
        *_across(document),
        *_sources(document),
        *_features(document),
        "## What this can't say",
        "",
        _LIMITS,
        "",
    ]
    if plots:
        lines += ["## Plots", ""]
        for name in plots:
            lines += [f"![{_PLOTS.get(name, name)}]({name})", ""]
    return "\n".join(lines).rstrip() + "\n"


def _is_balanced(document: dict[str, Any]) -> bool:
    """Tell whether both labels, and within each all sources, have as many pictures, give or take one."""
    counts: dict[str, dict[str, int]] = {}
    figures = (group["stages"][stage["name"]] for group in document["groups"] for stage in document["stages"])
    for row in (row for found in figures for row in found.get("sources", ())):
        known = counts.setdefault(row["label"], {})
        known[row["source"]] = max(row["samples"], known.get(row["source"], 0))
    data = document["data"]
    rows = [list(known.values()) for known in counts.values()] + [[data["bona_fide"], data["generated"]]]
    return all(max(row) - min(row) <= 1 for row in rows)


def show(found: dict[str, Any], interval: bool = True) -> str:
    """Return a figure as text: "0.713 (0.640-0.781)", or a dash where there is none."""
    if found["value"] is None:
        return "-"
    text = f"{found['value']:.3f}"
    return f"{text} ({found['low']:.3f}-{found['high']:.3f})" if interval and "low" in found else text


def _figure(found: dict[str, Any]) -> str:
    return "0.5, all alike" if found["value"] is not None and found["constant"] else show(found)


def originals(found: dict[str, Any]) -> str:
    """Return in words what became of the original files."""
    if not found["asked"]:
        return "not read, as asked; the raw column holds only what the manifest knows"
    text = f"{found['read']} read"
    if found["missing"]:
        text += f", {found['missing']} missing or unreadable"
    if found["changed"]:
        text += f", {found['changed']} changed since they were prepared"
    return text if found["read"] else f"{text}: only the crops were audited"


def _gate(document: dict[str, Any]) -> list[str]:
    gate = document["gate"]
    if gate is None:
        return []
    titles = {group["name"]: group["title"] for group in document["groups"]}
    rule = f"no AUROC after the transform above {gate['limit']:g}"
    failed = ", ".join(titles[name] for name in gate["failed"])
    skipped = ", ".join(titles[name] for name in gate["not_judged"])
    verdict = f"**Failed** ({rule}): {failed}." if failed else f"**Passed**: {rule}."
    return [verdict + (f" Not judged: {skipped}." if skipped else ""), ""]


def _reasons(document: dict[str, Any]) -> list[str]:
    """Name the figures that couldn't be computed."""
    missing: dict[str, dict[str, list[str]]] = {}
    for group in document["groups"]:
        for stage in document["stages"]:
            found = group["stages"][stage["name"]]
            if found["value"] is None:
                missing.setdefault(found["reason"], {}).setdefault(group["title"], []).append(stage["title"])
    lines = []
    for reason, groups in missing.items():
        whole = len(document["stages"])
        where = [
            title if len(stages) == whole else f"{title} ({', '.join(stages)})"
            for title, stages in groups.items()
        ]
        lines += ["", f"No figure ({reason}): {', '.join(where)}."]
    return lines


def _change(document: dict[str, Any]) -> list[str]:
    """Tell what prepare and the transform do to each nuisance."""
    rows = []
    for group in document["groups"]:
        values = [group["stages"][name]["value"] for name in ("raw", "input", "view")]
        if len(group["stages"]["view"].get("features", [])) == 0 or None in values:
            continue
        raw, prepared, view = values
        rows.append(
            [group["title"], f"{prepared - raw:+.3f}", f"{view - prepared:+.3f}", f"{view - raw:+.3f}"]
        )
    if not rows:
        return []
    header = ["Nuisance", "`prepare` and 128 pixels", "the transform", "both"]
    note = "Change of AUROC; a negative figure is a shortcut made smaller."
    return ["## What is done about it", "", note, "", *table(header, rows), ""]


def _across(document: dict[str, Any]) -> list[str]:
    rows = []
    for group in document["groups"]:
        cells = []
        for stage in document["stages"]:
            across = group["stages"][stage["name"]].get("across_sources", {"value": None})
            cells.append("-" if across["value"] is None else f"{across['value']:.3f}")
        if set(cells) != {"-"}:
            rows.append([group["title"], *cells])
    if not rows:
        return []
    return [
        "## On sources that the classifier never saw",
        "",
        _UNSEEN,
        "",
        *table(["Nuisance", *(stage["title"] for stage in document["stages"])], rows),
        "",
    ]


def _sources(document: dict[str, Any]) -> list[str]:
    """Say which sources carry the figures that matter."""
    rows = []
    for group in document["groups"]:
        for stage in document["stages"]:
            found = group["stages"][stage["name"]]
            if found["value"] is None or found["value"] <= _NOTABLE:
                continue
            told = sorted(found["sources"], key=lambda row: -row["auroc"])[:_MOST_SOURCES]
            rows.append(
                [
                    group["title"],
                    stage["title"],
                    f"{found['value']:.3f}",
                    _carried(found),
                    ", ".join(f"{row['source']} {row['auroc']:.3f}" for row in told),
                ]
            )
    head = [f"## Which sources carry it (figures above {_NOTABLE:g})", ""]
    if not rows:
        return [*head, "None.", ""]
    note = (
        "*Carried by* is the source without which the figure falls most, and what is left of it; then the "
        "sources that the classifier tells best from all pictures of the other label, with that AUROC."
    )
    header = ["Nuisance", "Stage", "AUROC", "Carried by", "Told best"]
    return [*head, note, "", *table(header, rows), ""]


def _carried(found: dict[str, Any]) -> str:
    name = found["carried_by"]
    if name is None:
        return "no single one"
    left = min(
        row["without"] for row in found["sources"] if row["source"] == name and row["without"] is not None
    )
    return f"{name} ({left:.3f} without it)"


def _features(document: dict[str, Any]) -> list[str]:
    """List the single features with both labels' medians at both ends of the way."""
    rows = []
    for group in document["groups"]:
        for stage in ("raw", "view"):
            for feature in group["stages"][stage].get("features", []):
                if group["stages"][stage]["constant"]:
                    continue
                rows.append(
                    [
                        f"{group['title']}: {feature['name']}",
                        next(s["title"] for s in document["stages"] if s["name"] == stage),
                        f"{feature['median_bona_fide']:.4g}",
                        f"{feature['median_generated']:.4g}",
                        f"{feature['auroc']:.3f}",
                    ]
                )
    header = ["Feature", "Stage", "Median bona fide", "Median generated", "AUROC of the feature"]
    note = "Above 0.5: larger values mean generated; below: smaller ones do."
    return ["## Single features", "", note, "", *table(header, rows), ""]
