"""Where the ascent starts: at the input, at the model's estimate of it, or at a sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import BoundPicture
from ..edict.estimate import estimate_latent, seeded_noise
from ..edict.protocols import Backbone
from .settings import MapSettings, Start

# Latents of pictures (members, C, h, w) to the mean of their energies.
Judge = Callable[[Tensor], float]
# A latent (1, C, h, w) that is inverted exactly, or noise itself.
Beginning = Tensor | LatentPair


def begin(bound: BoundPicture, settings: MapSettings, judge: Judge) -> Beginning:
    """Where the settings have the ascent of one picture start."""
    return _STARTS[settings.start](bound, settings, judge)


def check_start(settings: MapSettings, backbone: Backbone) -> None:
    """Raise ValueError for a start that this backbone cannot make."""
    if settings.start == "sample" and not backbone.conditioned:
        raise ValueError(
            f"{backbone.name} is not conditioned on the picture, so what it draws from noise would "
            "be any picture: give it a ControlNet, or choose the start input or estimate"
        )


def _input(bound: BoundPicture, settings: MapSettings, judge: Judge) -> Tensor:  # noqa: ARG001
    return bound.encode()


def _estimate(bound: BoundPicture, settings: MapSettings, judge: Judge) -> Tensor:  # noqa: ARG001
    estimate = estimate_latent(bound, settings.draws, settings.seed)
    return torch.lerp(bound.encode(), estimate, settings.blend)


def _sample(bound: BoundPicture, settings: MapSettings, judge: Judge) -> LatentPair:
    """The best of a few samples; of one member their memory is none."""
    noises = [
        LatentPair(x, x if bound.bijection.members == 2 else torch.zeros_like(x))
        for x in seeded_noise(bound.encode(), settings.draws, settings.seed)
    ]
    if len(noises) == 1:
        return noises[0]
    return min(noises, key=lambda noise: judge(bound.reconstruct(noise)))


_STARTS: dict[Start, Callable[[BoundPicture, MapSettings, Judge], Beginning]] = {
    "input": _input,
    "estimate": _estimate,
    "sample": _sample,
}
