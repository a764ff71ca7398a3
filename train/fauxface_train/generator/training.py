"""Adversarial training of the demo's generator: hinge loss, differentiable augmentation, weight average."""

import copy
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from fauxface.errors import DataError
from fauxface.files import atomic_write
from fauxface.progress import Progress
from torch.nn import functional as F

from fauxface_train.generator.net import LATENT, SIZE, Discriminator, Generator


@dataclass(frozen=True)
class GeneratorConfig:
    """Settings of a generator run."""

    steps: int = 12_000
    batch: int = 8
    lr: float = 2e-4
    average: float = 0.999
    seed: int = 0


def augment(picture: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Shift, cut and recolour a batch differentiably (Zhao et al., "Differentiable Augmentation", NeurIPS 2020).

    Args:
        picture: float [N, 3, S, S] in [-1, 1].
        draw: Source of randomness.

    Returns:
        float [N, 3, S, S].
    """
    n, _, size, _ = picture.shape
    picture = picture + (torch.rand(n, 1, 1, 1, generator=draw) - 0.5) * 0.5
    mean = picture.mean((1, 2, 3), keepdim=True)
    picture = (picture - mean) * (torch.rand(n, 1, 1, 1, generator=draw) * 0.5 + 0.75) + mean
    reach = size // 12
    padded = F.pad(picture, (reach,) * 4, mode="reflect")
    shift = torch.randint(0, 2 * reach + 1, (n, 2), generator=draw)
    picture = torch.stack(
        [padded[i, :, y : y + size, x : x + size] for i, (y, x) in enumerate(shift.tolist())]
    )
    hole = size // 4
    corner = torch.randint(-hole // 2, size - hole // 2, (n, 2), generator=draw)
    axis = torch.arange(size)
    inside_y = (axis >= corner[:, :1]) & (axis < corner[:, :1] + hole)
    inside_x = (axis >= corner[:, 1:]) & (axis < corner[:, 1:] + hole)
    keep = ~(inside_y[:, :, None] & inside_x[:, None, :])
    return picture * keep[:, None]


def train(pictures: np.ndarray, out: Path, config: GeneratorConfig) -> Path:
    """Train a generator; an interrupted run continues from its last checkpoint.

    Args:
        pictures: uint8 [N, 128, 128, 3], RGB.
        out: Folder for generator.pt, the checkpoint and sample grids.
        config: Settings; a checkpoint of other settings is refused.

    Returns:
        Path of the averaged generator's weights.

    Raises:
        DataError: Fewer pictures than a batch, or `out` holds a run of other settings.
    """
    if len(pictures) < config.batch:
        raise DataError(f"{len(pictures)} pictures are fewer than a batch of {config.batch}; give more")
    torch.manual_seed(config.seed)
    draw = torch.Generator().manual_seed(config.seed)
    real = torch.from_numpy(pictures).permute(0, 3, 1, 2)
    layout = torch.channels_last
    generator = Generator().to(memory_format=layout)
    discriminator = Discriminator().to(memory_format=layout)
    average = copy.deepcopy(generator)
    optim_g = torch.optim.Adam(generator.parameters(), config.lr, betas=(0.5, 0.999))
    optim_d = torch.optim.Adam(discriminator.parameters(), config.lr, betas=(0.5, 0.999))
    parts = {"g": generator, "d": discriminator, "average": average, "og": optim_g, "od": optim_d}
    checkpoint, step = out / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["config"] != asdict(config):
            raise DataError(f"{out} holds a run of other settings; choose another folder")
        for name, part in parts.items():
            part.load_state_dict(state[name])
        draw.set_state(state["draw"])
        torch.set_rng_state(state["torch"])
        step = state["step"]
    out.mkdir(parents=True, exist_ok=True)
    fixed = torch.randn(32, LATENT, generator=torch.Generator().manual_seed(1))
    saved = time.monotonic()
    with Progress(config.steps, "generator", "steps") as progress:
        progress.done = step
        while step < config.steps:
            losses = _step(real, generator, discriminator, optim_g, optim_d, draw, config)
            with torch.no_grad():
                for mean, live in zip(average.parameters(), generator.parameters(), strict=True):
                    mean.lerp_(live, 1 - config.average)
                for mean, live in zip(average.buffers(), generator.buffers(), strict=True):
                    mean.copy_(live)
            step += 1
            progress.advance(note=losses if step % 20 == 0 else "")
            if step == config.steps or time.monotonic() - saved > 120:
                saved = time.monotonic()
                state = {name: part.state_dict() for name, part in parts.items()}
                extra = {"draw": draw.get_state(), "torch": torch.get_rng_state(), "config": asdict(config)}
                with atomic_write(checkpoint) as temporary:
                    torch.save({**state, **extra, "step": step}, temporary)
                write_grid(sample(average, fixed), out / f"samples_{step:06d}.png")
    with atomic_write(out / "generator.pt") as temporary:
        torch.save(average.state_dict(), temporary)
    with atomic_write(out / "generator.json") as temporary:
        facts = {"config": asdict(config), "pictures": len(pictures), "torch": torch.__version__}
        temporary.write_text(json.dumps(facts, indent=2) + "\n")
    return out / "generator.pt"


def _step(
    real: torch.Tensor,
    generator: Generator,
    discriminator: Discriminator,
    optim_g: torch.optim.Optimizer,
    optim_d: torch.optim.Optimizer,
    draw: torch.Generator,
    config: GeneratorConfig,
) -> str:
    pick = torch.randint(0, len(real), (config.batch,), generator=draw)
    truth = real[pick].float() / 127.5 - 1
    flip = torch.rand(config.batch, generator=draw) < 0.5
    truth[flip] = truth[flip].flip(-1)
    latent = torch.randn(config.batch, LATENT, generator=draw)
    with torch.autocast("cpu", torch.bfloat16):
        made = generator(latent)
        shown = augment(truth, draw)
        score_real, features = discriminator(shown)
        score_made, _ = discriminator(augment(made.detach().float(), draw))
        rebuilt = discriminator.rebuild(features)
        loss_rebuild = F.l1_loss(rebuilt.float(), F.avg_pool2d(shown, 4))
        loss_d = F.relu(1 - score_real.float()).mean() + F.relu(1 + score_made.float()).mean() + loss_rebuild
    optim_d.zero_grad(set_to_none=True)
    loss_d.backward()
    optim_d.step()
    with torch.autocast("cpu", torch.bfloat16):
        loss_g = -discriminator(augment(made.float(), draw))[0].float().mean()
    optim_g.zero_grad(set_to_none=True)
    loss_g.backward()
    optim_g.step()
    return f"d {loss_d.item():.2f}, g {loss_g.item():.2f}"


@torch.no_grad()
def sample(generator: Generator, latent: torch.Tensor) -> np.ndarray:
    """Return pictures uint8 [N, 128, 128, 3], RGB, for latents float32 [N, 128]."""
    pictures = generator.eval()(latent)
    return ((pictures.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def write_grid(pictures: np.ndarray, path: str | os.PathLike[str], columns: int = 8) -> None:
    """Write pictures uint8 [N, 128, 128, 3], RGB, as one PNG, `columns` to a row."""
    from PIL import Image

    rows = -(-len(pictures) // columns)
    grid = np.zeros((rows * SIZE, columns * SIZE, 3), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = divmod(i, columns)
        grid[y * SIZE : (y + 1) * SIZE, x * SIZE : (x + 1) * SIZE] = picture
    with atomic_write(path) as temporary:
        Image.fromarray(grid).save(temporary)
