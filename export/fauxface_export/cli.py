"""The commands that the export stage adds to `fauxface`; heavy packages are imported when a command runs."""

from pathlib import Path
from typing import Annotated

import typer

from fauxface.cli import ended_without_traces, require_extra

FORMATS = ("onnx", "torchscript", "pt2")


def register(app: typer.Typer) -> None:
    """Add this stage's commands."""
    app.command("export")(export_command)
    app.command()(quantise)


def export_command(
    checkpoint: Annotated[Path, typer.Argument(help="A training run's folder, or its .safetensors file.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.")],
    locator: Annotated[
        Path | None,
        typer.Option(help="Face locator: an ONNX file in YuNet's format; the shipped one if not given."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared data; its val split serves as real input of the parity gate."),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(help="metrics.json of `fauxface evaluate` for the model card.")
    ] = None,
    require: Annotated[
        Path | None,
        typer.Option(help="TOML of bounds that --metrics must keep; a missed bound means no bundle."),
    ] = None,
    terms: Annotated[
        Path | None, typer.Option(help="CSV with columns source, label, origin, terms for the model card.")
    ] = None,
    weights_license: Annotated[
        Path | None, typer.Option("--license", help="Licence text of the weights.")
    ] = None,
    golden: Annotated[
        Path | None,
        typer.Option(help="Folder of pictures that may be given away; the demo's pictures when not given."),
    ] = None,
    failures: Annotated[
        Path | None,
        typer.Option(
            help="Folder of generated pictures that may be given away; the model card shows those that the "
            "bundle gets wrong."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the bundle; the folder's when not given.")] = None,
    formats: Annotated[
        str, typer.Option(help="Files to keep, with commas; all of them pass the parity gate.")
    ] = ",".join(FORMATS),
    locator_int8: Annotated[
        Path | None,
        typer.Option(
            help="The same locator in int8, of `fauxface locator quantise`; the shipped one for its locator."
        ),
    ] = None,
    locator_score: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=0.99,
            help="Faces scored lower are dropped; 0.6, or the shipped locator's own threshold.",
        ),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Add an 8-bit classifier for CPUs, checked on --data.")
    ] = False,
    fp16: Annotated[
        bool, typer.Option("--fp16", help="Add a half-precision classifier for GPUs, checked on --data.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Turn a checkpoint into a bundle, once every exported file answers as the network does."""
    chosen = tuple(dict.fromkeys(part.strip() for part in formats.split(",")))
    if unknown := [part for part in chosen if part not in FORMATS]:
        raise typer.BadParameter(
            f"unknown format {', '.join(map(repr, unknown))}; choose from {', '.join(FORMATS)}",
            param_hint="--formats",
        )
    if "onnx" not in chosen:
        raise typer.BadParameter("a bundle needs onnx", param_hint="--formats")
    if require is not None and metrics is None:
        raise typer.BadParameter("bounds need figures; give --metrics too", param_hint="--require")
    require_extra("export", "torch", "torchvision", "onnx", "onnxscript", "safetensors", "sklearn")
    require_extra("cpu", "onnxruntime")
    from fauxface_export.export import DEMO_MEDIA, Options, export

    options = Options(
        checkpoint=checkpoint,
        out=out,
        locator=locator,
        data=data,
        metrics=metrics,
        require=require,
        terms=terms,
        weights_license=weights_license,
        golden=golden or DEMO_MEDIA,
        failures=failures,
        name=name,
        formats=chosen,
        locator_int8=locator_int8,
        locator_score=locator_score,
        overwrite=overwrite,
        precisions=tuple(name for name, asked in (("int8", int8), ("fp16", fp16)) if asked),
    )
    with ended_without_traces():
        bundle = export(options, say=typer.echo)
    typer.echo(f"wrote {out}: model {bundle.sha256}")


def quantise(
    bundle: Annotated[Path, typer.Argument(help="The bundle to start from.")],
    data: Annotated[Path, typer.Argument(help="The folder that `fauxface data prepare` wrote.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.")],
    fp16: Annotated[bool, typer.Option("--fp16", help="A half-precision classifier for GPUs.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="An 8-bit classifier for CPUs.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing bundle.")] = False,
) -> None:
    """Give a bundle a classifier in another precision, made from its fp32 graph and checked on DATA.

    For a bundle whose checkpoint isn't at hand; `fauxface export` does the same from a checkpoint.
    """
    asked = tuple(name for name, given in (("int8", int8), ("fp16", fp16)) if given)
    if not asked:
        raise typer.BadParameter("give --int8, --fp16 or both", param_hint="--int8")
    require_extra("export", "torch", "torchvision", "onnx", "onnxscript", "safetensors", "sklearn")
    require_extra("cpu", "onnxruntime")
    from fauxface.bundle import Bundle
    from fauxface_export.requantise import requantise
    from fauxface_train.dataset import PreparedData

    parent, prepared = Bundle.load(bundle), PreparedData.load(data)
    with ended_without_traces():
        made = requantise(parent, prepared, out, asked, overwrite=overwrite, say=typer.echo)
    typer.echo(f"wrote {out}: model {made.sha256}")
