"""Stable Diffusion's networks, built without memory, checked against their files, then filled."""

import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ....files.weights import check_fit, fill_module, find_tensors
from .configs import controlnet_config
from .files import Part, TextPart, find_part, refuse_seesr
from .keys import CONTROL, Tensors, part, unet_from_ldm

_LDM_CONTROL, _DIFFUSERS_CONTROL = "input_hint_block.0.weight", "controlnet_cond_embedding."
_UNION = "task_embedding"


def build_unet(config: dict[str, Any], source: object = "the file") -> nn.Module:
    """A UNet2DConditionModel on the meta device."""
    from diffusers import UNet2DConditionModel

    return _build(UNet2DConditionModel, config, source)


def build_controlnet(config: dict[str, Any], source: object = "the file") -> nn.Module:
    """A ControlNetModel on the meta device."""
    from diffusers import ControlNetModel

    return _build(ControlNetModel, config, source)


def build_vae(config: dict[str, Any], source: object = "the file") -> nn.Module:
    """An AutoencoderKL on the meta device."""
    from diffusers import AutoencoderKL

    return _build(AutoencoderKL, config, source)


def build_text_encoder(config: dict[str, Any], projection: bool) -> nn.Module:
    """A CLIP text encoder on the meta device, with SDXL's projection of the pooled text or not."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    with torch.device("meta"), _quiet("transformers"):
        kind = CLIPTextModelWithProjection if projection else CLIPTextModel
        return kind(CLIPTextConfig(**config))


def _build(kind: Any, config: dict[str, Any], source: object) -> nn.Module:
    """A diffusers network on the meta device; attention by PyTorch's scaled_dot_product_attention.

    Raises: ValueError for a configuration that makes no network.
    """
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    try:
        with torch.device("meta"), _quiet("diffusers"):
            return kind.from_config(config)
    except (ValueError, TypeError, NotImplementedError, IndexError) as error:
        raise ValueError(
            f"{source}: no {kind.__name__} can be built from its configuration ({error}): fetch it "
            "again or choose another"
        ) from error


@contextmanager
def _quiet(package: str):
    """Without a library's warnings about configuration entries that it does not know."""
    logger = logging.getLogger(package)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def check_network(network: nn.Module, tensors: Tensors, what: str) -> None:
    """Raise ValueError unless the file holds this network; nothing but its header is read."""
    check_fit(network, tensors, what)


def load_network(
    network: nn.Module, tensors: Tensors, what: str, dtype: torch.dtype, device: torch.device
) -> Any:
    """Fill a network built on the meta device: frozen, in eval mode, SDPA attention."""
    from diffusers.models.attention_processor import AttnProcessor2_0

    filled: Any = fill_module(network, tensors, what, dtype, device)
    if hasattr(filled, "set_attn_processor"):
        filled.set_attn_processor(AttnProcessor2_0())
    return filled


def load_text_encoder(text: TextPart, projection: bool, device: torch.device) -> Any:
    """Load a text encoder in float32."""
    encoder = build_text_encoder(text.config, projection)
    tensors = text_tensors(encoder, text.tensors)
    filled: Any = fill_module(encoder, tensors, "a CLIP text encoder", torch.float32, device)
    # position_ids is in no file and still on the meta device.
    for name, buffer in list(filled.named_buffers()):
        owner, _, last = name.rpartition(".")
        if buffer.is_meta and last == "position_ids":
            positions = torch.arange(buffer.shape[-1], device=device)[None]
            filled.get_submodule(owner).register_buffer(last, positions, persistent=False)
    return filled


def text_tensors(encoder: nn.Module, tensors: Tensors) -> Tensors:
    """CLIP's tensors by this encoder's names: versions of transformers differ in a prefix."""
    wanted = encoder.state_dict().keys()
    prefix = "text_model." if any(name.startswith("text_model.") for name in wanted) else ""
    top = "text_projection.weight"
    named = {name if name == top else prefix + name: tensor for name, tensor in tensors.items()}
    if top not in wanted:
        named.pop(top, None)  # a projection that is not used
    return named


def find_controlnet(path: Path, dtype: torch.dtype, unet: Part) -> Part:
    """Find a ControlNet and check that it belongs to this UNet's family.

    Args:
        path: a diffusers folder, or a file with diffusers' or LDM's names.
        dtype: chooses between "fp16" and full files where both are there.
        unet: the network it is to guide.
    Raises: ValueError if it is missing, damaged, SeeSR's, or made for another family.
    """
    if path.is_dir():
        found = find_part(path, dtype, ["ControlNetModel"])
        refuse_seesr(found.tensors, path)
    else:
        found = _find_controlnet_file(path, unet)
    for key, what in (("cross_attention_dim", "text width"), ("block_out_channels", "channels")):
        mine, its = _plain(found.config.get(key)), _plain(unet.config.get(key))
        if mine != its:
            raise ValueError(
                f"{path} is a ControlNet for another model ({what} {mine} instead of {its}): "
                "choose one made for the checkpoint's family (SD 1.5, SD 2.x or SDXL)"
            )
    return found


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _find_controlnet_file(path: Path, unet: Part) -> Part:
    tensors = find_tensors(path, "ControlNet")
    tensors = part(tensors, CONTROL) or tensors
    refuse_seesr(tensors, path)
    if any(name.startswith(_UNION) for name in tensors):
        raise ValueError(
            f"{path} is a union ControlNet: choose one made for a single task, such as tile"
        )
    if _LDM_CONTROL in tensors:
        tensors = unet_from_ldm(tensors)
    elif not any(name.startswith(_DIFFUSERS_CONTROL) for name in tensors):
        raise ValueError(f"{path} holds no ControlNet: choose a ControlNet of the checkpoint")
    added = unet.config.get("projection_class_embeddings_input_dim") or 0
    pooled = added - 6 * (unet.config.get("addition_time_embed_dim") or 0)
    return Part(controlnet_config(tensors, pooled), tensors)
