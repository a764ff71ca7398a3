"""The command `fauxface evaluate`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from fauxface.cli import require_extra


def register(app: typer.Typer) -> None:
    """Add `fauxface evaluate`."""

    @app.command()
    def evaluate(
        model: Annotated[
            Path,
            typer.Argument(
                metavar="CHECKPOINT|BUNDLE|MODEL",
                help="A training run's folder, a .safetensors checkpoint, a bundle's folder, or an .onnx, "
                ".pt or .pt2 file (which takes its operating point from the bundle.json beside it).",
            ),
        ],
        data: Annotated[
            Path, typer.Argument(metavar="DATA", help="The folder that `fauxface data prepare` wrote.")
        ],
        *,
        split: Annotated[str, typer.Option(help="train, val, test or all.")] = "test",
        out: Annotated[
            Path | None, typer.Option(help="Folder for the report; `evaluation-SPLIT` when not given.")
        ] = None,
        provider: Annotated[str, typer.Option(help="cpu, cuda, tensorrt, openvino or auto.")] = "auto",
        conditions: Annotated[
            str,
            typer.Option(
                help="Degradations to measure under: none, quick (JPEG, half size, both), all, or names "
                "with commas."
            ),
        ] = "quick",
        pairs: Annotated[
            list[str] | None,
            typer.Option(
                metavar="NAME=REAL,...:FAKE,...",
                help="Name the worst pair of these sources, such as 'sharp=ffhq*:sg*'; may be repeated.",
            ),
        ] = None,
        trained_on: Annotated[
            list[Path] | None,
            typer.Option(
                metavar="PREPARED",
                help="Prepared data of the pictures that the model was trained on: count how many of DATA's "
                "are among them; may be repeated.",
            ),
        ] = None,
        precision: Annotated[
            str, typer.Option(help="Of a bundle: auto, fp32, fp16 or int8; auto takes what a scan takes.")
        ] = "auto",
        batch: Annotated[int, typer.Option(min=1, help="Pictures per call.")] = 64,
    ) -> None:
        """Measure a model on prepared data: metrics.json, report.md, report.html, scores.csv and plots.

        predictions.png, mistakes.png and report.html show pictures of DATA; the other files don't.
        """
        require_extra("train", "torch", "torchvision", "safetensors", "sklearn", "scipy", "matplotlib")
        from fauxface.files import usable_folder
        from fauxface_train.conditions import select as chosen
        from fauxface_train.dataset import PreparedData
        from fauxface_train.evaluate import evaluate as run
        from fauxface_train.evaluate import select, write
        from fauxface_train.matched import Subset
        from fauxface_train.report import show
        from fauxface_train.scorers import open_scorer

        grid, subsets = chosen(conditions), [Subset.parse(text) for text in pairs or ()]
        prepared = PreparedData.load(data)
        select(prepared, split)
        seen = [PreparedData.load(folder) for folder in trained_on or ()]
        folder = usable_folder(out or f"evaluation-{split}")
        scorer = open_scorer(model, provider, precision)
        if not scorer.point.shipped:
            sys.stderr.write(
                f"note: {model} has no operating point of its own; temperature 1, threshold 0.5\n"
            )
        result = run(scorer, prepared, split, conditions=grid, subsets=subsets, seen=seen, batch=batch)
        write(result, scorer, prepared, folder)
        overall, worst = result.document["overall"], result.document["worst"]
        degraded = result.document["robustness"]["worst"]
        for name, value in (
            ("AUROC", overall["auroc"]),
            ("EER", overall["eer"]),
            ("APCER", overall["apcer"]),
            ("BPCER", overall["bpcer"]),
            ("highest APCER", worst["apcer"]),
            ("highest BPCER", worst["bpcer"]),
            ("unsure", overall["unsure"]),
            ("ECE", overall["ece"]),
            *((("AUROC lost", degraded["auroc_loss"]), ("flipped", degraded["flipped"])) if grid else ()),
        ):
            where = "".join(f"  {value[key]}" for key in ("source", "condition") if key in value)
            found = show(value) if value["value"] is not None else f"not measured: {value['reason']}"
            typer.echo(f"{name:<14} {found}{where}")
        for part in result.document["pairs"].get("subsets", ()):
            lowest = part["worst"]
            typer.echo(f"{part['name']}: AUROC {show(lowest)}  {lowest['real']} against {lowest['fake']}")
        typer.echo(f"report: {folder / 'report.html'}")
