"""Deep image structure and texture similarity."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.constants import carried, constant
from .networks import VGG16_LAYERS, FeatureNetwork, load_weights
from .planes import check_pair, safe_root, similarity
from .tables import table

MEAN = (0.485, 0.456, 0.406)
SPREAD = (0.229, 0.224, 0.225)
CHANNELS = (3, 64, 128, 256, 512, 512)
CONSTANT = 1e-6


class Dists:
    """1 - similarity of the means (texture) and covariances (structure) of VGG-16 feature maps.

    The picture itself is the first of the six maps, so that only equal pictures are at distance 0.
    Measured at the size given: the authors' code first shrinks to a shorter side of 256 when it
    scores, which `shrink_to_256` does.

    Args:
        weights: of VGG-16, as `load_weights` reads them.
    Source: Ding, Ma, Wang and Simoncelli, IEEE TPAMI 44(5), 2022.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        self.features = FeatureNetwork(VGG16_LAYERS, weights, l2_pool)

    def __call__(self, x: Tensor, x_init: Tensor) -> Tensor:
        """Distance of two RGB pictures (B, 3, H, W) in [0, 1], shape (B,); 0 when equal.

        Raises: ValueError if shapes differ or a side is below 16.
        """
        check_pair(x, x_init)
        alpha, beta = (carried(table(f"dists.{name}"), x) for name in ("alpha", "beta"))
        total = alpha.sum() + beta.sum()
        loss = torch.zeros_like(x[:, 0, 0, 0])
        maps = zip(self._maps(x), self._maps(x_init), strict=True)
        split = zip(alpha.split(CHANNELS), beta.split(CHANNELS), strict=True)
        for (a, b), (texture_weight, structure_weight) in zip(maps, split, strict=True):
            texture, structure = _similarities(a.flatten(2), b.flatten(2))
            loss = loss + (1 - texture) @ texture_weight + (1 - structure) @ structure_weight
        return loss / total

    def _maps(self, x: Tensor) -> list[Tensor]:
        mean, spread = (constant(row, x)[:, None, None] for row in (MEAN, SPREAD))
        return [x, *self.features((x - mean) / spread)]


def _similarities(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Texture and structure similarity of maps (B, C, pixels), each (B, C)."""
    mean_a, mean_b = a.mean(2, keepdim=True), b.mean(2, keepdim=True)
    centred_a, centred_b = a - mean_a, b - mean_b
    covariance = (centred_a * centred_b).mean(2)
    variance = (centred_a * centred_a).mean(2) + (centred_b * centred_b).mean(2)
    structure = (2 * covariance + CONSTANT) / (variance + CONSTANT)
    return similarity(mean_a, mean_b, CONSTANT)[..., 0], structure


def l2_pool(x: Tensor) -> Tensor:
    """Root of the Hann-weighted mean square, halving (B, C, H, W) without aliasing."""
    # A Hann window of three is two means of neighbours, one after the other.
    means = F.avg_pool2d(F.pad(x.square(), (1, 1, 1, 1)), 2, stride=1)
    return safe_root(F.avg_pool2d(means, 2, stride=2))


def load_dists(device: str | torch.device, paths: tuple[Path, ...]) -> Dists:
    """DISTS on VGG-16 weights of torchvision.

    Raises: ValueError if the file cannot be used.
    """
    return Dists(load_weights(paths[0], VGG16_LAYERS, device))
