"""The generator: a structure encoder S reads a body's guidance map, a decoder G paints part appearances onto it.

Letters: B images, H x W pixels, P stripes, C channels of a part, K channels of the structure at H/4 x W/4.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_core.models.identity import FeatureMaps, PaintedFrom, painted_maps, part_appearance
from reid_core.models.speed import reduced, widened

StructureNorm = Literal["none", "instance"]


class StructureEncoder(nn.Module):
    """S: convolutions down to a quarter of the size, residual blocks, an atrous pyramid (section 3.3 of the paper).

    Instance norm erases how much of the map is body, and with it the silhouette, when the network is narrow: it can
    be left out.
    """

    def __init__(self, channels: int = 128, *, num_blocks: int = 4, norm: StructureNorm = "instance") -> None:
        super().__init__()
        self.computes_in: torch.dtype | None = None
        quarter, half = max(channels // 4, 8), max(channels // 2, 8)
        self.stem = nn.Sequential(
            nn.Conv2d(1, quarter, 7, padding=3),
            _norm(norm, quarter),
            nn.ReLU(),
            nn.Conv2d(quarter, half, 4, stride=2, padding=1),
            _norm(norm, half),
            nn.ReLU(),
            nn.Conv2d(half, channels, 4, stride=2, padding=1),
            _norm(norm, channels),
            nn.ReLU(),
        )
        self.blocks = nn.Sequential(*[_ResidualBlock(channels, norm) for _ in range(num_blocks)])
        self.pyramid = nn.ModuleList(
            [nn.Conv2d(channels, half, 3, padding=dilation, dilation=dilation) for dilation in (1, 2, 4)]
        )
        self.fuse = nn.Conv2d(channels + 3 * half, channels, 1)

    def forward(self, guidance: Tensor) -> Tensor:
        """Read guidance maps.

        Args:
            guidance: In [-1, 1], shape (B, 1, H, W), both sides multiples of 4.

        Returns:
            Structure, shape (B, K, H/4, W/4).
        """
        with reduced(self.computes_in, guidance.device):
            x = self.blocks(self.stem(guidance))
            x = self.fuse(torch.cat([x, *[F.relu(scale(x)) for scale in self.pyramid]], dim=1))
        return widened(x)


class Decoder(nn.Module):
    """G: block p is modulated by part p (AdaIN), then two upsamplings to the full size.

    What all people's features have in common is by far their largest part; ``calibrate`` takes it away, so that the
    modulation sees what differs between people from the first iteration on.
    """

    part_mean: Tensor
    part_scale: Tensor

    def __init__(self, channels: int = 128, *, part_dim: int = 2048, num_parts: int = 4, hidden: int = 256) -> None:
        super().__init__()
        half, quarter = max(channels // 2, 8), max(channels // 4, 8)
        self.computes_in: torch.dtype | None = None
        self.num_parts = num_parts
        self.register_buffer("part_mean", torch.zeros(num_parts, part_dim))
        self.register_buffer("part_scale", torch.ones(num_parts, part_dim))
        # Part features differ in scale by orders of magnitude between encoders; without the LayerNorm losses explode.
        self.modulation = nn.ModuleList(
            [
                nn.Sequential(
                    nn.LayerNorm(part_dim), nn.Linear(part_dim, hidden), nn.ReLU(), nn.Linear(hidden, 4 * channels)
                )
                for _ in range(num_parts)
            ]
        )
        self.blocks = nn.ModuleList([_ModulatedBlock(channels) for _ in range(num_parts)])
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(channels, half, 3, padding=1),
            nn.GroupNorm(1, half),
            nn.ReLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(half, quarter, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(quarter, 3, 5, padding=2),
        )

    def forward(self, structure: Tensor, part_features: Tensor) -> Tensor:
        """Paint parts onto a structure.

        Args:
            structure: Shape (B, K, H/4, W/4).
            part_features: Shape (B, P, C).

        Returns:
            Images within [-1.1, 1.1] (a little beyond the range, so that black and white are reachable),
            shape (B, 3, H, W).
        """
        assert part_features.shape[1] == self.num_parts, (part_features.shape, self.num_parts)
        x = structure
        part_features = (part_features - self.part_mean) / self.part_scale
        with reduced(self.computes_in, structure.device):
            for part, (modulation, block) in enumerate(zip(self.modulation, self.blocks, strict=True)):
                x = block(x, modulation(part_features[:, part]))
            x = self.up(x)
        return 1.1 * torch.tanh(widened(x))

    @torch.no_grad()
    def calibrate(self, part_features: Tensor) -> None:
        """Take mean and deviation of part appearances from a sample of images.

        Args:
            part_features: Shape (B, P, C), B at least 2.
        """
        self.part_mean.copy_(part_features.mean(dim=0))
        deviation = part_features.std(dim=0)
        self.part_scale.copy_(deviation.clamp_min(1e-3 * float(deviation.max()) + 1e-6))


class Generator(nn.Module):
    """S and G together.

    Attributes:
        settings: Keyword arguments that build the same network again.
    """

    def __init__(
        self,
        channels: int = 128,
        *,
        part_dim: int = 2048,
        num_parts: int = 4,
        num_blocks: int = 4,
        norm: StructureNorm = "instance",
        painted_from: PaintedFrom = "last",
    ) -> None:
        super().__init__()
        self.settings = {
            "channels": channels,
            "part_dim": part_dim,
            "num_parts": num_parts,
            "num_blocks": num_blocks,
            "norm": norm,
            "painted_from": painted_from,
        }
        self.painted_from = painted_from
        self.num_parts = num_parts
        self.structure = StructureEncoder(channels, num_blocks=num_blocks, norm=norm)
        self.decoder = Decoder(channels, part_dim=part_dim, num_parts=num_parts)

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        return [self.structure, self.decoder]

    def appearance(self, maps: FeatureMaps) -> Tensor:
        """Return A(x), which the decoder paints from: stripes of the encoder's maps of images x; shape (B, P, C)."""
        chosen = painted_maps(maps, self.painted_from)
        return torch.cat([part_appearance(feature_map, self.num_parts) for feature_map in chosen], dim=2)

    def forward(self, guidance: Tensor, part_features: Tensor) -> Tensor:
        """Generate images from guidance (B, 1, H, W) and part appearance (B, P, C); shape (B, 3, H, W)."""
        return self.decoder(self.structure(guidance), part_features)  # type: ignore[no-any-return]


def adaptive_instance_norm(content: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Replace every channel's mean and deviation.

    Args:
        content: Shape (B, K, h, w).
        scale: Deviation less 1 of every channel, shape (B, K).
        shift: Mean of every channel, shape (B, K).

    Returns:
        Shape (B, K, h, w).
    """
    return F.instance_norm(widened(content)) * (1 + scale[:, :, None, None]) + shift[:, :, None, None]


class _ResidualBlock(nn.Module):
    def __init__(self, channels: int, norm: StructureNorm) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            _norm(norm, channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            _norm(norm, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class _ModulatedBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        scale_1, shift_1, scale_2, shift_2 = modulation.chunk(4, dim=1)
        y = F.relu(adaptive_instance_norm(self.first(x), scale_1, shift_1))
        return x + adaptive_instance_norm(self.second(y), scale_2, shift_2)


def _norm(norm: StructureNorm, channels: int) -> nn.Module:
    return nn.InstanceNorm2d(channels) if norm == "instance" else nn.Identity()
