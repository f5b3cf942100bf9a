"""Stable Diffusion and a ControlNet at full size: real shapes, random weights, no files."""

from collections.abc import Iterator
from contextlib import contextmanager
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
SD15: dict[str, Any] = SHARED | {
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
    "use_linear_projection": False,
}
SDXL: dict[str, Any] = SHARED | {
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", *("CrossAttnDownBlock2D",) * 2),
    "transformer_layers_per_block": (1, 2, 10),
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
FAMILIES: dict[str, dict[str, Any]] = {"sd1": SD15, "sd2": SHARED, "sdxl": SDXL}
POOLED = 1280  # width of SDXL's pooled text
HINT: dict[str, Any] = {"conditioning_embedding_out_channels": (16, 32, 96, 256)}
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}
# The same layout at a size for rehearsals.
TINY_SHARED: dict[str, Any] = SHARED | {
    "block_out_channels": (32, 64),
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "layers_per_block": 1,
    "cross_attention_dim": 64,
    "attention_head_dim": (1, 1),
}
TINY_HINT: dict[str, Any] = {"conditioning_embedding_out_channels": (8, 8, 8, 16)}
TINY_VAE = VAE | {"block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "norm_num_groups": 4}
TOKENS = 77
QUIET = 0.1  # of conv_out's usual size: a trained network is no chaos, and a random one must not be


@contextmanager
def made_in(dtype: torch.dtype) -> Iterator[None]:
    """Networks made inside have weights of this type; `.to(dtype)` does not work on fake ones."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def full_size_backbone(
    device: str, dtype: torch.dtype, tiny: bool = False, family: str = "sd2"
) -> DiffusersBackbone:
    """A backbone of random weights.

    Args:
        device: where it is made and works.
        dtype: of the UNet and the ControlNet; the autoencoder is float32, as always.
        tiny: small networks of the same layout, of Stable Diffusion 2.x.
        family: one of `FAMILIES`.
    """
    from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel

    torch.manual_seed(0)
    shared, hint, vae = (
        (TINY_SHARED, TINY_HINT, TINY_VAE) if tiny else (FAMILIES[family], HINT, VAE)
    )
    ups = [name.replace("Down", "Up") for name in reversed(shared["down_block_types"])]
    reductions = len(vae["block_out_channels"])
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * reductions,
        "up_block_types": ("UpDecoderBlock2D",) * reductions,
    }
    with torch.device(device), made_in(dtype):
        unet: Any = UNet2DConditionModel(**shared, up_block_types=tuple(ups))
        unet.conv_out.weight.data.mul_(QUIET)
        controlnet: Any = ControlNetModel(**shared, **hint)
    with torch.device(device):
        autoencoder: Any = AutoencoderKL(**vae, **blocks, scaling_factor=0.18215)
        text = torch.randn(1, TOKENS, int(shared["cross_attention_dim"]))
        pooled = torch.randn(1, POOLED) if "addition_embed_type" in shared else None
    # A new ControlNet ends in zeros, whose gradients nothing would test.
    for block in (*controlnet.controlnet_down_blocks, controlnet.controlnet_mid_block):
        nn.init.normal_(block.weight, std=0.02)
    nn.init.normal_(controlnet.controlnet_cond_embedding.conv_out.weight, std=0.02)
    networks = Networks(unet, controlnet, autoencoder)
    for network in (networks.unet, networks.controlnet, networks.vae):
        network.eval().requires_grad_(False)
    levels = (scaled_linear_alphas(), "eps")
    options = DiffusersOptions("random weights")
    loaded = Loaded(networks, Conditioning(text, pooled), levels)
    return DiffusersBackbone(loaded, options, "random")


def parameters(backbone: DiffusersBackbone) -> dict[str, int]:
    """How many parameters each network has."""
    networks = backbone.networks
    named = {"unet": networks.unet, "controlnet": networks.controlnet, "vae": networks.vae}
    return {name: sum(p.numel() for p in net.parameters()) for name, net in named.items()}
