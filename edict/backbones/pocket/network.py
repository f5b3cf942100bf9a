"""The pocket denoiser's networks, both in Haar coefficients: a U-Net, and a restorer.

The U-Net normalises what it sees, which suits noise; how much detail a blurred picture lacks is a
matter of absolute size. So a second small network without normalisation gives, once per picture,
the correction of lost detail to expect: x_0 = U-Net's x_0 + share(alpha) restorer.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CORRECTION_CHANNELS = 48  # three colours, 16 Haar bands
NETWORK_CONFIG: dict[str, Any] = {
    "in_channels": 2 * CORRECTION_CHANNELS,  # the noisy correction and the picture being enhanced
    "out_channels": CORRECTION_CHANNELS,
    "block_out_channels": (64, 128, 128),
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D",) * 3,
    "up_block_types": ("UpBlock2D",) * 3,
    "add_attention": False,
    "norm_num_groups": 8,
}
RESTORER_CHANNELS, RESTORER_BLOCKS = 64, 4
DETAIL_VARIANCE = 0.2  # of blur corrections, latent units; measured 0.002 to 1.4
MULTIPLE = 16  # pixels: Haar blocks of 4, halved twice by the U-Net


def build_network():
    """The untrained network (4.3 M parameters), a diffusers `UNet2DModel`."""
    from diffusers import UNet2DModel

    return UNet2DModel(**NETWORK_CONFIG)


class _Block(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")
        self.second = nn.Conv2d(channels, channels, 3, padding=1, padding_mode="replicate")

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(x)))


class Restorer(nn.Module):
    """The correction of lost detail to expect of a picture: 0.35 M parameters, no normalisation.

    A sharpener knows blur and low resolution alone; a gate, one number a picture, knows from the
    sizes of all bands (their means, and their calm quarter, where noise shows) whether to trust it.
    """

    def __init__(self) -> None:
        super().__init__()
        width, both = RESTORER_CHANNELS, {"padding": 1, "padding_mode": "replicate"}
        self.first = nn.Conv2d(CORRECTION_CHANNELS, width, 3, **both)
        self.blocks = nn.Sequential(*(_Block(width) for _ in range(RESTORER_BLOCKS)))
        self.last = nn.Conv2d(width, CORRECTION_CHANNELS, 3, **both)
        sizes = 2 * CORRECTION_CHANNELS
        self.gate = nn.Sequential(nn.Linear(sizes, 32), nn.SiLU(), nn.Linear(32, 1), nn.Sigmoid())

    def forward(self, condition: Tensor) -> Tensor:
        """Whitened Haar coefficients of a picture (B, 48, h, w) to a latent of the same shape."""
        return self.confidence(condition) * self.sharpen(condition)

    def sharpen(self, condition: Tensor) -> Tensor:
        """The correction if the picture lacks nothing but detail."""
        return self.last(self.blocks(F.silu(self.first(condition))))

    def confidence(self, condition: Tensor) -> Tensor:
        """The gate, (B, 1, 1, 1) in (0, 1)."""
        size = F.avg_pool2d(condition.abs(), 3, stride=1).flatten(2)
        sizes = torch.cat((size.mean(2), size.quantile(0.25, 2)), 1)
        return self.gate((sizes + 1e-3).log())[..., None, None]


def build_restorer() -> Restorer:
    """The untrained restorer, which expects no correction."""
    restorer = Restorer()
    torch.nn.init.zeros_(restorer.last.weight)
    for name, weight in restorer.blocks.named_parameters():
        if name.endswith("second.weight"):
            torch.nn.init.normal_(weight, std=1e-2)
    return restorer


def restorer_share(alpha):
    """How much of the restorer's correction x_0 takes at a level of the diffusion.

    What the noisy latent says of the detail grows with alpha; this is what remains for the
    expectation: the posterior mean of a Gaussian of variance DETAIL_VARIANCE.

    Args:
        alpha: cumulative alpha in [0, 1), a number or a tensor.
    """
    return (1 - alpha) / (DETAIL_VARIANCE * alpha + 1 - alpha)
