"""Checkpoints distilled to few steps: the labels they know, and guidance that is an input.

SD-Turbo, SDXL-Turbo, Lightning and Hyper know the labels of trailing schedules of their number of
steps, as everything here does by default. Latent consistency models know a fixed number of evenly
spaced labels, and those distilled with guidance are told its strength instead of computing a
second, negative branch.
"""

import math
from typing import Any

import torch
from torch import Tensor

CONSISTENCY = "LCMScheduler"
_CONSISTENCY_CLASSES = (CONSISTENCY, "TCDScheduler")
_WIDTH = "time_cond_proj_dim"  # diffusers' name for the width of the embedded guidance
LEAST_GUIDANCE, MOST_GUIDANCE = 3.0, 15.0


def known_labels(scheduler: dict[str, Any]) -> int | None:
    """How many labels a consistency model was distilled at; None for all other models."""
    if scheduler.get("_class_name") not in _CONSISTENCY_CLASSES:
        return None
    return int(scheduler.get("original_inference_steps", 50))


def embeds_guidance(unet: dict[str, Any]) -> bool:
    """Whether a UNet of this configuration is told the guidance."""
    return bool(unet.get(_WIDTH))


def check_guidance(unet: dict[str, Any], cfg: float, negative: str, source: object) -> None:
    """Raise ValueError for guidance that a network which is told it was not distilled for."""
    if not embeds_guidance(unet):
        return
    if not LEAST_GUIDANCE <= cfg <= MOST_GUIDANCE:
        raise ValueError(
            f"{source} is a latent consistency model that is told its guidance, and cfg {cfg:g} is "
            f"none it was distilled for: choose cfg {LEAST_GUIDANCE:g} to {MOST_GUIDANCE:g}; 8.5 "
            "is usual, and costs no second branch"
        )
    if negative:
        raise ValueError(
            f"{source} is a latent consistency model that is told its guidance, so that it has no "
            "use for a negative prompt: leave it out"
        )


def guidance_embedding(unet: dict[str, Any], cfg: float) -> Tensor | None:
    """What such a network is told, (1, width); None for the others.

    Source: Luo et al., arXiv 2310.04378, whose omega is cfg - 1; sines and cosines as in diffusers.
    """
    if not embeds_guidance(unet):
        return None
    half = unet[_WIDTH] // 2
    frequencies = torch.exp(torch.arange(half) * (-math.log(10_000) / (half - 1)))
    angles = 1000 * (cfg - 1) * frequencies
    return torch.cat((angles.sin(), angles.cos()))[None]
