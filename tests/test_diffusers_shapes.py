"""The real sizes, without memory: counts of the published models."""

from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.stable_diffusion.configs import (
    controlnet_config,
    text_config,
    unet_config,
    vae_config,
)
from latent_map.edict.backbones.stable_diffusion.find import find_checkpoint
from latent_map.edict.backbones.stable_diffusion.keys import (
    part,
    text_from_clip,
    text_from_open_clip,
    unet_from_ldm,
    vae_from_ldm,
)
from latent_map.edict.backbones.stable_diffusion.networks import (
    build_controlnet,
    build_text_encoder,
    build_unet,
    build_vae,
    text_tensors,
)
from latent_map.files.stored import Stored
from latent_map.files.weights import check_fit

from . import tiny_diffusers as tiny

SD15 = {"attention_head_dim": 8, "cross_attention_dim": 768}
SD2 = {
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
SDXL = {
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SDXL_UP = {"up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D")}
# (configuration, tensors and parameters of the UNet and of the ControlNet, names in the original)
FULL_SIZE = {
    "sd15": (SD15, (686, 859_520_964), (340, 361_279_120), "output_blocks.11.1.proj_out.weight"),
    "sd2": (SD2, (686, 865_910_724), (340, 364_228_240), "output_blocks.8.2.conv.weight"),
    "sdxl": (SDXL, (1680, 2_567_463_684), (844, 1_251_014_160), "output_blocks.5.2.conv.weight"),
}


def on_disk(tensors: dict[str, torch.Tensor]) -> dict[str, Stored]:
    """Tensors without memory as a file would show them."""
    return {
        name: Stored(Path("a.safetensors"), name, tuple(tensor.shape), tensor.clone)
        for name, tensor in tensors.items()
    }


def counted(network: torch.nn.Module) -> tuple[int, int]:
    return len(network.state_dict()), sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", FULL_SIZE)
def test_a_full_size_unet_is_recognised_by_its_shapes(name):
    config, unet_counts, control_counts, telling = FULL_SIZE[name]
    real = build_unet({**config, **(SDXL_UP if name == "sdxl" else {})})
    original = tiny.to_ldm(real, "")
    assert telling in original
    tensors = unet_from_ldm(on_disk(original))
    rebuilt = build_unet(unet_config(tensors))
    check_fit(rebuilt, tensors, "this UNet")
    assert counted(rebuilt) == unet_counts
    heads = [m.heads for m in rebuilt.modules() if type(m).__name__ == "Attention"]
    assert heads == [m.heads for m in real.modules() if type(m).__name__ == "Attention"]

    original = tiny.to_ldm(build_controlnet(config), "")
    tensors = unet_from_ldm(on_disk(original))
    rebuilt = build_controlnet(controlnet_config(tensors))
    check_fit(rebuilt, tensors, "this ControlNet")
    assert counted(rebuilt) == control_counts


# (width, layers, inner width, heads, projection, activation), parameters
TEXT = {
    "CLIP-L": ((768, 12, 3072, 12, None, "quick_gelu"), 123_060_480),
    "OpenCLIP-H without its last layer": ((1024, 23, 4096, 16, None, "gelu"), 340_387_840),
    "OpenCLIP-bigG": ((1280, 32, 5120, 20, 1280, "gelu"), 694_659_840),
}


@pytest.mark.parametrize("name", TEXT)
def test_a_full_size_text_encoder_is_recognised_by_its_shapes(name):
    (width, layers, inner, heads, projection, activation), parameters = TEXT[name]
    config = {
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": inner,
        "num_attention_heads": heads,
        "hidden_act": activation,
        "projection_dim": projection or width,
    }
    real = build_text_encoder(config, projection is not None)
    if activation == "gelu":
        names = tiny.text_to_open_clip(real, "", False)
        names.pop("text_projection") if projection is None else None
        tensors = text_from_open_clip(on_disk(names))
    else:
        tensors = text_from_clip(on_disk(real.state_dict()))
    found = text_config(tensors, activation)
    assert {key: found[key] for key in config} == config
    rebuilt = build_text_encoder(found, projection is not None)
    check_fit(rebuilt, text_tensors(rebuilt, tensors), "a text encoder")
    assert counted(rebuilt)[1] == parameters


def test_a_full_size_autoencoder_is_recognised_by_its_shapes():
    widths = (128, 256, 512, 512)
    real = build_vae(
        {
            "block_out_channels": widths,
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
            "layers_per_block": 2,
        }
    )
    original = tiny.vae_to_ldm(real)
    assert "first_stage_model.decoder.up.0.block.2.conv1.weight" in original
    assert "first_stage_model.encoder.down.2.downsample.conv.weight" in original
    tensors = vae_from_ldm(part(on_disk(original), "first_stage_model."))
    rebuilt = build_vae(vae_config(tensors, 0.18215))
    check_fit(rebuilt, tensors, "this autoencoder")
    assert counted(rebuilt) == (248, 83_653_863)


def test_the_names_of_old_folders_and_of_checkpoints_meet(models):
    tensors = find_checkpoint(models / "sd15").vae.tensors
    old = {
        name.replace("to_q", "query").replace("to_out.0", "proj_attn"): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()
    assert vae_from_ldm(old).keys() == tensors.keys()
    single = find_checkpoint(models / "sd15.safetensors").vae.tensors
    assert single.keys() == tensors.keys()
    assert part(single, "encoder.").keys() == part(tensors, "encoder.").keys()
