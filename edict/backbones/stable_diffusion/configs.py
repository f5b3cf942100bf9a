"""Configurations of Stable Diffusion's networks, read off the shapes of their tensors."""

from collections.abc import Iterable, Mapping

from ....files.stored import Stored

SDXL_POOLED = 1280
_HEAD = 64  # channels of an attention head where projections are linear, and in CLIP


def unet_config(tensors: Mapping[str, Stored], pooled: int = SDXL_POOLED) -> dict:
    """Configuration of an SD 1.5, 2.x or SDXL UNet by diffusers' names.

    Args:
        tensors: by diffusers' names.
        pooled: width of SDXL's pooled text, which with six time numbers makes its added input.
    Raises: ValueError if there is no such network among the tensors.
    """
    config = _shared_config(tensors, pooled)
    out = _stored(tensors, "conv_out.weight")
    blocks = config["down_block_types"]
    kinds = {"CrossAttnDownBlock2D": "CrossAttnUpBlock2D", "DownBlock2D": "UpBlock2D"}
    config["up_block_types"] = tuple(kinds[kind] for kind in reversed(blocks))
    if told := tensors.get("time_embedding.cond_proj.weight"):
        config["time_cond_proj_dim"] = told.shape[1]
    return {**config, "out_channels": out.shape[0]}


def controlnet_config(tensors: Mapping[str, Stored], pooled: int = SDXL_POOLED) -> dict:
    """Configuration of a ControlNet by diffusers' names; the same arguments as `unet_config`."""
    prefix = "controlnet_cond_embedding."
    first = _stored(tensors, prefix + "conv_in.weight")
    pairs = range(_count(tensors, prefix + "blocks.") // 2)
    widths = [tensors[f"{prefix}blocks.{2 * i + 1}.weight"].shape[0] for i in pairs]
    return {
        **_shared_config(tensors, pooled),
        "conditioning_channels": first.shape[1],
        "conditioning_embedding_out_channels": (first.shape[0], *widths),
    }


def _shared_config(tensors: Mapping[str, Stored], pooled: int) -> dict:
    """What a UNet and its ControlNet have in common."""
    blocks = range(_count(tensors, "down_blocks."))
    widths = [_stored(tensors, f"down_blocks.{i}.resnets.0.conv1.weight").shape[0] for i in blocks]
    depths = [_count(tensors, f"down_blocks.{i}.attentions.0.transformer_blocks.") for i in blocks]
    mid = _count(tensors, "mid_block.attentions.0.transformer_blocks.")
    at = "mid_block.attentions.0."
    linear = len(_stored(tensors, at + "proj_in.weight").shape) == 2
    context = _stored(tensors, at + "transformer_blocks.0.attn2.to_k.weight").shape[1]
    config = {
        "in_channels": _stored(tensors, "conv_in.weight").shape[1],
        "block_out_channels": tuple(widths),
        "down_block_types": tuple("CrossAttnDownBlock2D" if d else "DownBlock2D" for d in depths),
        "layers_per_block": _count(tensors, "down_blocks.0.resnets."),
        # The middle block has as many layers as the last level would.
        "transformer_layers_per_block": (*(d or 1 for d in depths[:-1]), mid),
        "cross_attention_dim": context,
        "use_linear_projection": linear,
        # diffusers' name for the number of heads: 8 in SD 1, 64 channels each in SD 2 and XL.
        "attention_head_dim": tuple(max(1, w // _HEAD) for w in widths) if linear else 8,
    }
    if added := tensors.get("add_embedding.linear_1.weight"):
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (added.shape[1] - pooled) // 6,
            "projection_class_embeddings_input_dim": added.shape[1],
        }
    return config


def vae_config(tensors: Mapping[str, Stored], scaling_factor: float) -> dict:
    """Configuration of an autoencoder by diffusers' names.

    Raises: ValueError if there is none among the tensors.
    """
    blocks = range(_count(tensors, "encoder.down_blocks."))
    at = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    widths = tuple(_stored(tensors, at.format(i)).shape[0] for i in blocks)
    return {
        "block_out_channels": widths,
        "down_block_types": ("DownEncoderBlock2D",) * len(widths),
        "up_block_types": ("UpDecoderBlock2D",) * len(widths),
        "layers_per_block": _count(tensors, "encoder.down_blocks.0.resnets."),
        "latent_channels": _stored(tensors, "decoder.conv_in.weight").shape[1],
        "scaling_factor": scaling_factor,
    }


def text_config(tensors: Mapping[str, Stored], activation: str) -> dict:
    """Configuration of a CLIP text encoder by CLIP's names.

    Args:
        tensors: by CLIP's names, without "text_model.".
        activation: "quick_gelu" for OpenAI's CLIP, "gelu" for OpenCLIP.
    """
    vocabulary, width = _stored(tensors, "embeddings.token_embedding.weight").shape
    projection = tensors.get("text_projection.weight")
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "max_position_embeddings": _stored(tensors, "embeddings.position_embedding.weight").shape[
            0
        ],
        "num_hidden_layers": _count(tensors, "encoder.layers."),
        "intermediate_size": _stored(tensors, "encoder.layers.0.mlp.fc1.weight").shape[0],
        "num_attention_heads": max(1, width // _HEAD),
        "hidden_act": activation,
        "projection_dim": projection.shape[0] if projection else width,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }


def _count(names: Iterable[str], prefix: str) -> int:
    """How many numbered children a prefix has."""
    children = {n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)}
    last = max((int(number) for number in children if number.isdecimal()), default=-1)
    return min(last, len(children)) + 1  # where numbers are left out, one that is missing is found


def _stored(tensors: Mapping[str, Stored], name: str) -> Stored:
    if name in tensors:
        return tensors[name]
    path = next(iter(tensors.values())).path if tensors else "the file"
    raise ValueError(
        f"{path} holds no Stable Diffusion network that is known here ({name} is missing): choose "
        "an SD 1.5, SD 2.x or SDXL checkpoint"
    )
