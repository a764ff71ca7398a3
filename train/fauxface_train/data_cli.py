"""The `fauxface data` commands."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from fauxface_train.jobs import LocatorFile
    from fauxface_train.prepare import SplitRule, Summary

_INTERRUPTED = 130


def register(app: typer.Typer) -> None:
    """Add `fauxface data prepare`, `show`, `audit` and `reconstruct`."""
    data = typer.Typer(
        help="Prepare pictures for training and evaluation, look at them, and audit them for shortcuts.",
        no_args_is_help=True,
    )
    data.command("prepare")(prepare)
    data.command("show")(show)
    data.command("audit")(audit)
    data.command("reconstruct")(reconstruct)
    app.add_typer(data, name="data")


def prepare(  # noqa: PLR0917 - Typer passes options by name
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SRC...",
            help="Folders: real/ and fake/ (with sources in them, train/val/test above them), UTKFace, "
            "1 Million Fake Faces; or real:PATH, fake:PATH, real:NAME=PATH.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write; an interrupted run goes on there.")],
    faces: Annotated[
        Literal["locate", "whole"],
        typer.Option(help="Find the face, or take the whole picture (for data sets of ready crops)."),
    ] = "locate",
    margin: Annotated[
        float | None,
        typer.Option(
            min=0.5, max=3.0, help="Side of the crop over the longer side of the face box, 1 by default."
        ),
    ] = None,
    min_face: Annotated[int, typer.Option(min=8, help="Leave out faces of fewer pixels.")] = 40,
    locator: Annotated[
        Path | None, typer.Option(help="Face locator in YuNet's ONNX format, instead of the bundle's.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Bundle whose locator finds the faces.")] = None,
    tolerate_truncated: Annotated[
        bool, typer.Option("--tolerate-truncated", help="Accept pictures whose data end early.")
    ] = False,
    split: Annotated[
        str, typer.Option(help="Shares of train/val/test for pictures without a given split.")
    ] = "80/10/10",
    seed: Annotated[int, typer.Option(help="Another seed gives another division.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; by default one per core.")
    ] = None,
) -> None:
    """Find and cut the faces, drop copies, divide into train, val, test; write crops and manifest to OUT."""
    from fauxface.errors import DataError
    from fauxface.signals import ended_as_by_ctrl_c
    from fauxface.threads import available_cores
    from fauxface_train.extraction import CropRule
    from fauxface_train.prepare import prepare as run

    if faces == "whole" and (locator or bundle):
        raise DataError("whole pictures are taken without a locator; drop --locator and --bundle")
    if faces == "whole" and margin is not None:
        raise DataError("whole pictures are taken as they are; drop --margin")
    if locator and bundle:
        raise DataError("two locators were given; choose --locator or --bundle")
    margin = 1.0 if margin is None else margin
    rule = CropRule(margin=margin, whole=faces == "whole", min_face=min_face, tolerant=tolerate_truncated)
    found_by = None if rule.whole else _locator(locator, bundle)
    try:
        with ended_as_by_ctrl_c():
            summary = run(
                sources,
                out,
                crop_rule=rule,
                split_rule=_split_rule(split, seed),
                locator=found_by,
                workers=workers or available_cores(),
            )
    except KeyboardInterrupt:
        typer.echo(
            f"interrupted; the same command goes on from here, since {out} keeps what is done", err=True
        )
        raise typer.Exit(_INTERRUPTED) from None
    _print_summary(summary)


def show(
    data: Annotated[Path, typer.Argument(help="Folder written by `fauxface data prepare`.")],
    out: Annotated[Path, typer.Argument(help="Picture to write, for example samples.png.")],
    columns: Annotated[int, typer.Option(min=1, max=40, help="Pictures per row.")] = 10,
    split: Annotated[Literal["train", "val", "test"] | None, typer.Option(help="Only this split.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed shows other pictures.")] = 0,
) -> None:
    """Write a grid of samples, one row for each split, label and source."""
    from fauxface import images
    from fauxface_train.dataset import PreparedData
    from fauxface_train.show import sample_grid

    images.write(out, sample_grid(PreparedData.load(data), columns=columns, split=split, seed=seed))
    typer.echo(f"wrote {out}")


def audit(  # noqa: PLR0917 - Typer passes options by name
    data: Annotated[Path, typer.Argument(help="Folder written by `fauxface data prepare`.")],
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Prepared data whose train pictures join those of DATA, as you give it to `fauxface train`; "
            "may be repeated.",
        ),
    ] = None,
    originals: Annotated[
        bool, typer.Option(help="Read the original files too, where they are still there.")
    ] = True,
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("audit"),
    fail_above: Annotated[
        float | None,
        typer.Option(
            min=0.5,
            max=1.0,
            help="Exit with an error if any nuisance alone tells the labels apart after the training "
            "transform with a higher AUROC, for example 0.6.",
        ),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test", "all"], typer.Option(help="Which split to look at.")
    ] = "all",
    samples: Annotated[
        int, typer.Option(min=40, help="Pictures to look at, at most; balanced over labels and sources.")
    ] = 3000,
    strength: Annotated[
        float | None,
        typer.Option(
            min=0, help="Factor on the transform's degradations, as you give it to `fauxface train`."
        ),
    ] = None,
    framing: Annotated[
        float | None,
        typer.Option(
            min=0, max=1, help="Share of the transform's framing, as you give it to `fauxface train`."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Leave out sources, as you give them to `fauxface train`; may be repeated.",
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Another seed looks at other pictures.")
    ] = 0,
) -> None:
    """Measure how well size, codec, sharpness, colour, framing alone tell the labels apart; write a report.

    audit.json, audit.md and plots; none of them shows or names a picture.
    """
    from fauxface.cli import require_extra

    require_extra("train", "sklearn", "scipy", "matplotlib")
    from fauxface.files import usable_folder
    from fauxface_train.audit import run
    from fauxface_train.dataset import PreparedData

    prepared = PreparedData.load(data)
    folder = usable_folder(out)
    document = run.audit(
        prepared,
        split=split,
        added=add or (),
        count=samples,
        originals=originals,
        strength=strength,
        framing=framing,
        exclude=exclude or (),
        seed=seed,
        limit=fail_above,
    )
    page = run.write(document, folder)[-1]
    for line in run.summary(document):
        typer.echo(line)
    typer.echo(f"report: {page}")
    run.require(document, page)


def reconstruct(
    data: Annotated[Path, typer.Argument(help="Folder written by `fauxface data prepare`.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, for `fauxface train --add`.")],
    count: Annotated[int, typer.Option(min=1, help="Pictures from each of the four decoders.")] = 1000,
    steps: Annotated[int, typer.Option(min=1, help="Batches that each decoder is trained on.")] = 250,
    seed: Annotated[int, typer.Option(min=0, max=2**62, help="Seed of weights and pictures.")] = 0,
) -> None:
    """Make generated training faces from the bona fide ones: small decoders rebuild them.

    Fake and real then show the same people, so that only the decoder's traces tell them apart. An interrupted
    run goes on with the decoders that are trained.
    """
    from fauxface.cli import require_extra

    require_extra("train", "torch", "torchvision", "safetensors")
    from fauxface_train.dataset import PreparedData
    from fauxface_train.reconstruct.run import Plan
    from fauxface_train.reconstruct.run import reconstruct as run

    typer.echo(run(PreparedData.load(data), out, Plan(count, steps, seed)))


def _locator(file: Path | None, bundle: Path | None) -> "LocatorFile":
    """Return the locator that was asked for: a file, a bundle's, or the shipped one."""
    from fauxface.bundle import Bundle
    from fauxface.errors import BundleError
    from fauxface_train.jobs import LocatorFile

    if file is not None:
        try:
            return LocatorFile(file.read_bytes())
        except OSError as error:
            raise BundleError(
                f"can't read the locator {file}: {error.strerror or error}; check the path"
            ) from error
    return LocatorFile.of(Bundle.load(bundle))


def _split_rule(text: str, seed: int) -> "SplitRule":
    from fauxface.errors import DataError
    from fauxface_train.prepare import SplitRule

    try:
        shares = [float(part) for part in text.split("/")]
        total = sum(shares)
        train, val, test = (share / total for share in shares)
    except (ValueError, ZeroDivisionError) as error:
        raise DataError(f"{text!r} is no split; write three shares, for example 80/10/10") from error
    return SplitRule(train, val, test, seed)


def _print_summary(summary: "Summary") -> None:
    counts = summary.report["counts"]
    if summary.unchanged:
        typer.echo(f"{summary.out} is up to date: {counts['kept']} crops of {counts['found']} pictures")
        return
    for line in summary.report["layouts"]:
        typer.echo(line)
    if summary.resumed:
        typer.echo(f"{summary.resumed} pictures had been done before")
    names = (
        "found",
        "kept",
        "duplicates",
        "near_duplicates",
        "conflicts",
        "no_face",
        "too_small",
        "unreadable",
    )
    heads = ("found", "kept", "copies", "near", "conflict", "no face", "small", "unreadable")
    typer.echo(f"{'split':6}{'label':6}{'source':28}" + "".join(f"{head:>11}" for head in heads))
    for row in summary.report["groups"]:
        numbers = "".join(f"{row[name]:>11}" for name in names)
        typer.echo(f"{row['split']:6}{row['label']:6}{row['source'][:27]:28}{numbers}")
    typer.echo(f"{'all':40}" + "".join(f"{counts[name]:>11}" for name in names))
    if ignored := summary.report["ignored_files"]:
        typer.echo(f"not read: {others(ignored)}")
    if missing := [label for label in ("real", "fake") if not _kept(summary, label)]:
        typer.echo(f"no {missing[0]} picture was kept: fit for evaluation, not for training")
    typer.echo(f"wrote {summary.out}; report.json names every picture that was left out")


def others(ignored: dict[str, int]) -> str:
    """Say how many files aren't pictures that can be read, by suffix."""
    return ", ".join(
        f"{count} {suffix}" for suffix, count in sorted(ignored.items(), key=lambda each: -each[1])
    )


def _kept(summary: "Summary", label: str) -> int:
    return sum(row["kept"] for row in summary.report["groups"] if row["label"] == label)
