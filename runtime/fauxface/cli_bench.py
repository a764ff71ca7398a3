"""The command `fauxface bench`."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

_BATCHES = (1, 2, 4, 8, 16, 32, 64)
_QUICK_BATCHES = (1, 8)


def register(app: typer.Typer) -> None:
    """Add `bench` to the app."""
    app.command()(bench)


def bench(
    *,
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="single-stream, multi-stream, offline or video; repeatable; all by default."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="auto, cpu, cuda, tensorrt or openvino; repeatable; by default what runs here, but tensorrt."
        ),
    ] = None,
    precision: Annotated[
        list[str] | None,
        typer.Option(help="fp32, fp16 or int8; repeatable; by default all that the bundle has."),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(help="Threads of one inference; repeatable; by default all available cores."),
    ] = None,
    batch: Annotated[
        list[int] | None,
        typer.Option(
            help="Faces per query, offline; repeatable; by default 1, 2, 4, ... 64. "
            "More than one inference takes, 64 or on a GPU 32, are run in parts."
        ),
    ] = None,
    cameras: Annotated[int | None, typer.Option(help="Faces per query, multi-stream; by default 4.")] = None,
    target_fps: Annotated[
        float | None, typer.Option(help="Ask which configurations judge so many frames per second.")
    ] = None,
    faces: Annotated[
        int | None, typer.Option(help="Faces per frame, with --target-fps; by default 1.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(help="Length of one measurement; by default 0.3, 0.05 with --quick.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(help="How often all is measured; by default 5, 3 with --quick.")
    ] = None,
    frames: Annotated[
        int | None, typer.Option(help="Frames of the clip per round; by default 24, 8 with --quick.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder; the shipped one by default.")
    ] = None,
    video: Annotated[
        Path | None, typer.Option(help="A video file; by default a clip of the demo's generated faces.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A look of a few seconds, without tails.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Of the order in which configurations take turns; by default 0.")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the tables as Markdown.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write PNG plots into this folder.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(metavar="A B", help="Compare two results of --json instead of measuring."),
    ] = None,
) -> None:
    """Measure how fast faces are judged here: latency, throughput and video, by provider, precision, threads.

    A configuration that judges the bundle's golden crops otherwise is refused, and the command fails, unless
    it wasn't named and another provider runs its precision. With --target-fps, only the scenarios that are
    named are run beside the budget.
    """
    from fauxface import heap

    heap.share_among_threads()  # as `fauxface scan` does, and as early
    from fauxface.bench.matrix import Matrix
    from fauxface.bench.results import SCENARIOS, VIDEO, Settings
    from fauxface.bench.runner import bench as measure
    from fauxface.bench.runner import check, check_outputs
    from fauxface.bench.tables import report_sections
    from fauxface.bundle import Bundle
    from fauxface.cli import ended_without_traces
    from fauxface.errors import BenchmarkError, GateError

    if compare is not None:
        if plot is not None:
            raise BenchmarkError("--plot shows one result; leave it out with --compare")
        lists = (scenario, provider, precision, threads, batch)
        others = (bundle, cameras, target_fps, faces, video, seconds, rounds, frames, seed)
        if quick or any(lists) or any(given is not None for given in others):
            raise BenchmarkError("--compare measures nothing; leave out what says how to measure")
        _check_different(json_file, markdown, read=compare)
        _compare(*compare, json_file, markdown)
        return
    if faces is not None and target_fps is None:
        raise BenchmarkError("--faces belongs to the budget; give --target-fps, too, or --cameras instead")
    usual = SCENARIOS if target_fps is None else ()
    settings = Settings(
        scenarios=tuple(dict.fromkeys(scenario or usual)),
        batches=tuple(dict.fromkeys(batch or (_QUICK_BATCHES if quick else _BATCHES))),
        cameras=4 if cameras is None else cameras,
        seconds=seconds if seconds is not None else 0.05 if quick else 0.3,
        rounds=rounds if rounds is not None else 3 if quick else 5,
        frames=frames if frames is not None else 8 if quick else 24,
        target_fps=target_fps,
        faces=1 if faces is None else faces,
        tails=not quick,
        seed=0 if seed is None else seed,
    )
    check(settings)
    if video is not None and VIDEO not in settings.scenarios and target_fps is None:
        raise BenchmarkError("--video belongs to the scenario video and to the budget; give one of them, too")
    matrix = Matrix(tuple(provider or ()), tuple(precision or ()), tuple(threads or ()))
    _check_different(json_file, markdown, plot, read=() if video is None else (video,))
    check_outputs(json_file, markdown, plot)
    with ended_without_traces():
        report = measure(Bundle.load(bundle), matrix, settings, video=video)
    sections = report_sections(report)
    _write("fauxface bench", sections, report.to_dict(), json_file, markdown)
    if plot is not None:
        from fauxface.bench.plots import write_plots

        write_plots(report, plot)
    named = bool(matrix.providers or matrix.precisions)
    ran = {accepted.configuration.precision for accepted in report.accepted}
    missed = [
        r
        for r in report.refused
        if r.kind == "failed" or (r.kind != "unavailable" and (named or r.precision not in ran))
    ]
    if missed:
        raise GateError(f"{len(missed)} refused, {missed[0]}: {missed[0].reason}")
    if not report.accepted:
        raise BenchmarkError(f"nothing could be measured: {report.refused[0].reason}")


def _check_different(*written: Path | None, read: tuple[Path, ...] = ()) -> None:
    """Raise a BenchmarkError where a file would be written over another one that is read or written."""
    from fauxface.errors import BenchmarkError

    known = {os.path.realpath(path) for path in read}  # Path.resolve raises where links lead in a circle
    for path in (path for path in written if path is not None):
        if os.path.realpath(path) in known:
            raise BenchmarkError(f"{path} is given twice; give every file a name of its own")
        known.add(os.path.realpath(path))


def _compare(a: Path, b: Path, json_file: Path | None, markdown: Path | None) -> None:
    from fauxface.bench.compare import compare
    from fauxface.bench.results import BenchReport
    from fauxface.bench.tables import comparison_sections

    comparison = compare(BenchReport.read(a), BenchReport.read(b))
    sections = comparison_sections(comparison)
    _write("fauxface bench --compare", sections, comparison.to_dict(), json_file, markdown)


def _write(
    title: str, sections: list[Any], document: dict[str, Any], json_file: Path | None, markdown: Path | None
) -> None:
    from fauxface.bench.tables import to_markdown, to_text
    from fauxface.files import atomic_write

    typer.echo(to_text(sections), nl=False)  # first: a full disk doesn't take what was measured
    if json_file is not None:
        with atomic_write(json_file) as temporary:
            temporary.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    if markdown is not None:
        with atomic_write(markdown) as temporary:
            temporary.write_text(to_markdown(title, sections), encoding="utf-8")
