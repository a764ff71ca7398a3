"""A report or a comparison as tables: text for the terminal, Markdown for a page."""

from collections.abc import Iterable
from dataclasses import dataclass

from fauxface.bench.budget import budgets
from fauxface.bench.compare import Comparison
from fauxface.bench.doubts import doubts
from fauxface.bench.machine import Machine
from fauxface.bench.results import (
    FRAME,
    MULTI,
    OFFLINE,
    SHARES,
    SINGLE,
    STAGES,
    VIDEO,
    BenchReport,
    Measurement,
    VideoMeasurement,
)
from fauxface.errors import printable

_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, lines of text and a table; lines and table may be empty."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def report_sections(report: BenchReport) -> list[Section]:
    """Return a report as sections; scenarios that weren't run have none."""
    sections = [_machine(report), _configurations(report)]
    for scenario, title in ((SINGLE, "one face at a time"), (MULTI, "a face from each of several cameras")):
        measured = [m for m in report.measurements if m.scenario == scenario]
        if measured:
            sections.append(_latency(f"{scenario}: {title}, milliseconds per query", measured))
    sections += _offline(report)
    sections += _video(report.videos)
    sections += _budget(report)
    notes = tuple(_notes(report))
    return [*sections, Section("notes", notes)] if notes else sections


def comparison_sections(comparison: Comparison) -> list[Section]:
    """Return a comparison as sections."""
    rows = tuple(
        (
            str(ratio.configuration),
            ratio.scenario,
            ratio.load,
            ratio.figure,
            f"{ratio.a:.4g}",
            f"{ratio.b:.4g}",
            f"{ratio.speed:.3f}x",
            "too few rounds" if ratio.low is None else f"{ratio.low:.3f} to {ratio.high:.3f}",
            f"B is {ratio.verdict}" if ratio.verdict != "no difference shown" else ratio.verdict,
        )
        for ratio in comparison.ratios
    )
    header = ("configuration", "scenario", "load", "figure", "A", "B", "speed of B", "95 % interval", "so")
    sections = [Section("speed of B over A", header=header, rows=rows)]
    notes = [f"differs: {text}" for text in comparison.differences]
    notes += [f"A: {text}" for text in comparison.doubts_a]
    notes += [f"B: {text}" for text in comparison.doubts_b]
    notes += [f"only in A: {text}" for text in comparison.only_a]
    notes += [f"only in B: {text}" for text in comparison.only_b]
    return [*sections, Section("notes", tuple(notes))] if notes else sections


def to_text(sections: Iterable[Section]) -> str:
    """Return sections for a terminal; the first column is flush left, numbers are flush right."""
    parts = []
    for section in sections:
        lines = [printable(section.title), *(f"  {printable(line)}" for line in section.lines)]
        if section.rows:
            table = [[printable(cell) for cell in row] for row in (section.header, *section.rows)]
            widths = [max(len(row[i]) for row in table) for i in range(len(section.header))]
            for row in table:
                cells = [row[0].ljust(widths[0])]
                cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
                lines.append(("  " + "  ".join(cells)).rstrip())
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def to_markdown(title: str, sections: Iterable[Section]) -> str:
    """Return sections as a Markdown page."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {_escaped(section.title[:1].upper() + section.title[1:])}", ""]
        if section.lines:
            lines += [f"- {_escaped(line)}" for line in section.lines] + [""]
        if section.rows:
            lines += [_row(section.header), "|---" * len(section.header) + "|"]
            lines += [_row(row) for row in section.rows] + [""]
    return "\n".join(lines).rstrip() + "\n"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(text: str) -> str:
    text = printable(text)
    for character in "\\|<*`[":
        text = text.replace(character, "\\" + character)
    return text


def _machine(report: BenchReport) -> Section:
    machine = report.machine
    parts = [
        ("processor", machine.cpu),
        ("board", machine.board or ""),
        ("GPU", ", ".join(machine.gpus)),
        ("system", machine.system),
        ("cores", f"{machine.cores} available of {machine.logical_cpus}"),
        ("instructions", " ".join(machine.instructions) or "not told by the system"),
        ("governor", ", ".join(machine.governors) or "not told by the system"),
        ("temperature", _temperature(machine)),
        (
            "load average",
            f"{_or_unknown(machine.load_before)} before, {_or_unknown(machine.load_after)} after",
        ),
        ("versions", ", ".join(f"{name} {version}" for name, version in report.versions.items())),
        ("bundle", f"{report.bundle}, model {report.model[:12]}"),
        ("run", f"{report.settings.rounds} rounds, ended {report.created}"),
    ]
    return Section("machine", tuple(f"{name}: {value}" for name, value in parts if value))


def _temperature(machine: Machine) -> str:
    both = [
        f"{name} {before:g} -> {machine.celsius_after[name]:g} C"
        for name, before in machine.celsius_before.items()
        if name in machine.celsius_after
    ]
    return ", ".join(both) or "not told by the system"


def _or_unknown(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _configurations(report: BenchReport) -> Section:
    rows = [
        (
            str(entry.configuration),
            entry.configuration.provider
            + ("" if entry.asked == entry.configuration.provider else f" (asked: {entry.asked})")
            + (f", {entry.remarks}" if entry.remarks else ""),
            entry.configuration.precision,
            str(entry.configuration.threads),
            f"ok: {entry.accuracy.crops} crops, logits within {entry.accuracy.max_difference:.1e}, "
            f"{entry.accuracy.changed_labels} labels changed",
        )
        for entry in report.accepted
    ]
    lines = tuple(f"REFUSED {refusal}: {refusal.reason}" for refusal in report.refused)
    header = ("configuration", "provider in use", "precision", "threads", "golden crops")
    return Section("configurations", lines, header, tuple(rows))


def _latency(title: str, measured: list[Measurement]) -> Section:
    rows = []
    for measurement in measured:
        figures = measurement.summary()
        ends = figures["p50_interval_ms"]
        rows.append(
            (
                str(measurement.configuration),
                str(measurement.faces),
                str(figures["queries"]),
                *(_ms(figures[f"{name}_ms"]) for name in SHARES),
                "-" if ends is None else f"{_ms(ends[0])} to {_ms(ends[1])}",
                f"{figures['faces_per_s']:.1f}",
            )
        )
    shares = tuple(name.replace("_", ".") for name in SHARES)
    header = ("configuration", "faces", "queries", *shares, "95 % interval of p50", "faces/s")
    return Section(title, header=header, rows=tuple(rows))


def _offline(report: BenchReport) -> list[Section]:
    measured = [m for m in report.measurements if m.scenario == OFFLINE]
    if not measured:
        return []
    batches = list(dict.fromkeys(m.faces for m in measured))
    rates = {(m.configuration, m.faces): m.summary()["faces_per_s"] for m in measured}
    rows = tuple(
        (str(configuration), *(f"{rates[configuration, batch]:.1f}" for batch in batches))
        for configuration in dict.fromkeys(m.configuration for m in measured)
    )
    header = ("configuration", *(f"batch {batch}" for batch in batches))
    return [Section("offline: faces per second by batch size", header=header, rows=rows)]


def _video(videos: Iterable[VideoMeasurement]) -> list[Section]:
    rows, clip = [], ""
    for video in videos:
        figures = video.summary()
        stages = figures["stages_ms"]
        clip = f"{video.footage}, {figures['faces_per_frame']:.2f} faces per frame; "
        clip += f"live at {video.camera_fps:g} frames/s"
        rows.append(
            (
                str(video.configuration),
                f"{figures['frames_per_s']:.1f}",
                *(_ms(stages[name]) for name in STAGES),
                figures["slowest_stage"],
                _ms(figures["age_p50_ms"]),
                _ms(figures["age_p99_ms"]),
                f"{figures['dropped']:.1%}",
            )
        )
    if not rows:
        return []
    header = ("configuration", "frames/s", *(f"{name} ms" for name in STAGES), "slowest stage")
    header += ("age p50 ms", "age p99 ms", "dropped")
    return [Section(f"{VIDEO}: frames per second end to end, each stage alone", (clip,), header, tuple(rows))]


def _budget(report: BenchReport) -> list[Section]:
    answers = budgets(report)
    if not answers:
        return []
    settings = report.settings
    rows = tuple(
        (
            str(answer.configuration),
            "holds" if answer.holds else "FAILS",
            f"{answer.headroom:+.0%}",
            _ms(answer.locate_ms),
            _ms(answer.face_ms),
            _ms(answer.frame_ms),
            _ms(answer.frame_p99_ms),
            f"{answer.frames_per_s:.1f}",
            "-" if answer.faces_held is None else str(answer.faces_held),
        )
        for answer in answers
    )
    held = sum(answer.holds for answer in answers)
    judged = _judged([answer.frames for answer in answers if answer.holds or not held])
    load = next(m.key[2] for m in report.measurements if m.scenario == FRAME and m.faces == settings.faces)
    line = f"{held} of {len(answers)} configurations judge {judged} within "
    line += f"{answers[0].budget_ms:.1f} ms; decoding isn't included"
    header = ("configuration", "target", "headroom", "locate ms", "each face ms", "frame p50 ms")
    header += ("frame p99 ms", "frames/s", "faces that would hold")
    title = f"budget: {settings.target_fps:g} frames/s with {load}"
    return [Section(title, (line,), header, rows)]


def _judged(counts: list[int]) -> str:
    """Say which frames stay in the budget; of fewer than 100, the 99th percentile is the longest one."""
    low, high = min(counts), max(counts)
    if high < _HUNDRED:
        return (
            f"each of the {low} frames measured"
            if low == high
            else f"each of {low} to {high} frames measured"
        )
    return "99 of 100 frames" if low >= _HUNDRED else "99 of 100 frames (all, where fewer were measured)"


def _notes(report: BenchReport) -> Iterable[str]:
    yield from doubts(report)
    shown = [m for m in report.measurements if m.scenario in (SINGLE, MULTI)]
    if any(m.summary()["p99_9_ms"] is None for m in shown):
        yield "a percentile that is - has too few queries; p99.9 takes 1000: give --seconds or --rounds more"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 100 else f"{value:.1f}"
