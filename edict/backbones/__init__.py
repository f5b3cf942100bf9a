"""The networks behind one calling convention."""

from collections.abc import Callable
from typing import Any

import torch

from ..protocols import Backbone
from .diffusers_backbone import load_diffusers
from .pocket import load_pocket
from .seesr import load_seesr

BACKBONES: dict[str, Callable[..., Backbone]] = {
    "pocket": load_pocket,
    "diffusers": load_diffusers,
    "seesr": load_seesr,
}


def load_backbone(name: str, device: str | torch.device = "cpu", **options: Any) -> Backbone:
    """Load a backbone by name.

    Args:
        name: one of `BACKBONES`.
        device: where it works.
        options: what that backbone takes: "pocket" nothing, "diffusers" the attributes of
            `DiffusersOptions`, "seesr" those of `SeesrOptions`.
    Raises: ValueError for an unknown name or unusable weights.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose from {', '.join(BACKBONES)}")
    return BACKBONES[name](device, **options)
