"""The pocket denoiser's network: a small conditional U-Net in Haar coefficients."""

from typing import Any

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
MULTIPLE = 16  # pixels: Haar blocks of 4, halved twice by the U-Net


def build_network():
    """The untrained network (4.3 M parameters), a diffusers `UNet2DModel`."""
    from diffusers import UNet2DModel

    return UNet2DModel(**NETWORK_CONFIG)
