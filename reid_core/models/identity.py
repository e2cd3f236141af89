"""The identity encoder: a ResNet or EfficientNet-Lite0 with last stride 1, global average pool and batch-norm neck.

Letters: B images, H x W pixels, C channels of a feature map (E and F of earlier ones), h x w its size, D embedding,
P stripes.
"""

from typing import Any, Literal, NamedTuple, TypeVar

import torch
import torchvision.models as zoo
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from reid_core.errors import UserError
from reid_core.models import efficientnet
from reid_core.models.speed import reduced, widened

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A ten-layer ResNet of torchvision's own blocks: the encoder that two CPU cores can train.
_SMALLEST = "resnet10"
LITE = "efficientnet_lite0"
ARCHITECTURES = (
    _SMALLEST,
    LITE,
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)


PaintedFrom = Literal["last", "early"]
T = TypeVar("T")


class FeatureMaps(NamedTuple):
    """What the encoder sees in images, on the way and at the end.

    Attributes:
        quarter: Last map at a quarter of the image's size, shape (B, E, H/4, W/4).
        eighth: Last map at an eighth, shape (B, F, H/8, W/8).
        last: Last feature map, shape (B, C, h, w).
    """

    quarter: Tensor
    eighth: Tensor
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
        return Encoded(FeatureMaps(*(each[which] for each in self.maps)), self.embedding[which])


class IdentityEncoder(nn.Module):
    """Any torchvision ResNet (or EfficientNet-Lite0) as E_id of the paper (section 3.2); last stride 1, BN neck.

    Attributes:
        arch: One of ``ARCHITECTURES``.
        backbone: Everything before the pool: a ``ResNet`` or an ``EfficientNetLite0``.
        embedding_dim: D (and C).
        map_channels: E, F and C.
        computes_in: Precision of the backbone, None for that of its weights; pool and neck keep theirs.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    backbone: Any

    def __init__(self, arch: str = "resnet50") -> None:
        super().__init__()
        self.arch = arch
        self.computes_in: torch.dtype | None = None
        if arch == LITE:
            self.backbone = efficientnet.EfficientNetLite0()
            self.map_channels = efficientnet.CHANNELS
            mean, std = efficientnet.PIXEL_MEAN, efficientnet.PIXEL_STD
        else:
            self.backbone = _resnet(arch)
            dim = int(self.backbone.fc.in_features)
            self.map_channels = (dim // 8, dim // 4, dim)
            self.backbone.fc = nn.Identity()
            _set_last_stride_one(self.backbone)
            mean, std = IMAGENET_MEAN, IMAGENET_STD
        self.embedding_dim = self.map_channels[-1]
        self.neck = nn.BatchNorm1d(self.embedding_dim)
        self.neck.bias.requires_grad_(False)  # the neck only rescales, as in every peer
        self.register_buffer("pixel_mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

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
        net = self.backbone
        with reduced(self.computes_in, images.device):
            if isinstance(net, ResNet):
                quarter = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
                eighth = net.layer2(quarter)
                last = net.layer4(net.layer3(eighth))
            else:
                quarter, eighth, last = net(x)
        return FeatureMaps(widened(quarter), widened(eighth), widened(last))

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        net = self.backbone
        return [net.layer1, net.layer2, net.layer3, net.layer4] if isinstance(net, ResNet) else [net]


def painted_maps(maps: tuple[T, T, T], source: PaintedFrom) -> list[T]:
    """Choose what appearance is pooled from: the last map, as published, or the early ones, which keep colours.

    Args:
        maps: Quarter, eighth and last: of ``FeatureMaps`` or of ``map_channels``.
        source: Last map alone, or the two before it.

    Returns:
        Those chosen.
    """
    quarter, eighth, last = maps
    return [last] if source == "last" else [quarter, eighth]


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


def _resnet(arch: str) -> ResNet:
    if arch == _SMALLEST:
        return ResNet(BasicBlock, [1, 1, 1, 1])
    if arch not in ARCHITECTURES:
        raise UserError(f"the encoder's architecture {arch!r} is unknown; choose one of {', '.join(ARCHITECTURES)}")
    network = getattr(zoo, arch)(weights=None)
    assert isinstance(network, ResNet)
    return network


def _set_last_stride_one(network: ResNet) -> None:
    for block in network.layer4:
        assert isinstance(block, BasicBlock | Bottleneck)
        for module in block.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
