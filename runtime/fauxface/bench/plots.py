"""The pictures of a report."""

from pathlib import Path

from fauxface.bench.budget import budgets
from fauxface.bench.charts import bars, lines
from fauxface.bench.results import MULTI, OFFLINE, SHARES, SINGLE, STAGES, BenchReport
from fauxface.bench.stats import percentile


def write_plots(report: BenchReport, folder: Path) -> list[Path]:
    """Write a picture of each scenario that was run.

    Args:
        report: The report.
        folder: Where the PNG files go; it is made when it doesn't exist.

    Returns:
        The files.

    Raises:
        OutputError: A file can't be written.
    """
    written: list[Path] = []

    def path(name: str) -> Path:
        written.append(folder / f"{name}.png")
        return written[-1]

    for scenario in (SINGLE, MULTI):
        measured = [m for m in report.measurements if m.scenario == scenario]
        if measured:
            labels = [str(m.configuration) for m in measured]
            figures = [m.summary() for m in measured]
            shares = {name.replace("_", "."): [f[f"{name}_ms"] for f in figures] for name in SHARES}
            shares = {name: values for name, values in shares.items() if values != [None] * len(values)}
            faces = measured[0].faces
            title = f"{scenario}: latency of {faces} face{'s' if faces > 1 else ''}"
            if shares:
                bars(path(scenario), title, "ms", labels, shares)
            rounds = {
                str(m.configuration): [percentile(values, 0.5) for values in m.latencies_ms()]
                for m in measured
            }
            names = [str(number + 1) for number in range(report.settings.rounds)]
            lines(path(f"{scenario}-rounds"), f"{scenario}: p50 of each round", "ms", names, rounds)
    offline = [m for m in report.measurements if m.scenario == OFFLINE]
    if offline:
        batches = list(dict.fromkeys(m.faces for m in offline))
        rates = {(str(m.configuration), m.faces): m.summary()["faces_per_s"] for m in offline}
        series = {
            name: [rates[name, batch] for batch in batches] for name in dict.fromkeys(n for n, _ in rates)
        }
        lines(
            path(OFFLINE),
            "offline: faces per second by batch size",
            "faces/s",
            [str(b) for b in batches],
            series,
        )
    if report.videos:
        labels = [str(video.configuration) for video in report.videos]
        figures = [video.summary() for video in report.videos]
        stages = {name: [f["stages_ms"][name] for f in figures] for name in STAGES}
        bars(path("video-stages"), "video: each stage alone", "ms per frame", labels, stages, stacked=True)
        rate = {"frames/s": [f["frames_per_s"] for f in figures]}
        bars(path("video"), "video: end to end", "frames/s", labels, rate)
    if answers := budgets(report):
        settings = report.settings
        labels = [str(answer.configuration) for answer in answers]
        title = f"frame with {settings.faces} faces; {settings.target_fps:g} frames/s leave "
        title += f"{answers[0].budget_ms:.1f} ms"
        parts = {
            "p50": [answer.frame_ms for answer in answers],
            "p99": [answer.frame_p99_ms for answer in answers],
            "budget": [answer.budget_ms for answer in answers],
        }
        bars(path("budget"), title, "ms", labels, parts)
    return written
