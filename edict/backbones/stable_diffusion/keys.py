"""Names of Stable Diffusion's tensors: the original (LDM) layout in diffusers' and CLIP's words."""

import re
from collections.abc import Callable, Iterable

from torch import Tensor

from ....files.stored import Stored

Tensors = dict[str, Stored]

UNET, CONTROL = "model.diffusion_model.", "control_model."
VAE = "first_stage_model."
# Where a checkpoint keeps its text encoders, and whether they have CLIP's or OpenCLIP's names.
TEXT = {
    "cond_stage_model.transformer.": "clip",
    "cond_stage_model.model.": "open_clip",
    "conditioner.embedders.0.transformer.": "clip",
    "conditioner.embedders.0.model.": "open_clip",
    "conditioner.embedders.1.model.": "open_clip",
}

_EMBEDDINGS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "time_embed.cond_proj": "time_embedding.cond_proj",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
    "middle_block_out.0": "controlnet_mid_block",
    "input_hint_block.0": "controlnet_cond_embedding.conv_in",
    "input_hint_block.14": "controlnet_cond_embedding.conv_out",
}
_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_VAE_ATTENTION = {
    "norm": "group_norm",
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "proj_out": "to_out.0",
    # Folders written by old versions of diffusers.
    "query": "to_q",
    "key": "to_k",
    "value": "to_v",
    "proj_attn": "to_out.0",
}
_OPEN_CLIP = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_OPEN_CLIP_TOP = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}


def part(tensors: Tensors, prefix: str) -> Tensors:
    """The tensors under a prefix, without it."""
    return {n[len(prefix) :]: t for n, t in tensors.items() if n.startswith(prefix)}


def unet_from_ldm(tensors: Tensors) -> Tensors:
    """A UNet's or ControlNet's tensors by diffusers' names, from LDM's.

    Args:
        tensors: without the prefix `UNET` or `CONTROL`. Unknown names are kept as they are, so
            that the check against the network finds them.
    """
    layers = layers_per_block(tensors)
    return {_unet_name(name, layers): tensor for name, tensor in tensors.items()}


def layers_per_block(names: Iterable[str]) -> int:
    """Residual layers of a level: its blocks are these and the downsampling one."""
    downs = [int(m[1]) for n in names if (m := re.match(r"input_blocks\.(\d+)\.0\.op\.", n))]
    if downs:
        return min(downs) - 1
    return max(
        (int(m[1]) for n in names if (m := re.match(r"input_blocks\.(\d+)\.", n))), default=1
    )


def _unet_name(name: str, layers: int) -> str:
    for old, new in _EMBEDDINGS.items():
        if name.startswith(old + "."):
            return new + name[len(old) :]
    for pattern, place in _PLACES.items():
        if match := re.match(pattern, name):
            return place(layers, int(match[1]), *match.groups()[1:])
    return name


def _zero_conv(_: int, number: int, rest: str) -> str:
    return f"controlnet_down_blocks.{number}.{rest}"


def _hint(_: int, number: int, rest: str) -> str:
    return f"controlnet_cond_embedding.blocks.{number // 2 - 1}.{rest}"


def _middle(_: int, number: int, rest: str) -> str:
    place = ("resnets.0", "attentions.0", "resnets.1")[number]
    return f"mid_block.{place}.{_inner(rest)}"


def _down(layers: int, number: int, kind: str, rest: str) -> str:
    block, layer = divmod(number - 1, layers + 1)
    if rest.startswith("op."):
        return f"down_blocks.{block}.downsamplers.0.conv.{rest[3:]}"
    return f"down_blocks.{block}.{_KINDS[kind]}.{layer}.{_inner(rest)}"


def _up(layers: int, number: int, kind: str, rest: str) -> str:
    block, layer = divmod(number, layers + 1)
    if rest.startswith("conv."):
        return f"up_blocks.{block}.upsamplers.0.{rest}"
    return f"up_blocks.{block}.{_KINDS[kind]}.{layer}.{_inner(rest)}"


_KINDS = {"0": "resnets", "1": "attentions", "2": "upsamplers"}
_PLACES: dict[str, Callable[..., str]] = {
    r"input_blocks\.(\d+)\.(\d)\.(.+)": _down,
    r"output_blocks\.(\d+)\.(\d)\.(.+)": _up,
    r"middle_block\.([012])\.(.+)": _middle,
    r"zero_convs\.(\d+)\.0\.(.+)": _zero_conv,
    r"input_hint_block\.(\d+)\.(.+)": _hint,
}


def _inner(name: str) -> str:
    for old, new in _RESNET.items():
        if name.startswith(old + "."):
            return new + name[len(old) :]
    return name


def vae_from_ldm(tensors: Tensors) -> Tensors:
    """An autoencoder's tensors by diffusers' names, from LDM's or old diffusers'."""
    levels = 1 + max(
        (int(m[1]) for n in tensors if (m := re.match(r"decoder\.up\.(\d+)\.", n))), default=0
    )
    renamed = {}
    for name, tensor in tensors.items():
        new = _vae_name(name, levels)
        linear = ".attentions.0." in new and new.endswith(".weight") and len(tensor.shape) == 4
        renamed[new] = tensor.changed(_without_pixels) if linear else tensor
    return renamed


def _without_pixels(weight: Tensor) -> Tensor:
    """A 1x1 convolution's weight as a linear layer's."""
    return weight[:, :, 0, 0]


def _vae_name(name: str, levels: int) -> str:
    name = re.sub(r"\.norm_out\.", ".conv_norm_out.", name)
    name = re.sub(r"\.nin_shortcut\.", ".conv_shortcut.", name)
    name = re.sub(r"\.mid\.block_([12])\.", lambda m: f".mid_block.resnets.{int(m[1]) - 1}.", name)
    name = re.sub(r"\.mid\.attn_1\.", ".mid_block.attentions.0.", name)
    if match := re.match(r"(.+\.mid_block\.attentions\.0)\.(\w+)\.(weight|bias)$", name):
        return f"{match[1]}.{_VAE_ATTENTION.get(match[2], match[2])}.{match[3]}"
    if match := re.match(r"encoder\.down\.(\d+)\.(block|downsample)\.(.+)", name):
        return f"encoder.down_blocks.{match[1]}.{_vae_inner(match[2], match[3])}"
    if match := re.match(r"decoder\.up\.(\d+)\.(block|upsample)\.(.+)", name):
        return f"decoder.up_blocks.{levels - 1 - int(match[1])}.{_vae_inner(match[2], match[3])}"
    return name


def _vae_inner(kind: str, rest: str) -> str:
    return f"resnets.{rest}" if kind == "block" else f"{kind}rs.0.{rest}"


def text_from_clip(tensors: Tensors) -> Tensors:
    """A CLIP text encoder's tensors, without the prefix that some versions write."""
    bare = {name.removeprefix("text_model."): tensor for name, tensor in tensors.items()}
    unused = ("embeddings.position_ids", "logit_scale")
    return {name: tensor for name, tensor in bare.items() if name not in unused}


def text_from_open_clip(tensors: Tensors) -> Tensors:
    """An OpenCLIP text encoder's tensors by CLIP's names; the projection is `text_projection`."""
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if name in _OPEN_CLIP_TOP:
            renamed[_OPEN_CLIP_TOP[name]] = tensor
        elif name == "text_projection":
            renamed["text_projection.weight"] = tensor.changed(Tensor.t)
        elif layer := re.match(r"transformer\.resblocks\.(\d+)\.(.+)\.?(weight|bias)$", name):
            renamed |= _open_clip_layer(f"encoder.layers.{layer[1]}.", layer[2], layer[3], tensor)
        elif name not in ("logit_scale", "attn_mask") and not name.startswith("visual."):
            renamed[name] = tensor
    return renamed


def _open_clip_layer(prefix: str, inner: str, kind: str, tensor: Stored) -> Tensors:
    inner = inner.rstrip("._")
    if inner == "attn.in_proj":
        return {
            f"{prefix}self_attn.{letter}_proj.{kind}": tensor.changed(_third(index))
            for index, letter in enumerate("qkv")
        }
    return {f"{prefix}{_OPEN_CLIP.get(inner, inner)}.{kind}": tensor}


def _third(index: int) -> Callable[[Tensor], Tensor]:
    """The query's, key's or value's share of a joint projection."""
    return lambda joint: joint.chunk(3)[index]
