"""The identity encoder: a backbone with last stride 1, global average pool and batch-norm neck.

Letters: B images, H x W pixels, C channels of a feature map (E and F of earlier ones), h x w its size, D embedding,
P stripes.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from reid_core.errors import UserError
from reid_core.models.efficientnet import EfficientNetLite0
from reid_core.models.speed import reduced, widened

PaintedFrom = Literal["last", "early"]
T = TypeVar("T")


class Backbone(Protocol):
    """What a new encoder has to offer: a module that makes feature maps; ``BACKBONES`` lists those that there are.

    Attributes:
        channels: E, F and C: of the last map at a quarter of the image's size, at an eighth, and of the last one at
            all. None for a map that it does not have: then nothing can be painted from the early maps.
        pixel_mean: Of images in [0, 1] that it was trained on, by colour.
        pixel_std: Their deviation.
    """

    channels: tuple[int | None, int | None, int]
    pixel_mean: tuple[float, float, float]
    pixel_std: tuple[float, float, float]

    def __call__(self, images: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Return the maps of normalised images (B, 3, H, W), in the order of ``channels``."""
        ...

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        ...


class ResNetBackbone(ResNet):  # type: ignore[misc]
    """A ResNet of torchvision, names of weights included, without its classifier and with last stride 1.

    Args:
        block: Kind of its blocks.
        layers: Blocks in each of the four stages.
        groups: Of the convolutions (ResNeXt).
        width_per_group: Width of a group at 64 channels (ResNeXt, Wide ResNet).
    """

    pixel_mean = (0.485, 0.456, 0.406)  # of ImageNet
    pixel_std = (0.229, 0.224, 0.225)

    def __init__(
        self, block: type[BasicBlock | Bottleneck], layers: list[int], *, groups: int = 1, width_per_group: int = 64
    ) -> None:
        super().__init__(block, layers, groups=groups, width_per_group=width_per_group)
        self.channels = (64 * block.expansion, 128 * block.expansion, 512 * block.expansion)
        self.fc = nn.Identity()
        for module in self.layer4.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the last maps at a quarter and an eighth of the size, and the last one, at a 16th."""
        quarter = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(quarter)
        return quarter, eighth, self.layer4(self.layer3(eighth))

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        return [self.layer1, self.layer2, self.layer3, self.layer4]


LITE = "efficientnet_lite0"
BACKBONES: dict[str, Callable[[], Backbone]] = {
    "resnet10": partial(ResNetBackbone, BasicBlock, [1, 1, 1, 1]),  # the one that two CPU cores can train
    LITE: EfficientNetLite0,
    "resnet18": partial(ResNetBackbone, BasicBlock, [2, 2, 2, 2]),
    "resnet34": partial(ResNetBackbone, BasicBlock, [3, 4, 6, 3]),
    "resnet50": partial(ResNetBackbone, Bottleneck, [3, 4, 6, 3]),
    "resnet101": partial(ResNetBackbone, Bottleneck, [3, 4, 23, 3]),
    "resnet152": partial(ResNetBackbone, Bottleneck, [3, 8, 36, 3]),
    "resnext50_32x4d": partial(ResNetBackbone, Bottleneck, [3, 4, 6, 3], groups=32, width_per_group=4),
    "resnext101_32x8d": partial(ResNetBackbone, Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=8),
    "wide_resnet50_2": partial(ResNetBackbone, Bottleneck, [3, 4, 6, 3], width_per_group=128),
    "wide_resnet101_2": partial(ResNetBackbone, Bottleneck, [3, 4, 23, 3], width_per_group=128),
}
ARCHITECTURES = tuple(BACKBONES)


class FeatureMaps(NamedTuple):
    """Feature maps of images, on the way through the encoder and at its end.

    Attributes:
        quarter: Last map at a quarter of the image's size, shape (B, E, H/4, W/4); None where there is none.
        eighth: Last map at an eighth, shape (B, F, H/8, W/8); None where there is none.
        last: Last feature map, shape (B, C, h, w).
    """

    quarter: Tensor | None
    eighth: Tensor | None
    last: Tensor


class Encoded(NamedTuple):
    """Images after the encoder.

    Attributes:
        maps: Feature maps.
        embedding: After pool and neck, not normalised, shape (B, D).
    """

    maps: FeatureMaps
    embedding: Tensor

    def rows(self, which: slice) -> "Encoded":
        """Return some of the images."""
        quarter, eighth, last = (None if each is None else each[which] for each in self.maps)
        assert last is not None
        return Encoded(FeatureMaps(quarter, eighth, last), self.embedding[which])


class IdentityEncoder(nn.Module):
    """E_id of the paper (section 3.2): a backbone, global average pool, BN neck.

    Attributes:
        arch: One of ``ARCHITECTURES``.
        backbone: Everything before the pool.
        embedding_dim: D (and C).
        map_channels: E, F and C.
        computes_in: Precision of the backbone, None for that of its weights; pool and neck keep theirs.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    backbone: Any  # a Backbone that is a module

    def __init__(self, arch: str = "resnet50") -> None:
        super().__init__()
        if arch not in BACKBONES:
            raise UserError(f"the encoder's architecture {arch!r} is unknown; choose one of {', '.join(BACKBONES)}")
        self.arch = arch
        self.computes_in: torch.dtype | None = None
        self.backbone = BACKBONES[arch]()
        self.map_channels: tuple[int | None, int | None, int] = self.backbone.channels
        self.embedding_dim = self.map_channels[-1]
        self.neck = nn.BatchNorm1d(self.embedding_dim)
        self.neck.bias.requires_grad_(False)  # the neck only rescales, as in every peer
        mean, std = torch.tensor(self.backbone.pixel_mean), torch.tensor(self.backbone.pixel_std)
        self.register_buffer("pixel_mean", mean.view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", std.view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Encoded:
        """Encode images.

        Args:
            images: RGB in [-1, 1], shape (B, 3, H, W).

        Returns:
            Feature maps and embedding (B, D), the latter not normalised.
        """
        maps = self.maps(images)
        return Encoded(maps, self.neck(maps.last.mean(dim=(2, 3))))

    def maps(self, images: Tensor) -> FeatureMaps:
        """Return the feature maps alone, of images in [-1, 1], (B, 3, H, W)."""
        x = ((images + 1) / 2 - self.pixel_mean) / self.pixel_std
        with reduced(self.computes_in, images.device):
            quarter, eighth, last = self.backbone(x)
        return FeatureMaps(_widened_map(quarter), _widened_map(eighth), widened(last))

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        parts: list[nn.Module] = self.backbone.compilable()
        return parts


@cache
def map_channels(arch: str) -> tuple[int | None, int | None, int]:
    """Return the channels of an architecture's maps (quarter, eighth, last) without weights of it in memory."""
    with torch.device("meta"):
        return IdentityEncoder(arch).map_channels


def painted_maps(maps: tuple[T | None, T | None, T], source: PaintedFrom) -> list[T]:
    """Choose what appearance is pooled from: the last map, as published, or the early ones, which keep colours.

    Args:
        maps: Quarter, eighth and last: ``FeatureMaps`` or ``map_channels``.
        source: Last map alone, or the two before it.

    Returns:
        Those chosen.
    """
    quarter, eighth, last = maps
    if source == "last":
        return [last]
    if quarter is None or eighth is None:
        raise UserError("the encoder has no maps at a quarter and an eighth of the image; paint from its last map")
    return [quarter, eighth]


def part_appearance(feature_map: Tensor, num_parts: int) -> Tensor:
    """Pool a feature map into horizontal stripes, from head to feet: A(x) of the paper.

    Args:
        feature_map: Shape (B, C, h, w).
        num_parts: P, number of stripes.

    Returns:
        Mean of every stripe, shape (B, P, C).
    """
    # One pooled column is the same as a plain mean over the width, which has a deterministic backward everywhere.
    rows = feature_map.mean(dim=3)  # (B, C, h)
    height = rows.shape[2]
    bounds = [(p * height // num_parts, -(-(p + 1) * height // num_parts)) for p in range(num_parts)]
    return torch.stack([rows[:, :, start:stop].mean(dim=2) for start, stop in bounds], dim=1)


def _widened_map(feature_map: Tensor | None) -> Tensor | None:
    return None if feature_map is None else widened(feature_map)
