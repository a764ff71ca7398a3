"""Put the ablations' results into docs/training.md, between two markers; a test checks that they are current.

Usage: python train/ablations/table.py
"""

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from fauxface_train.pages import fill

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "training.md"


def tables(plan: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the section as Markdown, from the contents of plan.toml and results.json."""
    every = {(row["variant"], row["without"]): row for row in document["runs"]}
    short = plan["cameras"]["variants"]
    found = {key: row for key, row in every.items() if key[0] not in short}
    groups = [g for g in plan["compare"]["left_out"] if any(key[1] == g for key in found)]
    lines = [
        "AUROC on test of the left-out source against everything of the other label; in brackets that of all "
        "test pictures, the left-out ones among them. Minutes and the type that was computed in are those of "
        "the row's runs, in order, some beside other work; machines stand in "
        "[results.json](../train/ablations/results.json).",
        "",
        "| variant | pictures | "
        + " | ".join(f"without {group}" for group in groups)
        + " | minutes | computed in | kept |",
        "|---|---|" + "---|" * len(groups) + "---|---|---|",
    ]
    for name, variant in plan["variants"].items():
        rows = [found.get((name, group)) for group in groups]
        first = next((row for row in rows if row), None)
        if first is None:
            continue
        label = f"`{name}`" + (f": {variant['why']}" if "why" in variant else "")
        cells = [_cell(row) for row in rows]
        made = [row for row in rows if row]
        minutes = ", ".join(f"{row['seconds'] / 60:.0f}" for row in made)
        types = ", ".join(dict.fromkeys(row["precision"] for row in made))
        kept = "yes" if name == "robust" else "no"
        columns = (label, f"{first['samples']:,}", *cells, minutes, types, kept)
        lines.append(f"| {' | '.join(columns)} |")
    rest = [row for (_, group), row in found.items() if group not in plan["compare"]["left_out"]]
    if rest:
        lines += [
            "",
            "With a generator left out, with one source of a generator that others show too (in brackets), "
            "and with each bona fide source; APCER and BPCER at the run's own operating point:",
            "",
            "| left out | variant | pictures | minutes | source on test | AUROC | APCER | BPCER |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for row in sorted(rest, key=lambda row: (row["without"], row["variant"])):
            for source, values in row["left_out"].items():
                minutes = f"{row['seconds'] / 60:.0f}"
                cells = (row["without"], f"`{row['variant']}`", f"{row['samples']:,}", minutes, source)
                figures = (f"{values[k]:.4f}" if k in values else "" for k in ("auroc", "apcer", "bpcer"))
                lines.append(f"| {' | '.join((*cells, *figures))} |")
    return "\n".join([*lines, *_cameras(plan, every)])


def _only(figures: Mapping[str, Any]) -> Any:
    """Return the figures of a group's one source on test; a second one would go unseen in its cell."""
    (found,) = figures.values()
    return found


def _cameras(plan: Mapping[str, Any], found: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """Return the table of the short runs: each part of the recipe with each bona fide source left out."""
    groups = plan["cameras"]["left_out"]
    rows = []
    for name in plan["cameras"]["variants"]:
        made = [found[name, group] for group in groups if (name, group) in found]
        if not made:
            continue
        left_out = [_only(row["left_out"]) for row in made]
        shown = dict(zip((row["without"] for row in made), left_out, strict=True))
        cells = [
            f"{shown[group]['auroc']:.4f}, {shown[group]['bpcer']:.3f}" if group in shown else "-"
            for group in groups
        ]
        if len(made) == len(groups):
            whole = f"{fmean(x['auroc'] for x in left_out):.4f}, {fmean(x['bpcer'] for x in left_out):.3f}"
            test = f"{fmean(row['auroc'] for row in made):.4f}, {fmean(row['apcer'] for row in made):.3f}"
        else:
            whole = test = "-"
        minutes = f"{sum(row['seconds'] for row in made) / 60:.0f}"
        label = f"`{name}`: {plan['variants'][name]['why']}"
        columns = (label, f"{made[0]['samples']:,}", *cells, whole, test, minutes)
        rows.append(f"| {' | '.join(columns)} |")
    if not rows:
        return []
    return [
        "",
        "Each part of the recipe with each bona fide source left out in turn, in short runs: AUROC of the "
        "left-out source against all generated test pictures, and its BPCER at the run's own operating "
        "point; then the means over these sources, the mean AUROC of all test pictures and APCER, and the "
        "row's minutes of training.",
        "",
        f"| variant | pictures | {' | '.join(groups)} | mean | all of test | minutes |",
        "|---|---|" + "---|" * len(groups) + "---|---|---|",
        *rows,
    ]


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    figures = ", ".join(f"{values['auroc']:.4f}" for values in row["left_out"].values())
    return f"{figures} ({row['auroc']:.4f})"


def current() -> str:
    """Return the section for the committed plan and results."""
    plan = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    return tables(plan, json.loads((HERE / "results.json").read_text(encoding="utf-8")))


if __name__ == "__main__":
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), "ablations", current()), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
