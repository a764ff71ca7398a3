"""The plots of an audit: bars with intervals per stage, and a heat map of the sources for each stage."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from fauxface_train.figures import write

_DPI = 110
_PLATE = {"facecolor": "white", "edgecolor": "none", "pad": 0.4}
_STYLES = {
    "raw": ("#7F7F7F", ""),
    "crop": ("#56B4E9", "//"),
    "input": ("#0072B2", ".."),
    "view": ("#D55E00", ""),
}


def write_all(folder: Path, document: dict[str, Any]) -> list[Path]:
    """Draw groups.png, and sources_STAGE.png for each stage with figures.

    Args:
        folder: Where to write.
        document: The content of audit.json.

    Returns:
        The written files. They show no picture of the data.

    Raises:
        OutputError: A file can't be written.
    """
    figures: dict[str, Callable[[], Figure]] = {"groups.png": lambda: groups(document)}
    for stage in document["stages"]:
        name = stage["name"]
        if any(_varies(group["stages"][name]) for group in document["groups"]):
            figures[f"sources_{name}.png"] = partial(sources, document, name)
    return write(folder, figures, _DPI, earlier=[f"sources_{name}.png" for name in _STYLES])


def groups(document: dict[str, Any]) -> Figure:
    """Draw each group's AUROC with its interval, one bar per stage, and the limit where one was given."""
    shown = [g for g in document["groups"] if any(f["value"] is not None for f in g["stages"].values())]
    stages = document["stages"]
    figure = Figure(figsize=(9.5, 1.9 + 0.72 * len(shown)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(stages)
    for place, stage in enumerate(stages):
        color, hatch = _STYLES[stage["name"]]
        for row, group in enumerate(shown):
            found = group["stages"][stage["name"]]
            y = row - 0.4 + (place + 0.5) * height
            if found["value"] is None:
                axes.text(0.503, y, "no figure", va="center", fontsize=6.5, color="#666666")
                continue
            value = found["value"]
            axes.barh(
                y, value - 0.5, height * 0.92, left=0.5, color=color, hatch=hatch, edgecolor="white", lw=0.4
            )
            if "low" in found:
                axes.plot([found["low"], found["high"]], [y, y], "-", color="black", lw=1)
            text = "all alike" if found["constant"] else f"{value:.2f}"
            axes.text(
                max(found.get("high", value), 0.5) + 0.006, y, text, va="center", fontsize=6.5, bbox=_PLATE
            )
        axes.barh([0], [0], color=color, hatch=hatch, edgecolor="white", label=stage["title"])
    axes.axvline(0.5, color="black", lw=1)
    if document["gate"] is not None:
        limit = document["gate"]["limit"]
        axes.axvline(
            limit, color="black", ls="--", lw=1, label=f"limit {limit:g} (holds after the transform)"
        )
    lowest = min(
        (f.get("low", f["value"]) for g in shown for f in g["stages"].values() if f["value"] is not None),
        default=0.5,
    )
    axes.set(xlim=(min(0.4, lowest - 0.02), 1.06), ylim=(len(shown) - 0.45, -0.55))
    axes.set_yticks(range(len(shown)), [group["title"] for group in shown])
    axes.set(
        xlabel='AUROC for "generated" of a classifier that sees nothing else (0.5: chance; lines: 95 %)',
        title=f"What tells the labels apart in {document['data']['name']}",
    )
    axes.grid(axis="x", color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", frameon=False, ncols=3, fontsize=9)
    return figure


def sources(document: dict[str, Any], stage: str) -> Figure:
    """Draw how well each group tells each source from the other label at one stage, as a heat map."""
    shown = [group for group in document["groups"] if _varies(group["stages"][stage])]
    keys = sorted({(row["label"], row["source"]) for g in shown for row in g["stages"][stage]["sources"]})
    values = np.full((len(keys), len(shown)), np.nan)
    for column, group in enumerate(shown):
        for row in group["stages"][stage]["sources"]:
            values[keys.index((row["label"], row["source"])), column] = row["auroc"]
    figure = Figure(figsize=(3.6 + 0.85 * len(shown), 2.4 + 0.29 * len(keys)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(values, cmap="PuOr_r", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=8,
                color="white" if abs(value - 0.5) > 0.36 else "black",
            )
    real = sum(label == "bona_fide" for label, _ in keys)
    axes.axhline(real - 0.5, color="black", lw=1.5)
    names = {"bona_fide": "bona fide", "generated": "generated"}
    axes.set_yticks(range(len(keys)), [f"{source} ({names[label]})" for label, source in keys])
    axes.set_xticks(
        range(len(shown)), [g["title"] for g in shown], rotation=40, ha="right", rotation_mode="anchor"
    )
    title = next(s["title"] for s in document["stages"] if s["name"] == stage)
    axes.set_title(f"AUROC of each source against the other label: {title}", fontsize=10)
    figure.colorbar(
        image,
        ax=axes,
        label="AUROC (1: always told; 0.5: chance; below: taken for the other label)",
        shrink=0.7,
    )
    return figure


def _varies(found: dict[str, Any]) -> bool:
    return found["value"] is not None and not found["constant"]
