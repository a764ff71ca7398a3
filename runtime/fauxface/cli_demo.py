"""The command `fauxface demo`."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add `demo` to the app."""
    app.command()(demo)


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for pictures, clip and results: a new one, or an earlier demo's.")
    ] = Path("fauxface-demo"),
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle's folder; the shipped one by default.")
    ] = None,
) -> None:
    """Judge public-domain photographs, faces of two generators, and a clip made of all.

    What the model gets wrong is shown as it is: the file names say where each picture comes from.
    """
    from fauxface.demo import claim, collect_pictures, make_clip, photographs
    from fauxface.files import atomic_write
    from fauxface.output import ResultLog
    from fauxface.scan_items import list_items
    from fauxface.scan_run import EXIT_INTERRUPTED, ScanRun
    from fauxface.scanner import Scanner
    from fauxface.sources import parse
    from fauxface.table import Table

    scanner = Scanner(bundle)
    photographs()  # before anything is written
    claim(out)
    pictures = collect_pictures(out / "input")
    make_clip(pictures, out / "input" / "clip.mp4")
    place = parse(str(out / "input"))
    annotated = out / "annotated"
    log = ResultLog(out / "results.jsonl", scanner.model, overwrite=True)
    log.resume = "run the same command again, which starts anew"
    with atomic_write(out / "table.txt") as temporary, temporary.open("w", encoding="utf-8") as file:
        table = Table(sys.stdout, copy=file)
        items = list_items(place, annotated)
        code = ScanRun(scanner, place, items, table, log=log, annotate=annotated, overwrite=True).run()
    if code != EXIT_INTERRUPTED:
        typer.echo(f"look at {annotated}/, {out / 'table.txt'} and {log.path}")
    raise typer.Exit(code)
