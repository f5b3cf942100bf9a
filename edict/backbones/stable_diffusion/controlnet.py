"""Finding a ControlNet, in whatever layout, and checking that it guides a network."""

from pathlib import Path
from typing import Any

import torch

from ....files.config_rules import CONTROLNET
from ....files.network_folder import Part, find_part
from ....files.weights import find_tensors
from .checkpoint import refuse_seesr
from .configs import controlnet_config
from .keys import CONTROL, part, unet_from_ldm

_LDM_CONTROL, _DIFFUSERS_CONTROL = "input_hint_block.0.weight", "controlnet_cond_embedding."
_UNION = "task_embedding"


def find_controlnet(path: Path, dtype: torch.dtype, unet: Part) -> Part:
    """Find a ControlNet and check that it belongs to this UNet's family.

    Args:
        path: a diffusers folder, or a file with diffusers' or LDM's names.
        dtype: chooses between "fp16" and full files where both are there.
        unet: the network it is to guide.
    Raises: ValueError if it is missing, damaged, SeeSR's, or made for another family.
    """
    if path.is_dir():
        control = find_part(path, dtype, ["ControlNetModel"], CONTROLNET)
        refuse_seesr(control.tensors, path)
    else:
        control = _find_file(path, unet)
    channels = control.config.get("conditioning_channels", 3)
    if channels != 3:
        raise ValueError(
            f"{path} is a ControlNet that sees {channels} channels, a picture has 3: choose one "
            "that sees the picture, such as tile"
        )
    for key, what in (("cross_attention_dim", "text width"), ("block_out_channels", "channels")):
        mine, its = _plain(control.config.get(key)), _plain(unet.config.get(key))
        if mine != its:
            raise ValueError(
                f"{path} is a ControlNet for another model ({what} {mine} instead of {its}): "
                "choose one made for the checkpoint's family (SD 1.5, SD 2.x or SDXL)"
            )
    return control


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _find_file(path: Path, unet: Part) -> Part:
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
