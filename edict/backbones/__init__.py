"""The networks behind one calling convention."""

from collections.abc import Callable
from typing import Any

import torch

from ..protocols import Backbone
from .compiled import CompiledBackbone
from .pocket.backbone import load_pocket
from .seesr.backbone import load_seesr
from .stable_diffusion.backbone import load_diffusers

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "pocket": load_pocket,
    "diffusers": load_diffusers,
    "seesr": load_seesr,
}


def load_backbone(
    name: str, device: str | torch.device = "cpu", compile: bool = False, **options: Any
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: one of `BACKBONES`.
        device: where it works.
        compile: its networks through torch.compile: minutes at each picture size's first call.
        options: what that backbone takes: "pocket" nothing, "diffusers" the attributes of
            `DiffusersOptions`, "seesr" those of `SeesrOptions`.
    Raises: ValueError for an unknown name or unusable weights.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose from {', '.join(BACKBONES)}")
    backbone = BACKBONES[name](device, **options)
    return CompiledBackbone(backbone) if compile else backbone
