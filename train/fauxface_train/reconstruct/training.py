"""Training of the small autoencoders, and what they make of a face."""

import math
from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from fauxface_train.reconstruct.net import FACTOR, Autoencoder

PATCH = 96
"""Side in pixels of what the autoencoders are trained on."""

_BATCH = 16
_RATE = 4e-3
_WARMUP = 0.1
_BLOCKS_OF = 100
_COARSE, _FINE = 4.0, 1.2
_MOST = 2.0


def distance(made: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return how far reconstructions are from the truth, in sharpness too.

    The mean absolute difference of the pixels and of their steps to the right and down, plus that of the
    local energy of the second differences: without it fine texture is smoothed away, and blur tells the
    labels apart.

    Args:
        made: float [N, 3, H, W].
        truth: float [N, 3, H, W].

    Returns:
        float [].
    """
    loss = F.l1_loss(made, truth)
    for axis in (2, 3):
        loss = loss + F.l1_loss(made.diff(dim=axis), truth.diff(dim=axis))
        energy = [F.avg_pool2d(x.diff(n=2, dim=axis).abs(), 8, 4) for x in (made, truth)]
        loss = loss + 2 * F.l1_loss(energy[0], energy[1])
    return loss


def fit(
    kind: str, pictures: Sequence[np.ndarray], steps: int, seed: int, note: Callable[[str], None]
) -> Autoencoder:
    """Train one autoencoder on patches.

    Args:
        kind: One of `net.KINDS`.
        pictures: uint8 [S, S, 3], RGB, S at least 8.
        steps: Batches of 16 patches of 96 px.
        seed: Seed of weights and patches.
        note: Called after each batch with its loss.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng([seed, 6])
    net = Autoencoder(kind).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    net.set_encoder([to_tensor(_patch(picture, rng)[None]) for picture in pictures[:_BLOCKS_OF]])
    optimizer = torch.optim.AdamW(net.decoder.parameters(), _RATE, weight_decay=1e-3)
    for step in range(steps):
        done = step / steps
        share = done / _WARMUP if done < _WARMUP else (1 + math.cos(math.pi * done)) / 2
        optimizer.param_groups[0]["lr"] = _RATE * max(share, 0.01)
        picked = rng.integers(len(pictures), size=_BATCH)
        truth = to_tensor(np.stack([_patch(pictures[i], rng) for i in picked]))
        loss = distance(net(truth), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        note(f"distance {loss.item():.3f}")
    return net.eval()


@torch.inference_mode()
def rebuilt(net: Autoencoder, picture: np.ndarray) -> np.ndarray:
    """Return the reconstruction of a picture, with the picture's own light, colour and sharpness.

    A small decoder gets these three slightly wrong, and they would tell the labels apart: what is coarser
    than a few pixels is taken from the picture, and fine detail is scaled towards the picture's Laplacian
    variance.

    Args:
        net: A trained autoencoder.
        picture: uint8 [H, W, 3], RGB.

    Returns:
        uint8 [H, W, 3], RGB.
    """
    height, width = picture.shape[:2]
    padded = cv2.copyMakeBorder(
        picture, 8, 8 + -height % FACTOR, 8, 8 + -width % FACTOR, cv2.BORDER_REFLECT_101
    )
    made = net(to_tensor(padded[None]))[0, :, 8 : 8 + height, 8 : 8 + width].permute(1, 2, 0).numpy()
    made = np.ascontiguousarray((made + 1) * 127.5)
    truth = picture.astype(np.float32)
    made += cv2.GaussianBlur(truth - made, (0, 0), _COARSE)
    fine = made - cv2.GaussianBlur(made, (0, 0), _FINE)
    wanted = math.sqrt(_sharpness(truth) / max(_sharpness(made), 1e-6))
    made += fine * (min(wanted, _MOST) - 1)
    return np.clip(np.rint(made), 0, 255).astype(np.uint8)


def _sharpness(picture: np.ndarray) -> float:
    """Return what `fauxface.gates.sharpness` is, of float32 [H, W, 3] RGB, unrounded and of any range."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """Return uint8 [N, H, W, 3] as float32 [N, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _patch(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut a patch at a random place of a picture, mirrored at random; small pictures are enlarged first."""
    side = picture.shape[0]
    if side < PATCH:
        picture, side = cv2.resize(picture, (PATCH, PATCH), interpolation=cv2.INTER_CUBIC), PATCH
    x, y = rng.integers(side - PATCH + 1, size=2)
    patch = picture[y : y + PATCH, x : x + PATCH]
    return patch[:, ::-1] if rng.random() < 0.5 else patch
