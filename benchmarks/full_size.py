"""Stable Diffusion 2.x and a ControlNet at full size: real shapes, random weights, no files."""

from typing import Any

import torch
from latent_map.edict.backbones.stable_diffusion.assembly import Loaded
from latent_map.edict.backbones.stable_diffusion.backbone import DiffusersBackbone
from latent_map.edict.backbones.stable_diffusion.denoiser import Networks
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.edict.backbones.stable_diffusion.text import Conditioning
from latent_map.edict.schedule import scaled_linear_alphas
from torch import nn

# As in the models' own configurations.
SHARED: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
UPWARD: dict[str, Any] = {"up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3)}
HINT: dict[str, Any] = {"conditioning_embedding_out_channels": (16, 32, 96, 256)}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
# The same layout at a size for rehearsals.
TINY_SHARED = SHARED | {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "attention_head_dim": (1, 1),
}
TINY_UPWARD: dict[str, Any] = {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
TINY_HINT: dict[str, Any] = {"conditioning_embedding_out_channels": (8, 8, 8, 16)}
TINY_VAE = VAE | {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
TOKENS = 77
QUIET = 0.1  # of conv_out's usual size: a trained network is no chaos, and a random one must not be


def full_size_backbone(device: str, dtype: torch.dtype, tiny: bool = False) -> DiffusersBackbone:
    """A backbone of random weights.

    Args:
        device: where it is made and works.
        dtype: of the UNet and the ControlNet; the autoencoder is float32, as always.
        tiny: small networks of the same layout.
    """
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    torch.manual_seed(0)
    shared, upward, hint, vae = (
        (TINY_SHARED, TINY_UPWARD, TINY_HINT, TINY_VAE) if tiny else (SHARED, UPWARD, HINT, VAE)
    )
    reductions = len(vae["block_out_channels"])
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * reductions,
        "up_block_types": ("UpDecoderBlock2D",) * reductions,
    }
    with torch.device(device):
        unet: Any = UNet2DConditionModel(**shared, **upward)
        unet.conv_out.weight.data.mul_(QUIET)
        controlnet: Any = ControlNetModel(**shared, **hint)
        autoencoder: Any = AutoencoderKL(**vae, **blocks, scaling_factor=0.18215)
        text = torch.randn(1, TOKENS, int(shared["cross_attention_dim"]))
    # A new ControlNet ends in zeros, whose gradients nothing would test.
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        nn.init.normal_(block.weight, std=0.02)
    nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.02)
    networks = Networks(unet.to(dtype), controlnet.to(dtype), autoencoder)
    for network in (networks.unet, networks.controlnet, networks.vae):
        network.eval().requires_grad_(False)
    levels = (scaled_linear_alphas(), "eps")
    options = DiffusersOptions("random weights")
    loaded = Loaded(networks, Conditioning(text, None), levels)
    return DiffusersBackbone(loaded, options, "random")


def parameters(backbone: DiffusersBackbone) -> dict[str, int]:
    """How many parameters each network has."""
    networks = backbone.networks
    named = {"unet": networks.unet, "controlnet": networks.controlnet, "vae": networks.vae}
    return {name: sum(p.numel() for p in net.parameters()) for name, net in named.items()}
