"""The classifier: torchvision's ResNet18 with a two-way head, and the module that is exported and scored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torchvision.models import ResNet, resnet18

from fauxface.verdicts import LABELS

ARCHITECTURE = "resnet18"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Channel means of ImageNet, RGB, of pixels in [0, 1], as torchvision publishes them."""
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Channel standard deviations of ImageNet, RGB, of pixels in [0, 1], as torchvision publishes them."""


@contextmanager
def in_full_precision() -> Iterator[None]:
    """Compute in float32 what is float32: cuDNN would round convolutions to the 10 bits of TF32.

    That moves logits further than the parity gate allows, and a scan computes without it.
    """
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def build() -> ResNet:
    """Return a freshly initialised ResNet18 without pretrained weights.

    Returns:
        A network that maps normalised float [N, 3, H, W] in RGB order to logits [N, 2], in order of `LABELS`.
    """
    return resnet18(weights=None, num_classes=len(LABELS))


class Deployed(nn.Module):
    """The network with its normalisation inside: uint8 pictures in, logits out.

    Training, evaluation, tracing and export all run this module, so that none can normalise differently.
    The permuted input already lies in memory as channels_last.

    Args:
        net: Maps normalised float [N, 3, H, W] to logits [N, 2].
        mean: Channel means in RGB order, of pixels in [0, 1].
        std: Channel standard deviations in RGB order, of pixels in [0, 1].
    """

    scale: torch.Tensor
    offset: torch.Tensor

    def __init__(
        self, net: nn.Module, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__()
        self.net = net
        spread = torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", (1 / (255 * spread)).float().view(1, 3, 1, 1))
        self.register_buffer(
            "offset", (-torch.tensor(mean, dtype=torch.float64) / spread).float().view(1, 3, 1, 1)
        )

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        """Score crops.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB.

        Returns:
            float32 logits [N, 2] in the order bona_fide, generated.
        """
        pixels = crops.permute(0, 3, 1, 2).to(torch.float32)
        return self.net(pixels * self.scale + self.offset).to(torch.float32)

    def embed(self, crops: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `forward` does, and the features that the head reads.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB.

        Returns:
            Features [N, F], and float32 logits [N, 2].
        """
        features, pool, head = self._mapped(crops)
        features = pool(features).flatten(1)
        return features, head(features).to(torch.float32)

    def cells(self, crops: torch.Tensor) -> torch.Tensor:
        """Score each cell of the last feature map by itself; the mean of the cells is what `forward` returns.

        Args:
            crops: uint8 [N, 128, 128, 3], RGB.

        Returns:
            float32 logits [N, 4, 4, 2].
        """
        features, _, head = self._mapped(crops)
        return head(features.permute(0, 2, 3, 1)).to(torch.float32)

    def _mapped(self, crops: torch.Tensor) -> tuple[torch.Tensor, nn.Module, nn.Module]:
        """Return the last feature map [N, F, 4, 4], and the two layers after it: pooling and head."""
        values = crops.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.offset
        *body, pool, head = self.net.children()
        for layer in body:
            values = layer(values)
        return values, pool, head
