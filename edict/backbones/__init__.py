"""The networks behind one calling convention."""

from typing import Any

import torch

from ..protocols import Backbone
from .pocket import load_pocket

BACKBONES = {"pocket": load_pocket}


def load_backbone(name: str, device: str | torch.device = "cpu", **options: Any) -> Backbone:
    """Load a backbone by name.

    Raises: ValueError for an unknown name or unusable weights.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose from {', '.join(BACKBONES)}")
    return BACKBONES[name](device, **options)
