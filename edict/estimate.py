"""What a diffusion model makes of a picture in one step: its own estimate of the clean picture."""

import math

import torch
from torch import Tensor

from .bound_picture import BoundPicture
from .protocols import Backbone
from .schedule import Schedule, Step

MOST_BLIND = 0.5  # strength up to which a model that does not see the picture may estimate it


def is_blind(backbone: Backbone, strength: float) -> bool:
    """Whether the estimate has next to nothing of the picture in it: it would be any picture."""
    return not backbone.conditioned and strength > MOST_BLIND


def estimate_latent(bound: BoundPicture, draws: int = 2, seed: int = 0) -> Tensor:
    """The clean latent that the model expects, mean over noises.

    The picture is brought to the noisiest level of its schedule, and one step leads from there to
    the clean end. At full strength that level is nearly pure noise, and all that is known of the
    picture is what the model is conditioned on; less strength keeps more of the picture itself.

    Args:
        bound: the picture (B, 3, H, W), with its network.
        draws: how many noises; one network call each.
        seed: of the noises.
    Returns: latents (B, C, h, w), in the precision of the state.
    """
    latent, schedule = bound.encode(), bound.bijection.schedule
    step = whole_step(schedule)
    estimates = []
    for noise in seeded_noise(latent, draws, seed):
        noisy = noised(latent, noise, step, schedule.prediction)
        direction = bound.bijection.denoiser(noisy, step.label).to(noisy)
        estimates.append(step.a * noisy + step.b * direction)
    return torch.stack(estimates).mean(0)


def seeded_noise(latent: Tensor, draws: int, seed: int) -> list[Tensor]:
    """Standard normal noises of a latent's shape, the same on every device."""
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(latent.shape)
    return [torch.randn(shape, generator=generator).to(latent) for _ in range(draws)]


def whole_step(schedule: Schedule) -> Step:
    """All of a schedule in one step: s <- a s + b f, f asked once, at the noisiest level.

    Source: DDIM; for v-prediction in angles, for the others f stays the same along the way.
    """
    label = schedule.steps[0].label
    if schedule.prediction == "v":
        turn = sum(math.atan2(-step.b, step.a) for step in schedule.steps)
        return Step(math.cos(turn), -math.sin(turn), label)
    a, b = 1.0, 0.0
    for step in schedule.steps:
        a, b = step.a * a, step.a * b + step.b
    return Step(a, b, label)


def noised(latent: Tensor, noise: Tensor, step: Step, prediction: str) -> Tensor:
    """The noisy latent that `step` leads to `latent` from, if the model knows the noise.

    Its direction there is the noise itself (eps), noise - latent (flow), or the derivative by the
    angle (v).
    """
    if prediction == "v":
        return step.a * latent - step.b * noise
    direction = noise - latent if prediction == "flow" else noise
    return (latent - step.b * direction) / step.a
