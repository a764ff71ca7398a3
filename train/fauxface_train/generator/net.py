"""Generator and discriminator at 128 px, small enough to train on two cores.

After Liu et al., "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot Image Synthesis"
(ICLR 2021): gated linear units, skip-layer excitation in the generator, and a discriminator that must also be
able to reconstruct the real pictures it sees.
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

LATENT = 128
SIZE = 128


def _conv(cin: int, cout: int, kernel: int = 3, stride: int = 1, padding: int = 1) -> nn.Module:
    return spectral_norm(nn.Conv2d(cin, cout, kernel, stride, padding, bias=False))


class _Up(nn.Module):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = _conv(cin, 2 * cout)
        self.norm = nn.BatchNorm2d(2 * cout)
        self.noise = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        if self.training:
            x = x + self.noise * torch.randn_like(x[:, :1])
        return F.glu(self.norm(x), dim=1)


class _Excite(nn.Module):
    """Skip-layer excitation: a small early map gates the channels of a large late one."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(4),
            _conv(cin, cout, 4, 1, 0),
            nn.SiLU(),
            _conv(cout, cout, 1, 1, 0),
            nn.Sigmoid(),
        )

    def forward(self, early: torch.Tensor, late: torch.Tensor) -> torch.Tensor:
        return late * self.gate(early)


class Generator(nn.Module):
    """Maps latents float32 [N, 128] to pictures float32 [N, 3, 128, 128] in [-1, 1], RGB.

    The last step is a pixel shuffle, since convolutions at 128 px would take most of the time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Sequential(
            spectral_norm(nn.ConvTranspose2d(LATENT, 512, 4, 1, 0, bias=False)),
            nn.BatchNorm2d(512),
            nn.GLU(1),
        )
        self.up8, self.up16, self.up32, self.up64 = _Up(256, 192), _Up(192, 96), _Up(96, 64), _Up(64, 32)
        self.excite32, self.excite64 = _Excite(256, 64), _Excite(192, 32)
        self.picture = nn.Sequential(_conv(32, 12), nn.PixelShuffle(2))

    def forward(self, latent: torch.Tensor) -> torch.Tensor:
        """Return pictures for unit-normal latents."""
        x4 = self.start(latent[:, :, None, None])
        x8 = self.up8(x4)
        x32 = self.excite32(x4, self.up32(self.up16(x8)))
        return torch.tanh(self.picture(self.excite64(x8, self.up64(x32))))


class _Down(nn.Module):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _conv(cin, cout, 4, 2, 1),
            nn.BatchNorm2d(cout),
            nn.LeakyReLU(0.2),
            _conv(cout, cout),
            nn.BatchNorm2d(cout),
            nn.LeakyReLU(0.2),
        )
        self.direct = nn.Sequential(
            nn.AvgPool2d(2), _conv(cin, cout, 1, 1, 0), nn.BatchNorm2d(cout), nn.LeakyReLU(0.2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.main(x) + self.direct(x)) / 2


class Discriminator(nn.Module):
    """Scores pictures float32 [N, 3, 128, 128] in [-1, 1]; `rebuild` makes them at 32 px from its 8x8 map."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, 24, 4, 2, 1),
            nn.LeakyReLU(0.2),
            _conv(24, 48, 4, 2, 1),
            nn.BatchNorm2d(48),
            nn.LeakyReLU(0.2),
        )
        self.down = nn.Sequential(_Down(48, 96), _Down(96, 192))
        self.score = nn.Sequential(
            _conv(192, 192, 1, 1, 0), nn.BatchNorm2d(192), nn.LeakyReLU(0.2), _conv(192, 1, 4, 1, 0)
        )
        self.rebuild = nn.Sequential(_Up(192, 64), _Up(64, 32), _conv(32, 3))

    def forward(self, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scores [N, 1, 5, 5] and the features [N, 192, 8, 8] that `rebuild` takes."""
        features = self.down(self.stem(picture))
        return self.score(features), features
