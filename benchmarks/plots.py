"""The benchmarks' pictures. Nothing here touches pyplot, so drawing leaves no global state behind."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fauxface.files import atomic_write

OURS, THEIRS, ROOF = "#D55E00", "#7F7F7F", "#0072B2"
_DPI = 110
_GRID = {"color": "#DDDDDD", "linewidth": 0.7}


def bars(document: dict[str, Any], path: Path, label: str, *, rate: bool = False) -> None:
    """Draw a panel per case with a bar per configuration; whiskers span the rounds' 10th to 90th percentile.

    Args:
        document: A result file's content.
        path: The PNG.
        label: What the axis says.
        rate: Draw units per second in place of milliseconds per unit.
    """
    cases = list(dict.fromkeys(row["case"] for row in document["rows"]))
    most = max(sum(row["case"] == case for row in document["rows"]) for case in cases)
    figure = Figure(figsize=(8, 1.0 + len(cases) * (0.34 * most + 0.7)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, case in enumerate(cases):
        axes = figure.add_subplot(len(cases), 1, number + 1)
        rows = [row for row in document["rows"] if row["case"] == case]
        _panel(axes, rows, case, rate)
        if number == len(cases) - 1:
            axes.set_xlabel(label)
    figure.suptitle(_machine(document), fontsize=9)
    save(figure, path)


def _panel(axes: Axes, rows: list[dict[str, Any]], case: str, rate: bool) -> None:
    for place, row in enumerate(reversed(rows)):
        seconds = np.array(row["rounds"])
        values = 1 / seconds if rate else 1000 * seconds
        low, middle, high = np.percentile(values, [10, 50, 90])
        mine = row["configuration"].startswith("fauxface")
        axes.barh(
            place, middle, color=OURS if mine else THEIRS, hatch="//" if mine else "", edgecolor="white"
        )
        axes.hlines(place, low, high, color="black", linewidth=1.2)
        axes.annotate(f" {middle:.3g}", (max(high, middle), place), va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [row["configuration"] for row in reversed(rows)], fontsize=8)
    axes.set_title(case, fontsize=9, loc="left")
    axes.set_axisbelow(True)
    axes.grid(True, axis="x", **_GRID)
    axes.margins(x=0.12)


def roofline(document: dict[str, Any], path: Path) -> None:
    """Draw the roofs that this machine reached in the run, and where the classifier lies below them.

    Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore
    architectures", Communications of the ACM, 2009.

    Args:
        document: Content of roofline.json.
        path: The PNG.
    """
    roofs, points = document["roofs"], document["points"]
    figure = Figure(figsize=(8, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    intensity = np.logspace(-1, 4, 200)
    slope = roofs["bytes_per_s"] * intensity / 1e9
    styles = {"int8": "-", "fp32": "--"}
    for name, style in styles.items():
        top = roofs["ops_per_s"][name] / 1e9
        axes.plot(
            intensity,
            np.minimum(slope, top),
            style,
            color=ROOF,
            label=f"roof {name}: dense product, {top:.0f} GOP/s",
        )
    markers = {"int8": "o", "fp32": "s"}
    for point in points:
        place = (point["ops_per_byte"], point["ops_per_s"] / 1e9)
        axes.plot(*place, markers[point["precision"]], color=OURS)
        text = f"{point['precision']} {point['case']}: {point['share']:.0%}"
        axes.annotate(text, place, xytext=(6, -10), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("operations per byte that the convolutions move at least")
    axes.set_ylabel("GOP/s (a multiply-add is two)")
    axes.grid(True, which="both", **_GRID)
    axes.legend(loc="lower right", fontsize=8)
    figure.suptitle(_machine(document), fontsize=9)
    save(figure, path)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically, without the date, so that the same numbers give the same bytes."""
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": ""})


def _machine(document: dict[str, Any]) -> str:
    machine = document["machine"]
    trial = ", trial run on a busy machine" if document["trial"] else ""
    return f"{document['benchmark']}: {machine['cores']} cores of {machine['cpu']}{trial}"
