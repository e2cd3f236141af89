"""The discriminator: one small fully convolutional network on each of three image scales.

Letters: B images, H x W pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.models.speed import reduced, widened


class Discriminator(nn.Module):
    """Dis of the paper: real or generated, judged patch by patch at full, half and quarter size.

    Attributes:
        settings: Keyword arguments that build the same network again.
    """

    def __init__(self, channels: int = 64, *, num_scales: int = 3, num_layers: int = 3) -> None:
        super().__init__()
        self.computes_in: torch.dtype | None = None
        self.settings = {"channels": channels, "num_scales": num_scales, "num_layers": num_layers}
        self.num_layers = num_layers
        self.scales = nn.ModuleList([_patch_network(channels, num_layers) for _ in range(num_scales)])

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Score images.

        Args:
            images: Shape (B, 3, H, W).

        Returns:
            One score map a scale that is large enough for the layers, the largest first, each of shape (B, 1, h, w).
        """
        with reduced(self.computes_in, images.device):
            scores = self.exact(images)
        return tuple(widened(score) for score in scores)

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile: all of it but ``exact``."""
        return [self]

    def exact(self, images: Tensor) -> tuple[Tensor, ...]:
        """Score images as ``forward`` does, in the weights' precision and never compiled.

        R1 differentiates this pass twice: compiled code cannot be, and second derivatives suffer most from few bits.
        """
        scores = []
        for index, network in enumerate(self.scales):
            if index:
                images = F.avg_pool2d(images, 2)
                if min(images.shape[2:]) < 2**self.num_layers:
                    break  # a thumbnail has fewer scales
            scores.append(network(images))
        return tuple(scores)


def _patch_network(channels: int, num_layers: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    width_in = 3
    for index in range(num_layers):
        width_out = channels * min(2**index, 8)
        layers += [nn.Conv2d(width_in, width_out, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        width_in = width_out
    return nn.Sequential(*layers, nn.Conv2d(width_in, 1, 1))
