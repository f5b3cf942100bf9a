"""Learned perceptual image patch similarity."""

from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried, constant
from .networks import ALEXNET_LAYERS, VGG16_LAYERS, FeatureNetwork, load_weights
from .planes import check_pair, safe_root
from .tables import table

MEAN = (-0.030, -0.088, -0.188)
SPREAD = (0.458, 0.448, 0.450)
LAYERS = {"vgg": VGG16_LAYERS, "alex": ALEXNET_LAYERS}
SMALLEST_SIDE = {"vgg": 16, "alex": 32}
NORM_FLOOR = 1e-10


class Lpips:
    """Weighted squared difference of unit-length deep features, summed over five layers.

    Args:
        network: "vgg", the variant of Ding et al., or "alex", the authors' default for scores.
        weights: of the network, as `load_weights` reads them.
    Source: Zhang, Isola, Efros, Shechtman and Wang, CVPR 2018; linear layers v0.1.
    """

    def __init__(self, network: Literal["vgg", "alex"], weights: dict[str, Tensor]) -> None:
        pool = partial(F.max_pool2d, kernel_size=2 if network == "vgg" else 3, stride=2)
        self.network = network
        self.features = FeatureNetwork(LAYERS[network], weights, pool)

    def __call__(self, x: Tensor, x_init: Tensor) -> Tensor:
        """Distance of two RGB pictures (B, 3, H, W) in [0, 1], shape (B,); 0 when equal.

        Raises: ValueError if shapes differ or a side is below 16 (vgg) or 32 (alex).
        """
        check_pair(x, x_init)
        smallest = SMALLEST_SIDE[self.network]
        if min(x.shape[-2:]) < smallest:
            raise ValueError(
                f"lpips ({self.network}) needs sides of {smallest} or more, not "
                f"{tuple(x.shape[-2:])}: choose a larger image or lpips"
            )
        total = torch.zeros_like(x[:, 0, 0, 0])
        maps = zip(self._maps(x), self._maps(x_init), strict=True)
        for layer, (a, b) in enumerate(maps):
            weight = carried(table(f"lpips.{self.network}.{layer}"), x)[:, None, None]
            total = total + (weight * (a - b).square()).sum(1).flatten(1).mean(1)
        return total

    def _maps(self, x: Tensor) -> list[Tensor]:
        mean, spread = (constant(row, x)[:, None, None] for row in (MEAN, SPREAD))
        maps = self.features((2 * x - 1 - mean) / spread)
        return [m / (safe_root(m.square().sum(1, keepdim=True)) + NORM_FLOOR) for m in maps]


def load_lpips(
    device: str | torch.device, paths: tuple[Path, ...], network: Literal["vgg", "alex"]
) -> Lpips:
    """LPIPS on VGG-16 or AlexNet weights of torchvision.

    Raises: ValueError if the file cannot be used.
    """
    return Lpips(network, load_weights(paths[0], LAYERS[network], device))
