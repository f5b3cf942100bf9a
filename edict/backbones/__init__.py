"""The networks behind one calling convention."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ..choices import Acceleration
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
        capturable: whether its network calls can be CUDA graphs, see graphed.py.
    """

    options: type
    module: str
    function: str
    capturable: bool = False

    def load(self, device: str | torch.device, **options: Any) -> Backbone:
        """Load it; its module is imported now."""
        return getattr(import_module(self.module, __package__), self.function)(device, **options)


BACKBONES = {
    "pocket": BackboneType(PocketOptions, ".pocket.backbone", "load_pocket"),
    "diffusers": BackboneType(
        DiffusersOptions, ".stable_diffusion.backbone", "load_diffusers", capturable=True
    ),
    "seesr": BackboneType(SeesrOptions, ".seesr.backbone", "load_seesr", capturable=True),
}

_POCKET_0_1 = "the embedded denoiser of version 0.1, which has been replaced by another network"
# What backbones were whose names saved states still have.
REPLACED = {"pocket": _POCKET_0_1, "pocket, compiled": _POCKET_0_1}


def load_backbone(
    name: str,
    device: str | torch.device = "cpu",
    compile: bool = False,
    acceleration: Acceleration = "auto",
    **options: Any,
) -> Backbone:
    """Load a backbone by name.

    Args:
        name: one of `BACKBONES`.
        device: where it works.
        compile: another word for the acceleration "compile".
        acceleration: how its networks are called. "graph" captures their calls as CUDA graphs and
            replays them, "compile" takes torch.compile, minutes at each picture size's first call,
            "none" calls them plainly; "auto" is "graph" where that is possible, else "none".
        options: the attributes of the type's options.
    Raises: ValueError for an unknown name, unusable weights, or graphs where there are none.
    """
    if name not in BACKBONES:
        raise ValueError(f"unknown backbone {name!r}: choose from {', '.join(BACKBONES)}")
    chosen = chosen_acceleration(compile, acceleration)
    row, on_cuda = BACKBONES[name], str(device).startswith("cuda")
    if chosen == "graph" and not (row.capturable and on_cuda):
        raise ValueError(
            f"acceleration graph needs a CUDA device and a backbone whose calls can be captured: "
            f"{name} on {device} is not such, choose auto"
        )
    backbone = row.load(device, **options)
    if chosen == "graph" or (chosen == "auto" and row.capturable and on_cuda):
        from .graphed import GraphedBackbone

        return GraphedBackbone(backbone)
    if chosen == "compile":
        from .compiled import CompiledBackbone

        return CompiledBackbone(backbone)
    return backbone


def chosen_acceleration(compile: bool, acceleration: Acceleration) -> Acceleration:
    """The acceleration that both words together ask for.

    Raises: ValueError for an unknown one, or two that differ.
    """
    if acceleration not in get_args(Acceleration):
        choices = ", ".join(get_args(Acceleration))
        raise ValueError(f"unknown acceleration {acceleration!r}: choose {choices}")
    if compile and acceleration not in ("auto", "compile"):
        raise ValueError(
            f"compile and acceleration {acceleration} ask for different things: give one of them"
        )
    return "compile" if compile else acceleration
