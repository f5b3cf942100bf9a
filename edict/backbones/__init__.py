"""The networks behind one calling convention."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from .pocket.options import PocketOptions
from .seesr.options import SeesrOptions
from .stable_diffusion.options import DiffusersOptions

if TYPE_CHECKING:  # the command line asks for options, long before it needs torch
    import torch

    from ..protocols import Backbone


class BackboneType(NamedTuple):
    """A kind of backbone.

    Attributes:
        options: a frozen dataclass: what can be chosen.
        module, function: its loader, which takes a device and the options as keywords.
    """

    options: type
    module: str
    function: str

    def load(self, device: str | torch.device, **options: Any) -> Backbone:
        """Load it; its module is imported now."""
        return getattr(import_module(self.module, __package__), self.function)(device, **options)


BACKBONES = {
    "pocket": BackboneType(PocketOptions, ".pocket.backbone", "load_pocket"),
    "diffusers": BackboneType(DiffusersOptions, ".stable_diffusion.backbone", "load_diffusers"),
    "seesr": BackboneType(SeesrOptions, ".seesr.backbone", "load_seesr"),
}

_POCKET_0_1 = "the embedded denoiser of version 0.1, which has been replaced by another network"
# What backbones were whose names saved states still have.
REPLACED = {"pocket": _POCKET_0_1, "pocket, compiled": _POCKET_0_1}


def load_backbone(
    name: str, device: str | torch.device = "cpu", compile: bool = False, **options: Any
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: one of `BACKBONES`.
        device: where it works.
        compile: its networks through torch.compile: minutes at each picture size's first call.
        options: the attributes of the type's options.
    Raises: ValueError for an unknown name or unusable weights.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose from {', '.join(BACKBONES)}")
    backbone = BACKBONES[name].load(device, **options)
    if not compile:
        return backbone
    from .compiled import CompiledBackbone

    return CompiledBackbone(backbone)
