"""Pictures of which a part is another picture's, and a loss that asks each place what lies there."""

import numpy as np
import torch
from torch.nn import functional as F

_AREA = (0.1, 0.5)
_ASPECT = 2.0


def paste(
    crops: torch.Tensor, labels: torch.Tensor, share: float, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Paste a rectangle of another picture of the batch into some pictures, at the same place.

    That is CutMix (Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers", 2019), with
    rectangles of a tenth to half of the picture.

    Args:
        crops: uint8 [B, S, S, 3]; a single one stays as it is.
        labels: int64 [B], 0 or 1.
        share: Share of the pictures that get a rectangle, in [0, 1].
        rng: Source of chance.

    Returns:
        The pictures as a new tensor, and float32 [B, S, S]: 1 where a pixel is a generated picture's, else 0.
    """
    count, side = crops.shape[:2]
    mixed = crops.clone()
    generated = labels.to(torch.float32)
    shown = generated.view(-1, 1, 1).repeat(1, side, side)
    for index in rng.permutation(count)[: round(share * count) if count > 1 else 0]:
        other = (index + rng.integers(1, count)) % count
        area, aspect = rng.uniform(*_AREA), _ASPECT ** rng.uniform(-1, 1)
        height, width = (
            min(side, max(1, round(side * float(np.sqrt(area * ratio))))) for ratio in (aspect, 1 / aspect)
        )
        y, x = int(rng.integers(0, side - height + 1)), int(rng.integers(0, side - width + 1))
        part = (slice(y, y + height), slice(x, x + width))
        mixed[index][part] = crops[other][part]
        shown[index][part] = generated[other]  # never read back, which a GPU would wait for
    return mixed, shown


def loss(cells: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    """Return the mean of two cross-entropies: of the whole pictures, and of their cells.

    Args:
        cells: Logits of each cell, float32 [B, H, W, 2]; their mean is the picture's.
        generated: Which pixels are generated, float32 [B, S, S]; their mean in a cell is its target.

    Returns:
        A scalar in nats.
    """
    generated = F.adaptive_avg_pool2d(generated, (cells.shape[1], cells.shape[2]))
    whole = _cross_entropy(cells.mean((1, 2)), generated.mean((1, 2)))
    return (whole + _cross_entropy(cells, generated)) / 2


def _cross_entropy(scores: torch.Tensor, generated: torch.Tensor) -> torch.Tensor:
    shares = torch.stack([1 - generated, generated], -1)
    return F.cross_entropy(scores.flatten(0, -2), shares.flatten(0, -2))
