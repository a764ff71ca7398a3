"""The `fauxface generator` commands: train the demo's small generator and draw faces from it."""

from pathlib import Path
from typing import Annotated

import typer

from fauxface.cli import require_extra

app = typer.Typer(help="Train and sample the small generator of the demo's faces.", no_args_is_help=True)


def register(parent: typer.Typer) -> None:
    """Add the commands to the command line."""
    parent.add_typer(app, name="generator")


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Argument(help="A prepared data set; its generated training faces are used.")],
    out: Annotated[Path, typer.Option(help="Folder for weights, checkpoint and sample grids.")],
    steps: Annotated[int, typer.Option(min=1, help="Number of batches.")] = 1800,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights and batches.")] = 0,
) -> None:
    """Train a 128 px generator on the generated faces of a data set; an interrupted run continues."""
    require_extra("train", "torch", "torchvision", "safetensors", "sklearn")
    import numpy as np

    from fauxface.crops import to_input
    from fauxface.errors import DataError
    from fauxface_train.dataset import PreparedData, load_stored
    from fauxface_train.generator.training import GeneratorConfig, train

    samples = PreparedData.load(data).samples(split="train", label=1)
    if not samples:
        raise DataError(f"{data} has no generated pictures in its train split; prepare some")
    pictures = np.stack([to_input(load_stored(sample)) for sample in samples])
    typer.echo(train(pictures, out, GeneratorConfig(steps=steps, seed=seed)))


@app.command("sample")
def sample_command(
    weights: Annotated[Path, typer.Argument(help="generator.pt of a run.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    seeds: Annotated[str, typer.Option(help="Comma-separated seeds, one picture each.")] = "0,1,2,3",
    truncation: Annotated[float, typer.Option(min=0.0, max=2.0, help="Scale of the latents.")] = 0.8,
) -> None:
    """Draw faces from a trained generator as PNG, one for each seed."""
    require_extra("train", "torch", "torchvision", "safetensors")
    import torch
    from PIL import Image

    from fauxface.errors import CheckpointError
    from fauxface.files import atomic_write
    from fauxface_train.generator.net import LATENT, Generator
    from fauxface_train.generator.training import sample

    try:
        numbers = [int(seed) for seed in seeds.split(",")]
        latents = torch.stack(
            [torch.randn(LATENT, generator=torch.Generator().manual_seed(n)) for n in numbers]
        )
    except (ValueError, RuntimeError):  # the latter of numbers beyond 64 bits
        raise typer.BadParameter(
            "give whole numbers of at most 64 bits with commas, for example 1,2,3", param_hint="--seeds"
        ) from None
    generator = Generator()
    try:
        generator.load_state_dict(torch.load(weights, weights_only=True))
    except Exception as error:
        raise CheckpointError(
            f"{weights} holds no generator's weights; give generator.pt of a run"
        ) from error
    for number, picture in zip(numbers, sample(generator, latents * truncation), strict=True):
        path = out / f"generated_{number:03d}.png"
        with atomic_write(path) as temporary:
            Image.fromarray(picture).save(temporary)
        typer.echo(path)
