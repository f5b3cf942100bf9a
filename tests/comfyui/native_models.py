"""Tiny native models of every kind, of random weights, built in ComfyUI's own classes.

Imports ComfyUI: for a ComfyUI process, never for pytest's own.
"""

from dataclasses import fields
from typing import Any, NamedTuple

import comfy.latent_formats
import comfy.model_base
import comfy.model_patcher
import comfy.sd
import comfy.supported_models
import torch
from comfy.cldm.cldm import ControlNet as ControlNetwork
from comfy.controlnet import ControlNet
from comfy.ldm.flux.model import FluxParams
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ops import disable_weight_init
from comfy.taesd.taesd import TAESD

CPU = torch.device("cpu")
CONTEXT, TOKENS = 64, 7
UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "transformer_depth_output": [1, 1, 1, 1],
    "num_heads": 4,
    "num_head_channels": -1,
    "use_spatial_transformer": True,
    "context_dim": CONTEXT,
    "legacy": False,
    "use_linear_in_transformer": False,
    "adm_in_channels": None,
    "use_temporal_attention": False,
}
SDXL = UNET | {"adm_in_channels": 2816, "num_classes": "sequential"}
SD3 = {
    "in_channels": 16,
    "patch_size": 2,
    "depth": 2,
    "input_size": None,
    "adm_in_channels": CONTEXT,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": CONTEXT, "out_features": 128},
    },
    "num_patches": 1024,
    "pos_embed_max_size": 32,
    "pos_embed_scaling_factor": None,
}
FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": CONTEXT,
    "context_in_dim": CONTEXT,
    "hidden_size": 64,
    "mlp_ratio": 2.0,
    "num_heads": 2,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [8, 12, 12],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
    "txt_ids_dims": [],
}


class Tiny(NamedTuple):
    """What loader nodes give."""

    model: Any
    vae: Any
    positive: list
    negative: list


def randomise(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Draw every weight anew (ComfyUI's layers start as uninitialised memory); the new ones."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, old in network.state_dict().items():
        noise = torch.randn(old.shape, generator=generator)
        if old.ndim > 1:
            # a random network with a full-sized output is chaotic: no finite difference is small
            gain = 0.1 if name in ("out.2.weight", "final_layer.linear.weight") else 0.8
            weights[name] = noise * gain / max(1, old[:1].numel()) ** 0.5
        else:
            scale = name.endswith(("weight", "scale")) and old.ndim == 1
            weights[name] = noise * 0.02 + scale
    network.load_state_dict(weights)
    return weights


def config_of(base: type, unet: dict) -> Any:
    body = {"unet_config": unet, "unet_extra_config": {}}  # the latter would set the heads
    config = type(f"Tiny{base.__name__}", (base,), body)(dict(unet))
    config.set_inference_dtype(torch.float32, None)
    return config


def patched(inner: torch.nn.Module, seed: int) -> Any:
    randomise(inner.diffusion_model, seed)
    return comfy.model_patcher.ModelPatcher(inner, load_device=CPU, offload_device=CPU)


def conditioning(seed: int, pooled: int = CONTEXT) -> list:
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randn((1, TOKENS, CONTEXT), generator=generator)
    return [[tokens, {"pooled_output": torch.randn((1, pooled), generator=generator)}]]


def tiny_kl(seed: int = 3) -> Any:
    """ComfyUI's AutoencoderKL, 32 channels wide."""
    size = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4}
    size |= {"double_z": True, "resolution": 64, "in_channels": 3, "out_ch": 3}
    size |= {"attn_resolutions": [], "dropout": 0.0}
    params = {"ddconfig": size, "embed_dim": 4}
    weights = randomise(AutoencoderKL(**params), seed)
    weights["quant_conv.weight"] *= 50  # latents of about unit variance, as a trained one gives
    return comfy.sd.VAE(sd=weights, config={"params": params})


def tiny_taesd(channels: int = 4, seed: int = 4) -> Any:
    return comfy.sd.VAE(sd=randomise(TAESD(latent_channels=channels), seed))


def sd15(seed: int = 0) -> Tiny:
    config = config_of(comfy.supported_models.SD15, UNET)
    model = patched(config.get_model({}, "", CPU), seed)
    return Tiny(model, tiny_kl(), conditioning(1), conditioning(2))


def sd15_v(zsnr: bool = False) -> Tiny:
    """v-prediction as users get it: the ModelSamplingDiscrete node."""
    return sampled_as("v_prediction", zsnr)


def sampled_as(sampling: str, zsnr: bool) -> Tiny:
    from comfy_extras.nodes_model_advanced import ModelSamplingDiscrete

    tiny = sd15()
    (model,) = ModelSamplingDiscrete().patch(tiny.model, sampling, zsnr)
    return tiny._replace(model=model)


def sdxl(seed: int = 0) -> Tiny:
    config = config_of(comfy.supported_models.SDXL, SDXL)
    model = patched(config.get_model({}, "", CPU), seed)
    return Tiny(model, tiny_kl(), conditioning(1, 1280), conditioning(2, 1280))


def sd3(seed: int = 0) -> Tiny:
    config = config_of(comfy.supported_models.SD3, SD3)
    model = patched(config.get_model({}, "", CPU), seed)
    return Tiny(model, tiny_taesd(16), conditioning(1), conditioning(2))


def flux(seed: int = 0) -> Tiny:
    known = {field.name for field in fields(FluxParams)} | {"image_model"}
    config = config_of(
        comfy.supported_models.Flux, {name: FLUX[name] for name in FLUX if name in known}
    )
    model = patched(config.get_model({}, "", CPU), seed)
    return Tiny(model, tiny_taesd(16), conditioning(1), conditioning(2))


def control_network() -> ControlNetwork:
    """The network of a ControlNet for the tiny SD 1.5."""
    names = {"out_channels", "use_temporal_attention", "transformer_depth_output"}
    size = {name: value for name, value in UNET.items() if name not in names}
    return ControlNetwork(**size, hint_channels=3, operations=disable_weight_init, device=CPU)


def control_net(seed: int = 5) -> ControlNet:
    """As ControlNetLoader gives it."""
    network = control_network()
    randomise(network, seed)
    network.dtype = torch.float32
    return ControlNet(network, load_device=CPU)


KINDS = {
    "sd15": sd15,
    "sd15_v": sd15_v,
    "sd15_zsnr": lambda: sd15_v(zsnr=True),
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
}


def video() -> Tiny:
    tiny = sd15()
    tiny.model.model.latent_format = comfy.latent_formats.Wan21()
    return tiny


def inpainting() -> Tiny:
    tiny = sd15()
    tiny.model.model.set_inpaint()
    return tiny


def editing() -> Tiny:
    """InstructPix2Pix: another picture's latent beside the noise."""
    config = config_of(comfy.supported_models.SD15, UNET | {"in_channels": 8})
    inner = comfy.model_base.SD15_instructpix2pix(config, device=CPU)
    return Tiny(patched(inner, 0), tiny_kl(), conditioning(1), conditioning(2))


def edm() -> Tiny:
    from comfy_extras.nodes_model_advanced import ModelSamplingContinuousEDM

    tiny = sd15()
    (model,) = ModelSamplingContinuousEDM().patch(tiny.model, "edm_playground_v2.5", 120.0, 0.002)
    return tiny._replace(model=model)


def cascade() -> Tiny:
    from comfy_extras.nodes_model_advanced import ModelSamplingStableCascade

    tiny = sd15()
    (model,) = ModelSamplingStableCascade().patch(tiny.model, 2.0)
    return tiny._replace(model=model)


def hooks() -> Tiny:
    tiny = sd15()
    return tiny._replace(positive=[[tiny.positive[0][0], {"hooks": object()}]])


def unguided() -> Tiny:
    return sd15()._replace(negative=None)


REFUSED = {
    "video": video,
    "other_vae": lambda: sd15()._replace(vae=tiny_taesd(16)),
    "inpainting": inpainting,
    "editing": editing,
    "edm": edm,
    "lcm": lambda: sampled_as("lcm", False),
    "cascade": cascade,
    "eps_zsnr": lambda: sampled_as("eps", True),
    "hooks": hooks,
    "no_negative": unguided,
}
