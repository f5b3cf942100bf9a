"""Latent MAP: diffusion latent MAP estimation for ComfyUI and Python (arXiv 2403.06406)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .edict.backbones import load_backbone
    from .fidelity.loading import load_fidelity
    from .iqa_priors.loading import load_prior
    from .map_estimation.enhance import enhance
    from .map_estimation.enhancer import Enhancer
    from .map_estimation.settings import preset

WEB_DIRECTORY = "./web"
# The library's front door: what is behind it, torch first of all, is imported when it is used.
_BEHIND = {
    "Enhancer": "map_estimation.enhancer",
    "enhance": "map_estimation.enhance",
    "load_backbone": "edict.backbones",
    "load_fidelity": "fidelity.loading",
    "load_prior": "iqa_priors.loading",
    "preset": "map_estimation.settings",
}
__all__ = ["Enhancer", "enhance", "load_backbone", "load_fidelity", "load_prior", "preset"]


def __getattr__(name: str) -> Any:
    """What is behind the front door."""
    if name not in _BEHIND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_BEHIND[name]}", __name__), name)


def __dir__() -> list[str]:
    """What there is, for completion."""
    return [*globals(), *_BEHIND]


async def comfy_entrypoint():
    """ComfyUI's entry point (V3): the nodes of the pack."""
    from .nodes import LatentMapExtension, prepare_queued_prompts

    prepare_queued_prompts()  # here, because the oldest core calls no on_load
    return LatentMapExtension()
