"""The convolutional parts of VGG-16 and AlexNet, from torchvision's weight files."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.weights import find_tensors, read_finite

Pool = Callable[[Tensor], Tensor]


class Convolution(NamedTuple):
    """A convolution and the ReLU behind it.

    Attributes:
        index: its number in torchvision's `features`.
        channels: outputs.
        size, stride, padding: of the kernel, in pixels.
        pooled: whether the pooling comes before it.
        tap: whether its output is a feature map of the measures.
    """

    index: int
    channels: int
    size: int = 3
    stride: int = 1
    padding: int = 1
    pooled: bool = False
    tap: bool = False


VGG16_LAYERS = (
    Convolution(0, 64),
    Convolution(2, 64, tap=True),
    Convolution(5, 128, pooled=True),
    Convolution(7, 128, tap=True),
    Convolution(10, 256, pooled=True),
    Convolution(12, 256),
    Convolution(14, 256, tap=True),
    Convolution(17, 512, pooled=True),
    Convolution(19, 512),
    Convolution(21, 512, tap=True),
    Convolution(24, 512, pooled=True),
    Convolution(26, 512),
    Convolution(28, 512, tap=True),
)
ALEXNET_LAYERS = (
    Convolution(0, 64, 11, 4, 2, tap=True),
    Convolution(3, 192, 5, 1, 2, pooled=True, tap=True),
    Convolution(6, 384, pooled=True, tap=True),
    Convolution(8, 256, tap=True),
    Convolution(10, 256, tap=True),
)


class FeatureNetwork:
    """A frozen stack of convolutions that returns its tapped feature maps.

    Args:
        layers: VGG16_LAYERS or ALEXNET_LAYERS.
        weights: "INDEX.weight" and "INDEX.bias" of each.
        pool: what stands where torchvision has max pooling.
    """

    def __init__(
        self, layers: tuple[Convolution, ...], weights: dict[str, Tensor], pool: Pool
    ) -> None:
        self.layers, self.weights, self.pool = layers, weights, pool

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Feature maps of normalised RGB (B, 3, H, W), finest first."""
        maps = []
        for layer in self.layers:
            if layer.pooled:
                x = self.pool(x)
            weight, bias = (self.weights[f"{layer.index}.{part}"] for part in ("weight", "bias"))
            x = F.conv2d(x, weight.to(x), bias.to(x), layer.stride, layer.padding).relu()
            if layer.tap:
                maps.append(x)
        return maps


def load_weights(
    path: Path, layers: tuple[Convolution, ...], device: str | torch.device = "cpu"
) -> dict[str, Tensor]:
    """The layers' weights from a file of torchvision's, by their names without `features.`.

    Raises: ValueError if the file is missing, unsafe or damaged, or is another network's.
    """
    stored = find_tensors(path, "VGG-16 or AlexNet weights")
    weights, before = {}, 3
    for layer in layers:
        shapes = {"weight": (layer.channels, before, layer.size, layer.size)}
        for part, shape in {**shapes, "bias": (layer.channels,)}.items():
            name = f"features.{layer.index}.{part}"
            if name not in stored or stored[name].shape != shape:
                raise ValueError(
                    f"{path} is another network's ({name} of shape {shape} is missing): choose "
                    "the file that torchvision publishes under the name asked for"
                )
            weights[f"{layer.index}.{part}"] = read_finite(stored[name]).float().to(device)
        before = layer.channels
    return weights
