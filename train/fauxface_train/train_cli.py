"""The `fauxface train` command."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fauxface.cli import require_extra
from fauxface.errors import CheckpointError, DataError


def register(app: typer.Typer) -> None:
    """Add the `train` command."""
    app.command("train")(train)


def train(
    data: Annotated[Path, typer.Argument(help="Folder written by `fauxface data prepare`.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the run: checkpoints, logs, curves.")],
    preset: Annotated[str | None, typer.Option(help="Recipe: robust or article.  [default: robust]")] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="Initial weights: imagenet, shipped (the default bundle's), none, the folder of a run or a "
            "bundle, or a .pth, .safetensors or .npz file; imagenet if not given."
        ),
    ] = None,
    add: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FOLDER",
            help="Prepared data whose train pictures join those of DATA, such as the OUT of "
            "`fauxface data reconstruct`; may be repeated.",
        ),
    ] = None,
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL",
            help="Run, checkpoint or bundle whose answers are learned beside the labels, or shipped; may be "
            "repeated, then their mean is.",
        ),
    ] = None,
    taught: Annotated[
        float | None, typer.Option(help="Weight of the teachers' answers; 0.5 if not given.")
    ] = None,
    samples: Annotated[
        int | None, typer.Option(min=1, help="Length of the run in pictures, in whole batches.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Length of the run in passes over train.")] = None,
    validate_every: Annotated[int | None, typer.Option(min=1, help="Pictures between validations.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pictures per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    pretrained_lr: Annotated[
        float | None,
        typer.Option(help="Factor on the learning rate of layers that start from given weights."),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Validation metric that picks the best checkpoint: auroc, accuracy, balanced_accuracy, "
            "loss, worst_source_auroc or degraded_auroc."
        ),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help="Stop after so many validations without a better one; 0: never.")
    ] = None,
    label_smoothing: Annotated[
        float | None, typer.Option(help="Share of the target that is spread over both labels.")
    ] = None,
    bpcer: Annotated[
        float | None,
        typer.Option(
            help="BPCER that the val pictures of no real source may contradict, by which the thresholds "
            "are chosen; 0.01 if not given."
        ),
    ] = None,
    source_weight: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE=FACTOR", help="Draw matching sources more often; may be repeated."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="SOURCE", help="Leave matching sources out of train and val; may be repeated."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Seed of sampling, degradations and the head.")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="Factor on the degradations' probabilities; with 2.5 `robust` has the defaults."),
    ] = None,
    framing: Annotated[
        float | None,
        typer.Option(
            help="Share of the range in which crops are framed and turned; 0: as a scan frames them."
        ),
    ] = None,
    consistency: Annotated[
        float | None,
        typer.Option(help="Weight of the agreement between a clean and a degraded view; twice the time."),
    ] = None,
    matched: Annotated[
        float | None,
        typer.Option(help="Share of a batch's bona fide pictures drawn as sharp as its generated ones."),
    ] = None,
    mixed: Annotated[
        float | None,
        typer.Option(help="Share of a batch's pictures into which a part of another one is pasted."),
    ] = None,
    precision: Annotated[str | None, typer.Option(help="auto, fp32, bf16 or fp16.")] = None,
    compiled: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Try torch.compile.  [default: the preset's]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=0, help="Worker processes that make views.  [default: by the machine]")
    ] = None,
    cache_gb: Annotated[float, typer.Option(min=0, help="Most memory for decoded crops, in GB.")] = 4.0,
    checkpoint_minutes: Annotated[float, typer.Option(min=0, help="Minutes between checkpoints.")] = 3.0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
) -> None:
    """Train the classifier: best and last checkpoints, calibrated on the validation split.

    Ctrl-C stops after the current step and leaves a run that --resume continues.
    """
    require_extra("train", "torch", "torchvision", "sklearn", "safetensors", "matplotlib", "tensorboard")
    from fauxface import heap
    from fauxface.signals import ended_as_by_ctrl_c
    from fauxface_train import presets, run_state, trainer

    heap.keep_freed_memory()
    overrides: dict[str, Any] = {
        "samples": samples,
        "epochs": epochs,
        "validate_every": validate_every,
        "batch": batch,
        "lr": lr,
        "pretrained_lr": pretrained_lr,
        "metric": metric,
        "patience": patience,
        "label_smoothing": label_smoothing,
        "bpcer": bpcer,
        "source_weights": _factors(source_weight) if source_weight else None,
        "exclude": tuple(exclude) if exclude else None,
        "consistency": consistency,
        "matched": matched,
        "mixed": mixed,
        "taught": 0.5 if teacher and taught is None and not resume else taught,
        "seed": seed,
        "precision": precision,
        "compile": compiled,
    }
    recipe = trainer.stored_recipe(out) if resume else presets.preset(preset or "robust")
    if strength is not None or framing is not None:
        degradations = presets.preset(recipe.preset).degradations
        if degradations is None:
            raise DataError(f"the preset {recipe.preset} has no degradations; drop --strength and --framing")
        if strength is not None:
            degradations = degradations.scaled(strength)
        overrides["degradations"] = degradations if framing is None else degradations.framed(framing)
    if resume:
        asked = recipe.changed(preset=preset, **overrides)
        if asked != recipe:
            names = [key for key, value in asked.to_dict().items() if value != recipe.to_dict()[key]]
            name = "strength or framing" if names[0] == "degradations" else names[0]
            raise CheckpointError(f"{out} was started with another {name}; drop it, or start a new run")
    else:
        recipe = recipe.changed(**overrides)
    around = run_state.Surroundings(
        device=device,
        workers=workers,
        cache_bytes=int(min(cache_gb * 1e9, sys.maxsize)),
        checkpoint_seconds=60 * checkpoint_minutes,
        say=lambda line: typer.echo(line, err=True),
    )
    added, teachers = add or [], teacher or []
    joined = [text for folder in added for text in ("--add", str(folder))]
    joined += [text for model in teachers for text in ("--teacher", model)]
    goes_on = shlex.join(["fauxface", "train", str(data), "--out", str(out), *joined, "--resume"])
    try:
        with ended_as_by_ctrl_c():
            outcome = trainer.train(
                data,
                out,
                recipe,
                weights=weights,
                added=added,
                teachers=teachers,
                resume=resume,
                surroundings=around,
            )
    except KeyboardInterrupt:
        kept = (out / run_state.RESUME_FILE).exists()
        how = (
            f"continue from the last checkpoint with: {goes_on}" if kept else "the same command starts again"
        )
        typer.echo(f"interrupted; {how}", err=True)
        raise typer.Exit(130) from None
    if not outcome.finished:
        typer.echo(
            f"stopped at {outcome.samples} of {outcome.planned} pictures; continue with: {goes_on}", err=True
        )
        raise typer.Exit(130)
    typer.echo(
        f"{out / 'best.safetensors'}: " + ", ".join(f"{k} {v:.4f}" for k, v in outcome.metrics.items())
    )


def _factors(texts: list[str]) -> dict[str, float]:
    """Parse SOURCE=FACTOR options."""
    factors = {}
    for text in texts:
        name, separator, value = text.rpartition("=")
        try:
            factors[name] = float(value)
        except ValueError:
            separator = ""
        if not (separator and name):
            raise DataError(f"can't read --source-weight {text!r}; write SOURCE=FACTOR, such as 'phone_*=2'")
    return factors
