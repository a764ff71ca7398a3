"""The command `fauxface calibrate`; it needs neither PyTorch nor scikit-learn, only SciPy."""

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fauxface.cli import ended_without_traces, require_extra

if TYPE_CHECKING:
    from fauxface.bundle import Bundle
    from fauxface_train.dataset import PreparedData
    from fauxface_train.site import Refit


def register(app: typer.Typer) -> None:
    """Add `fauxface calibrate`."""
    app.command()(calibrate)


def calibrate(
    bundle: Annotated[Path, typer.Argument(help="The bundle to start from; it stays as it is.")],
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="MY_DATA...",
            help="Pictures of the place of use, laid out as for `fauxface data prepare` (real/ and fake/, "
            "real:PATH, ...), or one folder that it wrote.",
        ),
    ],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the bundle to make.")],
    faces: Annotated[
        Literal["locate", "whole"],
        typer.Option(help="Find the face, or take the whole picture (ready crops); not for prepared data."),
    ] = "locate",
    bpcer: Annotated[
        float,
        typer.Option(min=0.0001, max=0.5, help="BPCER that the pictures of no real source may contradict."),
    ] = 0.01,
    name: Annotated[str | None, typer.Option(help="Name of the new bundle; the parent's by default.")] = None,
    signed_off_by: Annotated[
        str | None, typer.Option(help="Who answers for the new operating point; manifest and card name them.")
    ] = None,
    provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt, openvino or auto.")] = "auto",
) -> None:
    """Fit a bundle's operating point to about a hundred pictures of the place where it is used.

    Prints how sure it can be with so few, and writes a new bundle that records all of it.
    """
    require_extra("calibrate", "scipy")
    from fauxface.bundle import Bundle
    from fauxface.errors import OutputError
    from fauxface.files import usable_folder
    from fauxface.manifest import check_name
    from fauxface_train.dataset import PreparedData
    from fauxface_train.site_bundle import calibrate as run
    from fauxface_train.site_bundle import used

    if signed_off_by is not None and not (signed_off_by.strip() and signed_off_by.isprintable()):
        raise typer.BadParameter("give a name on one line", param_hint="--signed-off-by")
    if name is not None:
        check_name(name)
    if out.exists():
        raise OutputError(f"{out} exists; choose another --out")
    usable_folder(out)
    parent = Bundle.load(bundle)
    with ended_without_traces(), tempfile.TemporaryDirectory() as work:
        if len(data) == 1 and (Path(data[0]) / "prepare.json").is_file():
            if faces == "whole":
                raise typer.BadParameter("not for prepared data", param_hint="--faces")
            prepared = PreparedData.load(data[0])
        else:
            prepared = _prepared(parent, data, Path(work) / _name(data), faces)
        points = run(
            parent,
            prepared,
            out,
            bpcer_target=bpcer,
            name=name,
            signed_off_by=signed_off_by,
            provider=provider,
        )
    made = Bundle.load(out)
    typer.echo(used(made.manifest.provenance["calibrations"][-1]["data"]))
    for precision, point in points.items():
        _print(precision, point)
    typer.echo(f"wrote {out}: model {made.sha256}")


def _name(data: list[str]) -> str:
    """Return what the record calls the data: the folder's name, or how many folders there were."""
    return (
        Path(data[0].rpartition(":")[2]).resolve().name or "data"
        if len(data) == 1
        else f"{len(data)} folders"
    )


def _prepared(parent: "Bundle", data: list[str], out: Path, faces: str) -> "PreparedData":
    """Cut the pictures as the bundle itself cuts them."""
    from fauxface.errors import DataError
    from fauxface.threads import available_cores
    from fauxface_train.dataset import PreparedData
    from fauxface_train.extraction import CropRule
    from fauxface_train.jobs import LocatorFile
    from fauxface_train.prepare import REPORT, SplitRule, prepare

    crop = parent.manifest.crop
    whole = faces == "whole"
    report = out / REPORT
    try:
        summary = prepare(
            data,
            out,
            crop_rule=CropRule(margin=crop.margin, whole=whole, min_face=crop.min_face_px),
            split_rule=SplitRule(1.0, 0.0, 0.0),
            locator=None if whole else LocatorFile.of(parent),
            workers=available_cores(),
        )
    except DataError as error:
        if report.is_file():  # it goes with the temporary folder
            _say_left_out(json.loads(report.read_text(encoding="utf-8")))
            raise DataError(str(error).replace(str(report), "above")) from None
        raise
    counts = summary.report["counts"]
    typer.echo(f"{counts['kept']} of {counts['found']} pictures can be used")
    _say_left_out(summary.report)
    return PreparedData.load(out)


def _say_left_out(report: dict[str, Any], most: int = 10) -> None:
    """Name the first pictures of a report that can't be used, and why."""
    from fauxface.errors import printable
    from fauxface_train.data_cli import others

    if report["ignored_files"]:
        typer.echo(f"not read: {others(report['ignored_files'])}", err=True)
    lines = [f"{bad['file']}: {bad['reason']}" for bad in report["bad_files"]]
    lines += [f"{same['file']}: {same['outcome']} of {same['of']}" for same in report["duplicates"]]
    for line in lines[:most]:
        typer.echo(f"left out: {printable(line)}", err=True)
    if len(lines) > most:
        typer.echo(f"left out: {len(lines) - most} more", err=True)


def _print(precision: str, point: "Refit") -> None:
    from dataclasses import asdict

    from fauxface_train.site_bundle import FIGURES, shown

    old, new = asdict(point.before), asdict(point.after)
    typer.echo(f"{precision}: fitted {point.fitted}")
    typer.echo(f"  temperature {point.calibration.temperature:.4g}, bias {point.calibration.bias:.4g}")
    typer.echo(f"  {point.thresholds.rule}")
    for figure, name in FIGURES.items():
        typer.echo(f"  {name} before {shown(old[figure])}")
        typer.echo(f"  {name} after  {shown(new[figure])}")
    typer.echo(
        "  after: each picture judged by a fit without it; in brackets, 95 % intervals (Clopper-Pearson)"
    )
