"""Small autoencoders that differ in how their decoders enlarge, since that is what leaves traces."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

KINDS = ("nearest", "bilinear", "transposed", "shuffle")
"""How a decoder enlarges: interpolation before a convolution, transposed convolution, pixel shuffle."""

FACTOR, CODE = 4, 12
"""Sides of the picture over the code's, and the code's channels: a quarter of the picture's numbers."""

_WIDTH, _LAST = 32, 16


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.silu(self.first(F.silu(self.norm(x)))))


def _enlarge(kind: str, cin: int, cout: int) -> nn.Module:
    """Return the layers that double the sides."""
    if kind == "transposed":
        return nn.ConvTranspose2d(cin, cout, 4, 2, 1)
    if kind == "shuffle":
        return nn.Sequential(nn.Conv2d(cin, 4 * cout, 3, padding=1), nn.PixelShuffle(2))
    return nn.Sequential(nn.Upsample(scale_factor=2.0, mode=kind), nn.Conv2d(cin, cout, 3, padding=1))


class Autoencoder(nn.Module):
    """Maps pictures float32 [N, 3, H, W] in [-1, 1], RGB, sides multiples of 4, to reconstructions alike.

    The encoder is linear: the principal components of small blocks, so that only the decoder must be learned.

    Args:
        kind: One of `KINDS`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.blocks, self.encoder = nn.PixelUnshuffle(FACTOR), nn.Conv2d(3 * FACTOR**2, CODE, 1)
        self.decoder = nn.Sequential(
            nn.Conv2d(CODE, _WIDTH, 3, padding=1),
            _Residual(_WIDTH),
            _enlarge(kind, _WIDTH, _WIDTH),
            nn.SiLU(),
            _Residual(_WIDTH),
            _enlarge(kind, _WIDTH, _LAST),
            nn.SiLU(),
            nn.Conv2d(_LAST, 3, 3, padding=1),
        )

    def set_encoder(self, pictures: Sequence[torch.Tensor]) -> None:
        """Make the encoder the principal components of the pictures' blocks, nearly of unit variance.

        Args:
            pictures: float32 [1, 3, H, W] in [-1, 1], sides multiples of 4.
        """
        rows = torch.cat([self.blocks(picture)[0].flatten(1).T for picture in pictures])
        mean = rows.mean(0)
        _, spread, axes = torch.linalg.svd(rows - mean, full_matrices=False)
        # Whitened in full, the last components would drown the first ones' light and colour.
        weight = axes[:CODE] / (spread[:CODE, None] / len(rows) ** 0.5).clamp_min(1e-3) ** 0.75
        with torch.no_grad():
            self.encoder.weight.copy_(weight[:, :, None, None])
            self.encoder.bias.copy_(-(weight @ mean))  # pyright: ignore[reportOptionalMemberAccess]
        self.encoder.requires_grad_(False)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction, which may leave [-1, 1] by a little."""
        return self.decoder(self.encoder(self.blocks(picture)))
