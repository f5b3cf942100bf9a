"""Stable Diffusion's networks, built without memory, checked against their files, then filled."""

import logging
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ....files.outlines import outline
from ....files.reading import reading
from ....files.weights import check_fit, fill_module
from .checkpoint import TextPart
from .keys import Tensors

MANY = 10_000  # tensors; SDXL's UNet has 1,680


def build_unet(
    config: dict[str, Any], source: object = "the file", tensors: int = MANY
) -> nn.Module:
    """A UNet2DConditionModel on the meta device, for a file of so many tensors."""
    from diffusers import UNet2DConditionModel

    return _build(UNet2DConditionModel, config, source, tensors)


def build_controlnet(
    config: dict[str, Any], source: object = "the file", tensors: int = MANY
) -> nn.Module:
    """A ControlNetModel on the meta device; as `build_unet`."""
    from diffusers import ControlNetModel

    return _build(ControlNetModel, config, source, tensors)


def build_vae(
    config: dict[str, Any], source: object = "the file", tensors: int = MANY
) -> nn.Module:
    """An AutoencoderKL on the meta device; as `build_unet`."""
    from diffusers import AutoencoderKL

    return _build(AutoencoderKL, config, source, tensors)


def build_text_encoder(
    config: dict[str, Any], projection: bool, source: object = "the file", tensors: int = MANY
) -> nn.Module:
    """A CLIP text encoder on the meta device, with SDXL's projection of the pooled text or not."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    kind = CLIPTextModelWithProjection if projection else CLIPTextModel
    what = "text encoder that can be built from its configuration"
    with reading(str(source), what), outline(tensors), _quiet("transformers"):
        return kind(CLIPTextConfig(**config))


def _build(kind: Any, config: dict[str, Any], source: object, tensors: int) -> nn.Module:
    """A diffusers network on the meta device; attention by PyTorch's scaled_dot_product_attention.

    Raises: ValueError for a configuration that makes no network.
    """
    config = {name: value for name, value in config.items() if not name.startswith("_")}
    what = f"{kind.__name__} that can be built from its configuration"
    told = reading(str(source), what, "fetch it again or choose another")
    with told, outline(tensors), _quiet("diffusers"):
        return kind.from_config(config)


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


def build_text_encoder_of(text: TextPart, projection: bool) -> nn.Module:
    """The network for a text encoder on disk; as `build_text_encoder`."""
    file = next((stored.path for stored in text.tensors.values()), "the file")
    return build_text_encoder(text.config, projection, file, len(text.tensors))


def load_text_encoder(text: TextPart, projection: bool, device: torch.device) -> Any:
    """Load a text encoder in float32."""
    encoder = build_text_encoder_of(text, projection)
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
