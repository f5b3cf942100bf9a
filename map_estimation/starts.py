"""Where the ascent starts: at the input, at the model's estimate of it, or at a sample."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import BoundPicture
from ..edict.estimate import is_blind, seeded_noise
from ..edict.protocols import Backbone
from .expected import Expected
from .settings import MapSettings, Start

# Latents of pictures (members, C, h, w) to the mean of their energies.
Judge = Callable[[Tensor], float]
# A latent (1, C, h, w) that is inverted exactly, or noise itself.
Beginning = Tensor | LatentPair


@dataclass(frozen=True)
class Given:
    """What a start is made of.

    Attributes:
        bound: the picture, with its network.
        settings: which start, and how.
        judge: chooses among samples.
        expected: what the model expects of the picture.
    """

    bound: BoundPicture
    settings: MapSettings
    judge: Judge
    expected: Expected


def begin(given: Given) -> Beginning:
    """Where the settings have the ascent of one picture start."""
    return _STARTS[given.settings.start](given)


def check_start(settings: MapSettings, backbone: Backbone) -> None:
    """Raise ValueError for a start that this backbone cannot make."""
    if settings.start == "sample" and not backbone.conditioned:
        raise ValueError(
            f"{backbone.name} is not conditioned on the picture, so what it draws from noise would "
            "be any picture: give it a ControlNet, or choose the start input or estimate"
        )


def settings_for(settings: MapSettings, backbone: Backbone) -> MapSettings:
    """The settings as far as this backbone can follow them.

    A model that does not see the picture it is bound to expects, of nearly pure noise, any picture
    at all: then the ascent starts at the input, and nothing is expected.
    """
    blind = is_blind(backbone, settings.inversion.strength)
    if not blind or not (settings.start == "estimate" or settings.expectation):
        return settings
    start: Start = "input" if settings.start == "estimate" else settings.start
    return replace(settings, start=start, expectation=0.0)


def _input(given: Given) -> Tensor:
    return given.bound.encode()


def _estimate(given: Given) -> Tensor:
    estimate = given.expected.latent(given.bound)
    return torch.lerp(given.bound.encode(), estimate, given.settings.blend)


def _sample(given: Given) -> LatentPair:
    """The best of a few samples; of one member their memory is none."""
    bound, settings = given.bound, given.settings
    noises = [
        LatentPair(x, x if bound.bijection.members == 2 else torch.zeros_like(x))
        for x in seeded_noise(bound.encode(), settings.draws, settings.seed)
    ]
    if len(noises) == 1:
        return noises[0]
    return min(noises, key=lambda noise: given.judge(bound.reconstruct(noise)))


_STARTS: dict[Start, Callable[[Given], Beginning]] = {
    "input": _input,
    "estimate": _estimate,
    "sample": _sample,
}
