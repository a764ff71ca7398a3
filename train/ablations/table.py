"""Put the ablations' results into docs/training.md, between two markers; a test checks that they are current.

Usage: python train/ablations/table.py
"""

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from fauxface_train.conditions import select
from fauxface_train.pages import fill

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "training.md"


def tables(plan: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Return the section as Markdown, from the contents of plan.toml and results.json."""
    every = {(row["variant"], row["without"]): row for row in document["runs"]}
    short = {*plan["cameras"]["variants"], *plan["degradations"]["variants"]}
    found = {key: row for key, row in every.items() if key[0] not in short}
    groups = [g for g in plan["compare"]["left_out"] if any(key[1] == g for key in found)]
    lines = [
        "AUROC on test of the left-out source against everything of the other label; in brackets that of all "
        "test pictures, the left-out ones among them. Minutes and the type that was computed in are those of "
        "the row's runs, in order, some beside other work; machines stand in "
        "[results.json](../train/ablations/results.json). *Kept* says where the shipped model has a part.",
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
        columns = (label, f"{first['samples']:,}", *cells, minutes, types, _kept(variant))
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
    return "\n".join([*lines, *_cameras(plan, every), *_degradations(plan, every)])


def _kept(variant: Mapping[str, Any]) -> str:
    return variant.get("kept", "no")


_SHORT = (
    "AUROC of the left-out source against everything of the other label, and its BPCER or, of a generator, "
    "APCER at the run's own operating point"
)


def _cameras(plan: Mapping[str, Any], found: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """Return the table of the short runs: parts of the recipe with each bona fide source left out."""
    groups = plan["cameras"]["left_out"]
    generators = plan["cameras"]["generators"]
    rows = []
    for name in plan["cameras"]["variants"]:
        made = [found.get((name, group)) for group in groups]
        if not any(made):
            continue
        left_out = [_only(row) for row in made if row]
        mean = "-"
        if len(left_out) == len(groups):
            mean = f"{fmean(x['auroc'] for x in left_out):.4f}, {fmean(x['bpcer'] for x in left_out):.3f}"
        others = [found.get((name, group)) for group in generators]
        rows.append(
            _row(plan, name, [*map(_both, made), mean, *map(_both, others)], made, _minutes([*made, *others]))
        )
    if not rows:
        return []
    return [
        "",
        f"Parts of the recipe with each bona fide source left out in turn, in short runs: {_SHORT}; the "
        f"means over these sources; the same without {' and '.join(generators)}; then, over the runs without "
        "a bona fide source, mean AUROC and APCER of all test pictures, as they are and *degraded* "
        f"({select(plan['condition'])[0].words}); and the row's minutes of training.",
        "",
        f"| variant | pictures | {' | '.join((*groups, 'mean', *generators))} | {_WHOLE} |",
        "|---|---|" + "---|" * len((*groups, "mean", *generators)) + "---|---|---|---|",
        *rows,
    ]


def _degradations(plan: Mapping[str, Any], found: Mapping[tuple[str, str], Mapping[str, Any]]) -> list[str]:
    """Return the table of the short runs that lack one kind of degradation, after that which has all."""
    groups = plan["degradations"]["left_out"]
    rows = []
    for name in (plan["cameras"]["variants"][0], *plan["degradations"]["variants"]):
        made = [found.get((name, group)) for group in groups]
        if any(made):
            rows.append(_row(plan, name, map(_both, made), made, _minutes(made)))
    if len(rows) < 2:
        return []
    return [
        "",
        f"Single kinds of degradations taken out, in short runs: {_SHORT}; then the means of these runs "
        "over all test pictures, as above.",
        "",
        f"| variant | pictures | {' | '.join(groups)} | {_WHOLE} |",
        "|---|---|" + "---|" * len(groups) + "---|---|---|---|",
        *rows,
    ]


_WHOLE = "all of test | degraded | minutes | kept"


def _row(
    plan: Mapping[str, Any],
    name: str,
    cells: Iterable[str],
    made: Sequence[Mapping[str, Any] | None],
    minutes: str,
) -> str:
    """Return a row of a table of short runs: name, length, cells, means over the runs, minutes, kept."""
    runs = [row for row in made if row]
    whole = degraded = "-"
    if len(runs) == len(made):
        whole = _mean(runs)
        if all("degraded" in row for row in runs):
            degraded = _mean([row["degraded"] for row in runs])
    variant = plan["variants"][name]
    label = f"`{name}`: {variant['why']}"
    columns = (label, f"{runs[0]['samples']:,}", *cells, whole, degraded, minutes, _kept(variant))
    return f"| {' | '.join(columns)} |"


def _mean(rows: Sequence[Mapping[str, Any]]) -> str:
    return f"{fmean(row['auroc'] for row in rows):.4f}, {fmean(row['apcer'] for row in rows):.3f}"


def _minutes(rows: Sequence[Mapping[str, Any] | None]) -> str:
    return f"{sum(row['seconds'] for row in rows if row) / 60:.0f}"


def _only(row: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the figures of a group's one source on test; a second one would go unseen in its cell."""
    (found,) = row["left_out"].values()
    return found


def _both(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return "-"
    errors = [
        (found["auroc"], next(found[key] for key in ("bpcer", "apcer") if key in found))
        for found in row["left_out"].values()
    ]
    return "; ".join(f"{auroc:.4f}, {error:.3f}" for auroc, error in errors)


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
