"""The command `fauxface scan`."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

_RESULT_SUFFIXES = {".jsonl", ".ndjson", ".json"}


def register(app: typer.Typer) -> None:
    """Add `scan` to the app."""
    app.command()(scan)


def scan(
    source: Annotated[
        str,
        typer.Argument(
            help="A picture, a folder, a glob in quotes, a video, camera:0, an RTSP or HTTP URL, a GStreamer "
            "pipeline, or - for a picture on standard input."
        ),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for results.jsonl and annotated/, or a .jsonl file."),
    ] = None,
    jsonl: Annotated[Path | None, typer.Option(help="Write JSON Lines here; - for standard output.")] = None,
    annotate: Annotated[
        Path | None, typer.Option(help="Write annotated pictures and videos into this folder.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder; the shipped one by default.")
    ] = None,
    locator: Annotated[
        Path | None, typer.Option(help="A YuNet-format .onnx file in place of the bundle's locator.")
    ] = None,
    max_side: Annotated[
        int | None,
        typer.Option(
            min=32,
            max=8192,
            help="Longest side in pixels of the copy that is searched for faces; a larger one shows smaller "
            "faces and takes longer.  [default: by the bundle's rule]",
        ),
    ] = None,
    provider: Annotated[
        str, typer.Option(help="auto, cpu, cuda, tensorrt or openvino; strict unless auto.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, fp16 or int8; auto takes the fastest that fits the provider.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(help="Threads of one inference; by default all available cores.")
    ] = None,
    faces: Annotated[
        Literal["locate", "whole"],
        typer.Option(help="Locate faces, or judge the central square of ready crops."),
    ] = "locate",
    every: Annotated[int, typer.Option(min=1, help="Judge every N-th frame of a video.")] = 1,
    locate_every: Annotated[
        int,
        typer.Option(
            min=1,
            help="Search every N-th judged frame of a video for faces as a whole, the others only near the "
            "last boxes; 1 misses none.",
        ),
    ] = 1,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Stop a camera or stream after N judged frames.")
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Start anew instead of continuing an earlier scan; replace annotated files that are there.",
        ),
    ] = False,
) -> None:
    """Judge the faces of pictures, videos, cameras and streams.

    Exit codes: 0 all scanned; 1 error, or a single picture without a face; 2 wrong usage; 3 finished, but
    some items couldn't be read; 130 interrupted.
    """
    from fauxface import heap

    heap.share_among_threads()
    import cv2

    from fauxface.output import ResultLog
    from fauxface.scan_items import list_items
    from fauxface.scan_run import ScanRun
    from fauxface.scanner import Scanner
    from fauxface.signals import ended_as_by_ctrl_c
    from fauxface.sources import Kind, parse
    from fauxface.table import Table

    place = parse(source)
    if max_frames is not None and (place.is_files or place.kind is Kind.STDIN):
        raise typer.BadParameter("it is for cameras and streams", param_hint="--max-frames")
    if locate_every > 1 and faces == "whole":
        raise typer.BadParameter("it needs --faces locate", param_hint="--locate-every")
    for given, hint in ((locator, "--locator"), (max_side, "--max-side")):
        if given is not None and faces == "whole":
            raise typer.BadParameter("it needs --faces locate", param_hint=hint)
    jsonl, annotate = _outputs(out, jsonl, annotate)
    cv2.setNumThreads(1)  # what OpenCV does here is short; its pool would only compete with the other stages
    to_stdout = jsonl is not None and str(jsonl) == "-"
    table = Table(sys.stderr if to_stdout else sys.stdout, rows=not to_stdout)
    with ended_as_by_ctrl_c():
        items = list_items(place, annotate, table.line)
        scanner = Scanner(
            bundle,
            provider=provider,
            threads=threads,
            locator=locator,
            faces=faces,
            precision=precision,
            max_side=max_side,
        )
        for reason in scanner.passed_over:
            sys.stderr.write(f"note: {reason}; scanning on {scanner.provider}\n")
        run = ScanRun(
            scanner,
            place,
            items,
            table,
            log=None if jsonl is None or to_stdout else ResultLog(jsonl, scanner.model, overwrite=overwrite),
            to_stdout=to_stdout,
            annotate=annotate,
            every=every,
            max_frames=max_frames,
            locate_every=locate_every,
            overwrite=overwrite,
        )
        code = run.run()
    raise typer.Exit(code)


def _outputs(out: Path | None, jsonl: Path | None, annotate: Path | None) -> tuple[Path | None, Path | None]:
    """Return where results and annotated files go, after --out was taken apart."""
    if out is None:
        return jsonl, annotate
    if out.suffix.lower() in _RESULT_SUFFIXES or str(out) == "-":
        if jsonl is not None:
            raise typer.BadParameter("both name a file; give one of them", param_hint="--out, --jsonl")
        return out, annotate
    return jsonl or out / "results.jsonl", annotate or out / "annotated"
