"""`fauxface locator`: distil a face locator and compare it with another."""

import hashlib
import json
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fauxface.cli import require_extra
from fauxface.errors import CheckpointError, GateError
from fauxface.files import atomic_write

locator = typer.Typer(help="Train and compare face locators in YuNet's format.", no_args_is_help=True)


@locator.command()
def train(
    *,
    teacher: Annotated[Path, typer.Option(help="ONNX file in YuNet's format whose maps are the targets.")],
    faces: Annotated[Path, typer.Option(help="Folder of pictures with one face each, searched recursively.")],
    backgrounds: Annotated[
        list[Path], typer.Option(help="Folder of pictures without faces, or with few; may be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    minutes: Annotated[float, typer.Option(help="Length of the schedule in minutes.", min=0.01)] = 20.0,
    samples: Annotated[int, typer.Option(help="Length in pictures instead of minutes.", min=0)] = 0,
    batch: Annotated[int, typer.Option(help="Pictures per step.", min=2)] = 16,
    rate: Annotated[float, typer.Option(help="Peak learning rate.", min=1e-6, max=1)] = 3e-3,
    hint: Annotated[
        float,
        typer.Option(help="Weight of the teacher's feature maps; 0 learns from its outputs only.", min=0),
    ] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of composites and weights.", min=0)] = 0,
    workers: Annotated[int, typer.Option(help="Processes that make composites.", min=0)] = 1,
    threads: Annotated[
        int, typer.Option(help="Threads of the training; 0: the cores that the workers leave.", min=0)
    ] = 0,
    held_out: Annotated[
        int, typer.Option(help="Composites of held-out pictures to measure on.", min=1)
    ] = 300,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    init: Annotated[
        Path | None,
        typer.Option(
            help="An earlier run's folder or last.pt: start a new schedule from its averaged weights."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in OUT.")] = False,
) -> None:
    """Distil a small locator from a teacher's dense outputs; writes OUT/locator.onnx and OUT/locator.json.

    Ctrl-C, SIGTERM and SIGHUP leave a checkpoint that --resume continues from; the exit code is 130 then.
    """
    require_extra("train", "torch", "torchvision", "safetensors", "onnx", "onnxscript")
    require_extra("cpu", "onnxruntime")
    from fauxface import heap
    from fauxface_train.locator.distill import Config, Run
    from fauxface_train.locator.export import export_locator
    from fauxface_train.locator.net import Shape

    heap.keep_freed_memory()
    config = Config(
        minutes=None if samples else minutes,
        samples=samples,
        batch=batch,
        rate=rate,
        hint=hint,
        seed=seed,
        workers=workers,
        threads=threads or None,
        compiled=compiled,
        held_out=held_out,
    )
    resume = resume and (out / "last.pt").exists()
    run = Run(
        teacher=teacher,
        faces=faces,
        backgrounds=backgrounds,
        out=out,
        config=config,
        shape=Shape(),
        init=None if resume else init,
    )
    measures = run.train(resume, init)
    if measures is None:
        typer.echo(
            f"stopped after {run.done} pictures; continue with the same command and --resume", err=True
        )
        raise typer.Exit(130)
    parity = export_locator(run.final(), out / "locator.onnx")
    info = run.provenance(shlex.join(["fauxface", *sys.argv[1:]])) | {"held_out": measures, "parity": parity}
    with atomic_write(out / "locator.json") as path:
        path.write_text(json.dumps(info, indent=2) + "\n")
    typer.echo(json.dumps({"held_out": measures, "parity": parity}, indent=2))


@locator.command()
def compare(
    *,
    judged: Annotated[Path, typer.Argument(metavar="LOCATOR", help="ONNX file of the locator to judge.")],
    reference: Annotated[Path, typer.Argument(metavar="TEACHER", help="ONNX file that it is judged by.")],
    paths: Annotated[list[Path], typer.Argument(metavar="PATHS...", help="Pictures, videos and folders.")],
    report_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the report as Markdown.")] = None,
    negatives: Annotated[
        list[Path] | None, typer.Option(help="Pictures without faces, to count false ones on; repeatable.")
    ] = None,
    conditions: Annotated[
        list[Path] | None,
        typer.Option(help="Pictures of one face each, judged dark, blurred, rotated, hidden; repeatable."),
    ] = None,
    condition_pictures: Annotated[int, typer.Option(help="Most pictures per condition.", min=1)] = 200,
    every: Annotated[int, typer.Option(help="Of a video, every n-th frame.", min=1)] = 10,
    threshold: Annotated[float, typer.Option(help="Score threshold of LOCATOR.", min=0, max=1)] = 0.6,
    reference_threshold: Annotated[float, typer.Option(help="That of TEACHER.", min=0, max=1)] = 0.6,
    side: Annotated[list[int], typer.Option(help="Limit of the longer side in pixels.", min=32)] = [640, 320],  # noqa: B006
    min_scale: Annotated[
        float | None,
        typer.Option(
            help="Search this share of a picture, from half of SIDE to SIDE, as the runtime does.",
            min=0.01,
            max=1,
        ),
    ] = None,
    smallest: Annotated[
        float, typer.Option(help="Smallest face judged, in pixels of a copy of at most 320 px.", min=0)
    ] = 24.0,
    seed: Annotated[int, typer.Option(help="Seed of the conditions.", min=0)] = 0,
    threads: Annotated[int, typer.Option(help="OpenCV's threads.", min=1)] = 1,
    min_recall: Annotated[float | None, typer.Option(help="Fail below it.", min=0, max=1)] = None,
    min_precision: Annotated[float | None, typer.Option(help="Fail below it.", min=0, max=1)] = None,
    min_iou: Annotated[float | None, typer.Option(help="Fail below this mean IoU.", min=0, max=1)] = None,
    max_landmark_error: Annotated[
        float | None, typer.Option(help="Fail above this share of the box.", min=0)
    ] = None,
    max_time_ratio: Annotated[
        float | None, typer.Option(help="Fail where the median time over TEACHER's is higher.", min=0)
    ] = None,
    max_extra_false: Annotated[
        int | None, typer.Option(help="Fail where negatives have more faces than TEACHER's and these.", min=0)
    ] = None,
) -> None:
    """Compare a locator with a reference: faces found, false faces, IoU, landmarks and time, side by side.

    The limits hold for each of PATHS and each side; where one isn't kept, the reports are written and the
    exit code is 1.
    """
    require_extra("train", "onnx", "scipy")
    require_extra("cpu", "onnxruntime")
    import cv2

    import fauxface
    from fauxface.bench.runner import check_outputs
    from fauxface_train.locator.compare import Settings
    from fauxface_train.locator.compare import compare as compare_locators
    from fauxface_train.locator.verdict import Bar, render
    from fauxface_train.provenance import machine

    bar = Bar(min_recall, min_precision, min_iou, max_landmark_error, max_time_ratio, max_extra_false)
    settings = Settings(
        every=every,
        sides=tuple(dict.fromkeys(side)),
        min_scale=min_scale,
        threshold=threshold,
        reference_threshold=reference_threshold,
        smallest=smallest,
        condition_pictures=condition_pictures,
        seed=seed,
    )
    check_outputs(report_file, markdown, None)
    contents = [_read(path) for path in (judged, reference)]
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        report = compare_locators(
            contents[0],
            contents[1],
            paths,
            settings,
            negatives=negatives or (),
            faces=conditions or (),
        )
    finally:
        cv2.setNumThreads(before)
    names = {"locator": judged, "reference": reference}
    digests = zip(names.items(), contents, strict=True)
    models = {
        name: {"file": path.name, "sha256": hashlib.sha256(data).hexdigest()}
        for (name, path), data in digests
    }
    misses = bar.misses(report)
    asked = bar != Bar()
    text = render(report, misses if asked else None)
    typer.echo(text, nl=False)
    if report_file is not None:
        machine_info = {"fauxface": fauxface.__version__, "machine": machine()}
        verdict = {"asked": asdict(bar), "missed": misses} if asked else {}
        with atomic_write(report_file) as path:
            path.write_text(
                json.dumps(models | machine_info | report | verdict, indent=2) + "\n", encoding="utf-8"
            )
    if markdown is not None:
        with atomic_write(markdown) as path:
            path.write_text(text, encoding="utf-8", errors="backslashreplace")
    if misses:
        raise GateError(f"{judged.name} misses what was asked: " + "; ".join(misses))


@locator.command()
def quantise(
    judged: Annotated[Path, typer.Argument(metavar="LOCATOR", help="ONNX file in YuNet's format.")],
    pictures: Annotated[
        list[Path],
        typer.Argument(help="Folders of pictures with faces and without; a part of them is for the check."),
    ],
    *,
    out: Annotated[Path, typer.Option(help="File to write, for `fauxface export --locator-int8`.")],
) -> None:
    """Write a locator in int8, which CPUs with instructions for that run faster.

    Nothing is written where it and the float one find too few of each other's faces; the exit code is 1 then.
    """
    require_extra("train", "onnx", "scipy")
    require_extra("cpu", "onnxruntime")
    from fauxface.bench.runner import check_outputs
    from fauxface_train.locator.int8 import quantise as run

    check_outputs(out, None, None)
    data = run(_read(judged), pictures, lambda line: typer.echo(line, err=True))
    with atomic_write(out) as path:
        path.write_bytes(data)
    typer.echo(f"{out}: {len(data) / 1e3:.0f} kB")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"can't read {path}: {error.strerror}; give an ONNX file in YuNet's format"
        raise CheckpointError(message) from error


def register(app: typer.Typer) -> None:
    """Add the `locator` commands to the app."""
    app.add_typer(locator, name="locator")
