"""Small random Stable Diffusion models on disk, with the real layouts and names.

The LDM names are built here from the layout of the original networks, independently of the
pack's own conversion, which goes the other way.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SIDE = 32  # pixels of a test picture's side; the VAE's 8 times the UNet's 2 need multiples of 16
WORDS = ["a", "b", "c", "photo", "noise"]
POOLED = 32
TIME_WIDTH = 8


@dataclass(frozen=True)
class Family:
    """What tells SD 1.5, SD 2.x and SDXL apart, at small size."""

    linear: bool = False
    prediction: str = "epsilon"
    sdxl: bool = False
    widths: tuple[int, ...] = (32, 64)
    told: int | None = None  # width of the guidance that a consistency model is told

    @property
    def context(self) -> int:
        return 128 if self.sdxl else 64


SD15 = Family()
SD2 = Family(linear=True)
SD2_V = replace(SD2, prediction="v_prediction")
SDXL = Family(linear=True, sdxl=True)
FAMILIES = {"sd15": SD15, "sd2": SD2, "sd2_v": SD2_V, "sdxl": SDXL}


def randomise(network: nn.Module, seed: int) -> nn.Module:
    """Weights drawn anew, zero-initialised ones too, so that every part of the network matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.data = noise * 0.7 / parameter[0].numel() ** 0.5
        else:
            parameter.data = noise * 0.05 + parameter.data.round()
    return network.eval()


def shared_config(family: Family) -> dict:
    config = {
        "block_out_channels": family.widths,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "layers_per_block": 1,
        "cross_attention_dim": family.context,
        "attention_head_dim": tuple(w // 64 or 1 for w in family.widths) if family.linear else 8,
        "use_linear_projection": family.linear,
    }
    if family.sdxl:
        config |= {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "transformer_layers_per_block": (1, 2),
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": TIME_WIDTH,
            "projection_class_embeddings_input_dim": POOLED + 6 * TIME_WIDTH,
        }
    return config


def tiny_unet(family: Family) -> UNet2DConditionModel:
    ups = ("UpBlock2D", "CrossAttnUpBlock2D")
    config = {**shared_config(family), "up_block_types": ups[::-1] if family.sdxl else ups}
    unet = randomise(UNet2DConditionModel(**config, time_cond_proj_dim=family.told), 1)
    unet.conv_out.weight.data *= 0.1  # a trained network is no chaos either
    return unet


def tiny_controlnet(family: Family) -> ControlNetModel:
    config = {**shared_config(family), "conditioning_embedding_out_channels": (4, 4, 4, 8)}
    return randomise(ControlNetModel(**config), 2)


def tiny_vae(family: Family) -> AutoencoderKL:
    count = 4
    return randomise(
        AutoencoderKL(
            block_out_channels=(32,) * count,
            down_block_types=("DownEncoderBlock2D",) * count,
            up_block_types=("UpDecoderBlock2D",) * count,
            layers_per_block=1,
            scaling_factor=0.13025 if family.sdxl else 0.18215,
        ),
        3,
    )


def tiny_text(family: Family, number: int, vocabulary: int) -> nn.Module:
    second = number == 1
    open_clip = second or (family.linear and not family.sdxl)
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=1,
        hidden_act="gelu" if open_clip else "quick_gelu",
        projection_dim=POOLED if second else 64,
        bos_token_id=vocabulary - 2,
        eos_token_id=vocabulary - 1,
    )
    kind = CLIPTextModelWithProjection if second else CLIPTextModel
    return randomise(kind(config), 4 + number)


def write_tokenizer(folder: Path, padding: str = "<|endoftext|>") -> int:
    """Byte-level tokens and a few words; returns how many tokens there are."""
    folder.mkdir(parents=True)
    letters = [chr(code) for code in range(33, 127)]
    tokens = ["!", *[c for c in letters if c != "!"], *[c + "</w>" for c in letters]]
    merges = []
    for word in WORDS:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while len(pieces) > 1:
            merges.append(f"{pieces[0]} {pieces[1]}")
            pieces[:2] = [pieces[0] + pieces[1]]
            tokens += [pieces[0]] * (pieces[0] not in tokens)
    merges = list(dict.fromkeys(merges))
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": padding,
    }
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    return len(tokens)


def write_folder(
    path: Path, family: Family = SD15, variant: str | None = None, **scheduler
) -> Path:
    """A diffusers folder; variant "fp16" writes half-precision weights under that name."""
    paddings = (
        ["<|endoftext|>", "!"] if family.sdxl else ["!" if family.linear else "<|endoftext|>"]
    )
    index = {
        "_class_name": "StableDiffusionXLPipeline" if family.sdxl else "StableDiffusionPipeline",
        "scheduler": ["diffusers", "DDIMScheduler"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    networks = {"unet": tiny_unet(family), "vae": tiny_vae(family)}
    for number, padding in enumerate(paddings):
        suffix = f"_{number + 1}" * bool(number)
        vocabulary = write_tokenizer(path / f"tokenizer{suffix}", padding)
        networks[f"text_encoder{suffix}"] = tiny_text(family, number, vocabulary)
        index[f"tokenizer{suffix}"] = ["transformers", "CLIPTokenizer"]
        index[f"text_encoder{suffix}"] = ["transformers", "CLIPTextModel"]
    for name, network in networks.items():
        for parameter in network.parameters():
            parameter.data = parameter.data.half() if variant else parameter.data
        network.save_pretrained(path / name, variant=variant)
    (path / "model_index.json").write_text(json.dumps(index))
    (path / "scheduler").mkdir()
    config = {
        "_class_name": "DDIMScheduler",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": family.prediction,
        **scheduler,
    }
    (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    return path


# The original layout

RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "conv_in.": "input_blocks.0.0.",
    "time_embedding.linear_1.": "time_embed.0.",
    "time_embedding.linear_2.": "time_embed.2.",
    "time_embedding.cond_proj.": "time_embed.cond_proj.",
    "add_embedding.linear_1.": "label_emb.0.0.",
    "add_embedding.linear_2.": "label_emb.0.2.",
    "conv_norm_out.": "out.0.",
    "conv_out.": "out.2.",
    "mid_block.resnets.0.": "middle_block.0.",
    "mid_block.attentions.0.": "middle_block.1.",
    "mid_block.resnets.1.": "middle_block.2.",
    "controlnet_cond_embedding.conv_in.": "input_hint_block.0.",
    "controlnet_cond_embedding.conv_out.": "input_hint_block.14.",
    "controlnet_mid_block.": "middle_block_out.0.",
}


def ldm_places(network: nn.Module) -> dict[str, str]:
    """Prefixes of a UNet's or ControlNet's modules: diffusers' to LDM's."""
    levels, layers = len(network.config.block_out_channels), network.config.layers_per_block
    ups = getattr(network.config, "up_block_types", None) or [""] * levels
    places = dict(TOP)
    for i in range(levels):
        first = 1 + i * (layers + 1)
        places[f"down_blocks.{i}.downsamplers.0.conv."] = f"input_blocks.{first + layers}.0.op."
        for layer in range(layers):
            places |= {
                f"down_blocks.{i}.resnets.{layer}.": f"input_blocks.{first + layer}.0.",
                f"down_blocks.{i}.attentions.{layer}.": f"input_blocks.{first + layer}.1.",
            }
        first = i * (layers + 1)
        for layer in range(layers + 1):
            places |= {
                f"up_blocks.{i}.resnets.{layer}.": f"output_blocks.{first + layer}.0.",
                f"up_blocks.{i}.attentions.{layer}.": f"output_blocks.{first + layer}.1.",
            }
        after = 2 if "CrossAttn" in ups[i] else 1
        places[f"up_blocks.{i}.upsamplers.0."] = f"output_blocks.{first + layers}.{after}."
    for i in range(levels * (layers + 1)):
        places[f"controlnet_down_blocks.{i}."] = f"zero_convs.{i}.0."
    for i in range(6):
        places[f"controlnet_cond_embedding.blocks.{i}."] = f"input_hint_block.{2 * i + 2}."
    return places


def to_ldm(network: nn.Module, prefix: str) -> dict[str, Tensor]:
    places = ldm_places(network)
    renamed = {}
    for name, tensor in network.state_dict().items():
        place = max((p for p in places if name.startswith(p)), key=len)
        rest = name[len(place) :]
        if "resnets" in place:
            inner, _, kind = rest.rpartition(".")
            rest = f"{RESNET[inner]}.{kind}"
        renamed[prefix + places[place] + rest] = tensor
    return renamed


VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def vae_to_ldm(vae: AutoencoderKL) -> dict[str, Tensor]:
    levels, renamed = len(vae.config.block_out_channels), {}
    for name, tensor in vae.state_dict().items():
        new = name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")
        for i in range(levels):
            down, up = f"encoder.down_blocks.{i}.", f"decoder.up_blocks.{i}."
            new = new.replace(down + "resnets.", f"encoder.down.{i}.block.")
            new = new.replace(down + "downsamplers.0.", f"encoder.down.{i}.downsample.")
            new = new.replace(up + "resnets.", f"decoder.up.{levels - 1 - i}.block.")
            new = new.replace(up + "upsamplers.0.", f"decoder.up.{levels - 1 - i}.upsample.")
        new = new.replace("mid_block.resnets.0", "mid.block_1")
        new = new.replace("mid_block.resnets.1", "mid.block_2")
        for mine, theirs in VAE_ATTENTION.items():
            new = new.replace(f"mid_block.attentions.0.{mine}.", f"mid.attn_1.{theirs}.")
        convolution = "mid.attn_1" in new and tensor.ndim == 2
        renamed["first_stage_model." + new] = tensor[:, :, None, None] if convolution else tensor
    return renamed


OPEN_CLIP = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "self_attn.out_proj": "attn.out_proj",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}


def clip_names(encoder: nn.Module) -> dict[str, Tensor]:
    """By CLIP's names without the prefix that versions of transformers differ in."""
    return {n.removeprefix("text_model."): t for n, t in encoder.state_dict().items()}


def text_to_open_clip(encoder: nn.Module, prefix: str, extra_layer: bool) -> dict[str, Tensor]:
    """OpenCLIP's names; `extra_layer` adds SD 2's unused last one."""
    own = clip_names(encoder)
    renamed = {
        "token_embedding.weight": own["embeddings.token_embedding.weight"],
        "positional_embedding": own["embeddings.position_embedding.weight"],
        "ln_final.weight": own["final_layer_norm.weight"],
        "ln_final.bias": own["final_layer_norm.bias"],
        "logit_scale": torch.ones(()),
    }
    projection = own.get("text_projection.weight", torch.eye(64))
    renamed["text_projection"] = projection.t().contiguous()
    count = encoder.config.num_hidden_layers
    for layer in range(count + extra_layer):
        source = f"encoder.layers.{min(layer, count - 1)}."
        target = f"transformer.resblocks.{layer}."
        for kind in ("weight", "bias"):
            joint = [own[f"{source}self_attn.{c}_proj.{kind}"] for c in "qkv"]
            renamed[f"{target}attn.in_proj_{kind}"] = torch.cat(joint)
            for mine, theirs in OPEN_CLIP.items():
                renamed[f"{target}{theirs}.{kind}"] = own[f"{source}{mine}.{kind}"].clone()
    return {prefix + name: tensor for name, tensor in renamed.items()}


def text_to_clip(encoder: nn.Module, prefix: str) -> dict[str, Tensor]:
    renamed = {f"{prefix}text_model.{n}": t for n, t in clip_names(encoder).items()}
    renamed[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return renamed


def write_single_file(path: Path, family: Family, vocabulary: int) -> Path:
    """A checkpoint in the original layout; the same weights as `write_folder` gives."""
    first = tiny_text(family, 0, vocabulary)
    if family.sdxl:
        second = tiny_text(family, 1, vocabulary)
        text = {
            **text_to_clip(first, "conditioner.embedders.0.transformer."),
            **text_to_open_clip(second, "conditioner.embedders.1.model.", False),
        }
    elif family.linear:
        text = text_to_open_clip(first, "cond_stage_model.model.", True)
    else:
        text = text_to_clip(first, "cond_stage_model.transformer.")
    unet = to_ldm(tiny_unet(family), "model.diffusion_model.")
    tensors = {**unet, **vae_to_ldm(tiny_vae(family)), **text}
    if family.prediction == "v_prediction":
        tensors["v_pred"] = torch.ones(1)
    tensors["alphas_cumprod"] = torch.ones(1000)  # the original files carry their schedule along
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path


def write_controlnet(path: Path, family: Family, layout: str = "folder") -> Path:
    """A ControlNet as a "folder", or a file with "diffusers" or "ldm" names."""
    network = tiny_controlnet(family)
    if layout == "folder":
        network.save_pretrained(path)
    elif layout == "diffusers":
        save_file(network.state_dict(), path)
    else:
        tensors = to_ldm(network, "control_model.")
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)
    return path
