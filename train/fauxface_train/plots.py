"""The plots of an evaluation. Colours are Okabe and Ito's, and every plot also tells by place, line or word.

Nothing here touches pyplot, so drawing leaves no global state behind.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter
from scipy.stats import norm
from sklearn.metrics import det_curve, roc_curve

from fauxface.verdicts import BONA_FIDE, GENERATED, LABELS, UNSURE, Thresholds
from fauxface_train.dataset import Sample, load_crop
from fauxface_train.figures import write
from fauxface_train.metrics import FAKE, REAL, Scored

COLORS = {BONA_FIDE: "#0072B2", UNSURE: "#7F7F7F", GENERATED: "#D55E00"}
WORDS = {BONA_FIDE: "bona fide", UNSURE: "unsure", GENERATED: "generated"}

_SOMETIMES = frozenset({"roc_det.png", "reliability.png", "pairs.png", "robustness.png"})
_DPI = 110
_GRID = {"color": "#DDDDDD", "linewidth": 0.7}
_DET_EDGES = (0.0005, 0.95)
_DET_TICKS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9)


def write_all(
    folder: Path, scored: Scored, document: dict[str, Any], samples: Sequence[Sample]
) -> list[Path]:
    """Draw every plot that the samples allow.

    Args:
        folder: Where to write.
        scored: The scored samples.
        document: The content of metrics.json.
        samples: The same samples in the same order, for the grids of pictures.

    Returns:
        The written files. predictions.png and mistakes.png show the user's pictures.

    Raises:
        OutputError: A file can't be written.
        DataError: A stored crop can't be read.
    """
    point = document["operating_point"]
    thresholds = Thresholds(point["bona_fide_below"], point["generated_from"])
    both = len(np.unique(scored.labels)) == 2
    figures: dict[str, Callable[[], Figure]] = {
        "confusion.png": lambda: confusion(document["overall"]["confusion"]),
        "errors_per_source.png": lambda: errors_per_source(document["sources"]),
        "scores_per_source.png": lambda: scores_per_source(scored, thresholds),
        "risk_coverage.png": lambda: risk_coverage(document["risk_coverage"]),
        "predictions.png": lambda: predictions(scored, samples, thresholds),
        "mistakes.png": lambda: mistakes(scored, samples, thresholds),
    }
    if both:
        figures = {
            "roc_det.png": lambda: roc_det(scored, document),
            "reliability.png": lambda: reliability(
                document["reliability"], document["overall"]["ece"]["value"]
            ),
            "pairs.png": lambda: pairs(document["pairs"], document["sources"]),
        } | figures
    if len(document["robustness"]["conditions"]) > 1:
        figures = {"robustness.png": lambda: robustness(document["robustness"]["conditions"])} | figures
    return write(folder, figures, _DPI, earlier=_SOMETIMES)


def roc_det(scored: Scored, document: dict[str, Any]) -> Figure:
    """Draw the ROC and DET curves of all samples and of the worst fake source, with the operating point."""
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    curves = [("all", scored.labels >= 0, "#000000", "-")]
    sources = [s for s in document["sources"] if s["label"] == GENERATED]
    if len(sources) > 1:
        worst = min(sources, key=lambda s: s["auroc"]["value"])["source"]
        mask = (scored.labels == REAL) | (scored.sources == worst)
        curves.append((f"{worst} against all bona fide", mask, COLORS[GENERATED], "--"))
    for name, mask, color, style in curves:
        labels, p = scored.labels[mask], scored.p[mask]
        fpr, tpr, _ = roc_curve(labels, p)
        area = np.trapezoid(tpr, fpr)
        left.plot(fpr, tpr, style, color=color, label=f"{name}, AUROC {area:.4f}", linewidth=1.8)
        false_alarm, miss, _ = det_curve(labels, p)
        right.plot(_deviate(false_alarm), _deviate(miss), style, color=color, label=name, linewidth=1.8)
    overall = document["overall"]
    bpcer, apcer = overall["bpcer"]["value"], overall["apcer"]["value"]
    left.plot([0, 1], [0, 1], ":", color="#999999", label="chance")
    left.plot(bpcer, 1 - apcer, "D", color=COLORS[BONA_FIDE], markersize=8, label="operating point, all")
    right.plot(
        *_deviate(np.clip([bpcer, apcer], *_DET_EDGES)),
        "D",
        color=COLORS[BONA_FIDE],
        markersize=8,
        clip_on=False,
    )
    left.set(xlabel="BPCER (false positive rate)", ylabel="1 - APCER (true positive rate)", title="ROC")
    left.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    left.legend(loc="lower right", frameon=False)
    ticks = _deviate(np.array(_DET_TICKS))
    right.legend(loc="lower left", frameon=False)
    right.set(xlabel="BPCER", ylabel="APCER", title="DET (normal deviate axes)")
    right.set_xticks(ticks, [f"{t:g}" for t in _DET_TICKS], rotation=45)
    right.set_yticks(ticks, [f"{t:g}" for t in _DET_TICKS])
    edge = _deviate(np.array(_DET_EDGES))
    right.set(xlim=edge, ylim=edge)
    for axes in (left, right):
        _tidy(axes, "both")
    return figure


def reliability(table: Sequence[dict[str, float]], ece: float) -> Figure:
    """Draw the share of generated samples over the predicted probability, and the samples per bin."""
    figure = Figure(figsize=(6.4, 6.6), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    mean_p = [row["mean_p"] for row in table]
    share = [row["generated"] for row in table]
    counts = [row["count"] for row in table]
    top.plot([0, 1], [0, 1], ":", color="#666666", label="perfect")
    top.plot(mean_p, share, "o-", color=COLORS[BONA_FIDE], label=f"measured, ECE {ece:.4f}")
    top.set(ylabel="share that is generated", title="Reliability", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    top.legend(loc="upper left", frameon=False)
    bottom.bar(
        [row["low"] for row in table],
        counts,
        width=[0.96 * (row["high"] - row["low"]) for row in table],
        align="edge",
        color="#999999",
    )
    bottom.set(xlabel='predicted probability of "generated"', ylabel="samples", yscale="log")
    _plain_counts(bottom)
    bottom.set_ylim(0.7, max(counts) * 2)
    for axes in (top, bottom):
        _tidy(axes, "both")
    return figure


def risk_coverage(found: dict[str, Any]) -> Figure:
    """Draw the share of wrong verdicts over the share of samples that get one, with the shipped band."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    coverage = [point["coverage"] for point in found["curve"]]
    risk = [point["risk"] for point in found["curve"]]
    label = f"verdict p >= 0.5, AURC {found['aurc']['value']:.4f}"
    axes.plot(coverage, risk, "-", color=COLORS[BONA_FIDE], linewidth=1.8, label=label)
    kept, wrong = found["coverage"]["value"], found["risk"]
    if wrong["value"] is not None:
        axes.plot([kept, kept], [wrong["low"], wrong["high"]], "-", color=COLORS[GENERATED], linewidth=2)
        shipped = f"shipped band, risk {wrong['value']:.4f} at coverage {kept:.4f}"
        axes.plot(kept, wrong["value"], "D", color=COLORS[GENERATED], markersize=8, label=shipped)
    axes.set(
        xlabel="coverage (share of verdicts that aren't unsure)",
        ylabel="risk (share of these that are wrong)",
    )
    axes.set(title="Risk and coverage", xlim=(0, 1.02), ylim=(0, None))
    axes.legend(loc="upper left", frameon=False)
    _tidy(axes, "both")
    return figure


def robustness(conditions: dict[str, dict[str, Any]]) -> Figure:
    """Draw AUROC per condition with its interval, and the error of every source under every condition."""
    names = list(conditions)
    tables = [
        (key, title, list(conditions[names[0]][f"{key}_per_source"]))
        for key, title in (("apcer", "APCER of each generator"), ("bpcer", "BPCER of each bona fide source"))
    ]
    tables = [table for table in tables if table[2]]
    sizes = [2.2, *(0.8 + 0.32 * len(sources) for _, _, sources in tables)]
    figure = Figure(figsize=(3.2 + 0.72 * len(names), 1.6 + sum(sizes)), layout="constrained")
    top, *panels = figure.subplots(len(sizes), 1, height_ratios=sizes, sharex=True)
    areas = [conditions[name]["auroc"] for name in names]
    if areas[0]["value"] is not None:
        for column, area in enumerate(areas):
            ends = [area.get(end, area["value"]) for end in ("low", "high")]
            top.plot([column, column], ends, "-", color=COLORS[BONA_FIDE], linewidth=2)
            top.plot(column, area["value"], "o", color=COLORS[BONA_FIDE], markersize=6)
        top.axhline(areas[0]["value"], color="#666666", linestyle=":", linewidth=1)
    top.set(ylabel="AUROC", title="Robustness (dotted: clean)")
    _tidy(top, "y")
    for axes, (key, title, sources) in zip(panels, tables, strict=True):
        values = np.array(
            [[conditions[name][f"{key}_per_source"][source]["value"] for name in names] for source in sources]
        )
        high = max(0.05, float(values.max()))
        axes.imshow(values, cmap="cividis", vmin=0, vmax=high, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            color = "black" if value > 0.55 * high else "white"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=color)
        axes.set_yticks(range(len(sources)), sources)
        axes.set_title(title, fontsize=10)
    [top, *panels][-1].set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    return figure


def confusion(counts: dict[str, dict[str, int]]) -> Figure:
    """Draw how many samples of each label were called bona fide, unsure and generated."""
    columns = (BONA_FIDE, UNSURE, GENERATED)
    table = np.array([[counts[label][column] for column in columns] for label in LABELS], float)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(table):
        dark = share[row, column] > 0.55
        axes.text(
            column,
            row,
            f"{value:.0f}\n{share[row, column]:.1%}",
            ha="center",
            va="center",
            color="white" if dark else "black",
        )
    axes.set_xticks(range(3), [WORDS[column] for column in columns])
    axes.set_yticks(range(2), [WORDS[label] for label in LABELS])
    axes.set(xlabel="called", ylabel="truth", title="Verdicts at the operating point")
    return figure


def errors_per_source(sources: Sequence[dict[str, Any]]) -> Figure:
    """Draw APCER of every fake source and BPCER of every real source with their intervals."""
    groups = [(BONA_FIDE, "bpcer", "BPCER per bona fide source"), (GENERATED, "apcer", "APCER per generator")]
    sizes = [max(1, sum(s["label"] == label for s in sources)) for label, _, _ in groups]
    figure = Figure(figsize=(8.4, 1.7 + 0.34 * sum(sizes)), layout="constrained")
    panels = figure.subplots(2, 1, height_ratios=sizes)
    for axes, (label, key, title) in zip(panels, groups, strict=True):
        chosen = sorted((s for s in sources if s["label"] == label), key=lambda s: s[key]["value"])
        for row, source in enumerate(chosen):
            value = source[key]
            axes.plot([value["low"], value["high"]], [row, row], "-", color=COLORS[label], linewidth=2)
            axes.plot(
                value["value"], row, "o" if label == BONA_FIDE else "s", color=COLORS[label], markersize=6
            )
        axes.set_yticks(
            range(len(chosen)), [f"{s['source']} ({s[key]['count']}/{s[key]['total']})" for s in chosen]
        )
        axes.set(title=title, xlim=(-0.005, None), ylim=(-0.6, max(len(chosen), 1) - 0.4))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        _tidy(axes, "x")
    return figure


def scores_per_source(scored: Scored, thresholds: Thresholds) -> Figure:
    """Draw a histogram of probabilities per source, with the thresholds as lines; counts are logarithmic."""
    rows = [(label, name) for label in (REAL, FAKE) for name in scored.names(label)]
    figure = Figure(figsize=(8.4, 1.2 + 0.55 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    edges = np.linspace(0, 1, 41)
    for axes, (label, name) in zip(panels, rows, strict=True):
        values = scored.of(label, name).p
        axes.hist(values, bins=edges, color=COLORS[LABELS[label]], log=True)
        _plain_counts(axes)
        axes.axvline(thresholds.bona_fide_below, color="black", linestyle="--", linewidth=1)
        axes.axvline(thresholds.generated_from, color="black", linestyle="-", linewidth=1)
        axes.set_ylabel(
            f"{name} ({WORDS[LABELS[label]]}, {len(values)})", rotation=0, ha="right", va="center", fontsize=8
        )
        axes.set(ylim=(0.6, max(2.0, len(values) * 1.3)), yticks=[], xlim=(0, 1))
        axes.minorticks_off()
        axes.spines[["top", "right", "left"]].set_visible(False)
    figure.suptitle("Scores per source (dashed: bona fide below; solid: generated from)", fontsize=11)
    panels[-1].set_xlabel('probability of "generated" (heights are logarithms of counts)')
    return figure


def pairs(table: dict[str, Any], sources: Sequence[dict[str, Any]] = ()) -> Figure:
    """Draw the AUROC of every real source against every fake source as a heat map, the sharpest first.

    Args:
        table: `pairs` of metrics.json.
        sources: `sources` of metrics.json; without their sharpness the table's order stays.
    """
    sharp = {(s["label"], s["source"]): -s["sharpness"]["value"] for s in sources if "sharpness" in s}
    reals, fakes = (
        sorted(table[f"{side}_sources"], key=lambda name: sharp.get((label, name), 0))
        for side, label in zip(("real", "fake"), LABELS, strict=True)
    )
    row_of, column_of = table["real_sources"].index, table["fake_sources"].index
    values = np.array([[table["auroc"][row_of(r)][column_of(f)]["value"] for f in fakes] for r in reals])
    rows, columns = values.shape
    figure = Figure(figsize=(3.4 + 0.85 * columns, 2.6 + 0.42 * rows), layout="constrained")
    axes = figure.subplots()
    low = min(0.8, float(np.floor(values.min() * 10) / 10))
    image = axes.imshow(values, cmap="cividis", vmin=low, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        bright = value > low + 0.55 * (1 - low)
        axes.text(
            column,
            row,
            f"{value:.3f}",
            ha="center",
            va="center",
            fontsize=9,
            color="black" if bright else "white",
        )
    axes.set_xticks(range(columns), fakes, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(rows), reals)
    worst = table["worst"]
    axes.set_title(
        f"AUROC per pair; worst {worst['value']:.3f}: {worst['real']} against {worst['fake']}", fontsize=10
    )
    order = ", sharpest first" if sharp else ""
    axes.set(xlabel=f"generated{order}", ylabel=f"bona fide{order}")
    figure.colorbar(image, ax=axes, label="AUROC")
    return figure


def predictions(
    scored: Scored, samples: Sequence[Sample], thresholds: Thresholds, count: int = 40, seed: int = 0
) -> Figure:
    """Draw a random choice of samples, as many of each label as there are, with verdict and probability."""
    rng = np.random.default_rng(seed)
    chosen: list[int] = []
    for label in (REAL, FAKE):
        members = np.flatnonzero(scored.labels == label)
        chosen += sorted(rng.choice(members, min(count // 2, len(members)), replace=False).tolist())
    return _grid(chosen, scored, samples, thresholds, "A random choice: truth in words, verdict as frame")


def mistakes(scored: Scored, samples: Sequence[Sample], thresholds: Thresholds, count: int = 20) -> Figure:
    """Draw the reals with the highest and the fakes with the lowest probability among the wrongly called."""
    chosen: list[int] = []
    for label, sign in ((REAL, -1), (FAKE, 1)):
        wrong = (scored.labels == label) & ((scored.p >= thresholds.generated_from) != (label == FAKE))
        members = np.flatnonzero(wrong)
        chosen += members[np.argsort(sign * scored.p[members], kind="stable")][:count].tolist()
    return _grid(chosen, scored, samples, thresholds, "Worst mistakes: bona fide first, then generated")


def _grid(
    chosen: Sequence[int], scored: Scored, samples: Sequence[Sample], thresholds: Thresholds, title: str
) -> Figure:
    """Draw crops in rows of eight; the frame's colour and line style and a word give the verdict."""
    columns = 8
    rows = max(1, -(-len(chosen) // columns))
    figure = Figure(figsize=(1.62 * columns, 0.6 + 2.05 * rows), layout="constrained")
    figure.suptitle(title if chosen else f"{title} (there are none)")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    styles = {BONA_FIDE: "solid", UNSURE: "dotted", GENERATED: "dashed"}
    for axes in panels[len(chosen) :]:
        axes.set_axis_off()
    for axes, index in zip(panels, chosen, strict=False):
        verdict = thresholds.label(float(scored.p[index]))
        truth = LABELS[scored.labels[index]]
        axes.imshow(load_crop(samples[index]))
        axes.set(xticks=[], yticks=[])
        axes.set_title(f"{WORDS[truth]}\n{scored.sources[index][:20]}", fontsize=7.5, pad=3)
        mark = "?" if verdict == UNSURE else "\u2713" if verdict == truth else "\u2717"
        axes.set_xlabel(f"{mark} {WORDS[verdict]} {scored.p[index]:.3f}", fontsize=8, color=COLORS[verdict])
        for spine in axes.spines.values():
            spine.set(edgecolor=COLORS[verdict], linewidth=3, linestyle=styles[verdict])
    return figure


def _deviate(rates: np.ndarray) -> np.ndarray:
    """Return the normal deviate of rates; 0 and 1 are moved to finite places, beyond what is drawn."""
    return norm.ppf(np.clip(rates, 1e-4, 1 - 1e-4))


def _plain_counts(axes: Axes) -> None:
    """Write a logarithmic axis' powers of ten as numbers: the usual labels are formulas."""
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _tidy(axes: Axes, grid: Any) -> None:
    axes.set_axisbelow(True)
    axes.grid(axis=grid, **_GRID)
    axes.spines[["top", "right"]].set_visible(False)
