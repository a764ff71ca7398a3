"""Training of the demo's generator: first regression from principal components, then an adversary.

The latents of the training pictures are their whitened principal components, which are unit normal like the
latents that faces are drawn from. Regression alone gives blurred faces within minutes; the adversary sharpens
them.
"""

import copy
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from fauxface.errors import CheckpointError, DataError
from fauxface.files import atomic_write, usable_folder
from fauxface.progress import Progress
from fauxface_train.checkpoint import writing
from fauxface_train.generator.net import LATENT, SIZE, Discriminator, Generator
from fauxface_train.provenance import machine, versions

_SAVE_EVERY_S = 120.0


@dataclass(frozen=True)
class GeneratorConfig:
    """Settings of a generator run.

    Attributes:
        steps: Batches in all.
        warm: Batches of regression before the adversary joins.
        batch: Pictures per batch; half of an adversarial batch is drawn, half is regressed.
        warm_lr: Learning rate of the regression.
        lr: Learning rate of both networks from then on.
        keep: Weight of the regression beside the adversary.
        average: Decay of the averaged weights per step.
        seed: Seed of weights, batches and latents.
    """

    steps: int = 1800
    warm: int = 1200
    batch: int = 8
    warm_lr: float = 1e-3
    lr: float = 2e-4
    keep: float = 4.0
    average: float = 0.995
    seed: int = 0


def principal_codes(pictures: np.ndarray) -> np.ndarray:
    """Return a latent for each picture: its first whitened principal components at 32 px.

    Args:
        pictures: uint8 [N, 128, 128, 3], RGB.

    Returns:
        float32 [N, 128] of zero mean; where N is too small for 128 components, the rest is zero.
    """
    import cv2
    from sklearn.decomposition import PCA

    small = [cv2.resize(picture, (32, 32), interpolation=cv2.INTER_AREA).ravel() for picture in pictures]
    values = np.asarray(small, np.float32) / 255
    count = min(LATENT, len(values) - 1)
    found = PCA(count, whiten=True, svd_solver="randomized", random_state=0).fit_transform(values)
    return np.pad(found, ((0, 0), (0, LATENT - count))).astype(np.float32)


def augment(picture: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    """Shift, cut and recolour a batch differentiably.

    After Zhao et al., "Differentiable Augmentation for Data-Efficient GAN Training" (NeurIPS 2020).

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


def _distance(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of the pixels and of their steps to the right and down."""
    loss = F.l1_loss(made, truth)
    for axis in (2, 3):
        loss = loss + F.l1_loss(made.diff(dim=axis), truth.diff(dim=axis))
    return loss


class Duel:
    """A generator and a discriminator under training.

    Args:
        pictures: uint8 [N, 128, 128, 3], RGB: the faces to imitate.
        config: Settings.
    """

    def __init__(self, pictures: np.ndarray, config: GeneratorConfig) -> None:
        torch.manual_seed(config.seed)
        self.config, self.done = config, 0
        self.pictures = hashlib.sha256(pictures.tobytes()).hexdigest()
        self.real = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        self.codes = torch.from_numpy(principal_codes(pictures))
        self.draw = torch.Generator().manual_seed(config.seed)
        self.generator = Generator()
        self.discriminator = Discriminator()
        for network in (self.generator, self.discriminator):
            network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.average = copy.deepcopy(self.generator)
        self.optimizers = [
            torch.optim.Adam(network.parameters(), config.lr, betas=(0.5, 0.999))
            for network in (self.generator, self.discriminator)
        ]

    def step(self) -> str:
        """Train on one batch; return the losses as text."""
        pick = torch.randint(0, len(self.real), (self.config.batch,), generator=self.draw)
        truth = self.real[pick].float() / 127.5 - 1
        shown = self._regress(pick, truth) if self.done < self.config.warm else self._duel(pick, truth)
        with torch.no_grad():
            for mean, live in zip(self.average.parameters(), self.generator.parameters(), strict=True):
                mean.lerp_(live, 1 - self.config.average)
            for mean, live in zip(self.average.buffers(), self.generator.buffers(), strict=True):
                mean.copy_(live)
        self.done += 1
        return shown

    def _regress(self, pick: torch.Tensor, truth: torch.Tensor) -> str:
        with torch.autocast("cpu", torch.bfloat16):
            made = self.generator(self.codes[pick])
        loss = _distance(made.float(), truth)
        self._optimise(0, loss, self.config.warm_lr)
        return f"distance {loss.item():.3f}"

    def _duel(self, pick: torch.Tensor, truth: torch.Tensor) -> str:
        half = len(pick) // 2
        drawn = torch.randn(len(pick) - half, LATENT, generator=self.draw)
        with torch.autocast("cpu", torch.bfloat16):
            made = self.generator(torch.cat([self.codes[pick[:half]], drawn]))
            shown = augment(truth, self.draw)
            score_real, features = self.discriminator(shown)
            score_made, _ = self.discriminator(augment(made.detach().float(), self.draw))
            rebuilt = self.discriminator.rebuild(features)
        rebuild = F.l1_loss(rebuilt.float(), F.avg_pool2d(shown, 4))
        loss_d = F.relu(1 - score_real.float()).mean() + F.relu(1 + score_made.float()).mean() + rebuild
        self._optimise(1, loss_d, self.config.lr)
        with torch.autocast("cpu", torch.bfloat16):
            score = self.discriminator(augment(made.float(), self.draw))[0]
        distance = _distance(made[:half].float(), truth[:half])
        self._optimise(0, self.config.keep * distance - score.float().mean(), self.config.lr)
        return f"distance {distance.item():.3f}, discriminator {loss_d.item():.2f}"

    def _optimise(self, which: int, loss: torch.Tensor, lr: float) -> None:
        self.optimizers[which].param_groups[0]["lr"] = lr
        self.optimizers[which].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[which].step()

    def save(self, path: Path) -> None:
        """Write all that a continued run needs."""
        state = {
            "config": asdict(self.config),
            "pictures": self.pictures,
            "done": self.done,
            "draw": self.draw.get_state(),
            "torch": torch.get_rng_state(),
            "networks": [part.state_dict() for part in self._networks()],
            "optimizers": [part.state_dict() for part in self.optimizers],
        }
        with writing(path) as temporary:
            torch.save(state, temporary)

    def load(self, path: Path) -> None:
        """Take over what `save` wrote.

        Raises:
            CheckpointError: It can't be read.
            DataError: It has other settings or pictures.
        """
        try:
            state = torch.load(path, weights_only=True)
            config, pictures = state["config"], state["pictures"]
        except Exception as error:
            raise CheckpointError(f"{path} can't be read; delete it and start again") from error
        if config != asdict(self.config):
            raise DataError(f"{path.parent} holds a run of other settings; choose another folder")
        if pictures != self.pictures:
            raise DataError(f"{path.parent} holds a run of other pictures; choose another folder")
        self.done = state["done"]
        self.draw.set_state(state["draw"])
        torch.set_rng_state(state["torch"])
        for part, values in zip(self._networks(), state["networks"], strict=True):
            part.load_state_dict(values)
        for part, values in zip(self.optimizers, state["optimizers"], strict=True):
            part.load_state_dict(values)

    def _networks(self) -> tuple[nn.Module, ...]:
        return self.generator, self.discriminator, self.average


def train(pictures: np.ndarray, out: Path, config: GeneratorConfig) -> Path:
    """Train a generator; an interrupted run continues from its last checkpoint.

    Args:
        pictures: uint8 [N, 128, 128, 3], RGB.
        out: Folder for generator.pt, the checkpoint and sample grids.
        config: Settings; a checkpoint of other settings or pictures is refused.

    Returns:
        Path of the averaged generator's weights.

    Raises:
        DataError: Fewer pictures than a batch, or `out` holds a run of other settings or pictures.
        OutputError: `out` can't be written.
    """
    usable_folder(out)
    if len(pictures) < config.batch:
        raise DataError(f"{len(pictures)} pictures are fewer than a batch of {config.batch}; give more")
    duel = Duel(pictures, config)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        duel.load(checkpoint)
    fixed = torch.randn(32, LATENT, generator=torch.Generator().manual_seed(1))
    saved = time.monotonic()
    with Progress(config.steps - duel.done, "generator", "steps") as progress:
        while duel.done < config.steps:
            progress.advance(note=duel.step())
            if duel.done == config.steps or time.monotonic() - saved > _SAVE_EVERY_S:
                saved = time.monotonic()
                duel.save(checkpoint)
                write_grid(sample(duel.average, fixed), out / f"samples_{duel.done:06d}.png")
    with writing(out / "generator.pt") as temporary:
        torch.save(duel.average.state_dict(), temporary)
    with atomic_write(out / "generator.json") as temporary:
        facts = {
            "config": asdict(config),
            "pictures": len(pictures),
            "versions": versions(),
            "machine": machine(),
        }
        temporary.write_text(json.dumps(facts, indent=1) + "\n")
    return out / "generator.pt"


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
