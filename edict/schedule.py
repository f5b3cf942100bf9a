"""Noise schedules as per-step coefficients (A, B, label) of a deterministic sampler, Eq. (4)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from .choices import Prediction, Spacing

if TYPE_CHECKING:
    from torch import Tensor

TRAIN_STEPS = 1000


class Step(NamedTuple):
    """One denoising step s <- a s + b f(network input, label)."""

    a: float
    b: float
    label: float


@dataclass(frozen=True)
class Schedule:
    """The steps of a reconstruction, noisiest first. The coupling needs nothing else.

    Attributes:
        steps: the steps.
        prediction: what f is; only the bijections that also step back from a level ask for it.
    """

    steps: tuple[Step, ...]
    prediction: Prediction = "eps"

    def __len__(self) -> int:
        return len(self.steps)

    def last(self, strength: float) -> Schedule:
        """The least noisy part of the schedule, for partial inversion.

        Args:
            strength: share of the steps to keep, in (0, 1]; at least one step is kept.
        Raises: ValueError if strength is outside (0, 1].
        """
        if not 0 < strength <= 1:
            raise ValueError(
                f"strength {strength} must lie in (0, 1]: 1 inverts all the way to noise"
            )
        kept = kept_steps(len(self.steps), strength)
        return replace(self, steps=self.steps[len(self.steps) - kept :])


def kept_steps(steps: int, strength: float) -> int:
    """How many of the steps a strength in (0, 1] keeps, at least one."""
    return max(1, round(strength * steps))


def scaled_linear_alphas(beta_start: float = 0.00085, beta_end: float = 0.012) -> Tensor:
    """Cumulative alphas of Stable Diffusion's 1000 training steps, float64, shape (1000,)."""
    import torch

    betas = torch.linspace(beta_start**0.5, beta_end**0.5, TRAIN_STEPS, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def _labels(steps: int, spacing: Spacing, train_steps: int, known: int | None = None) -> list[int]:
    """Time labels, noisiest first."""
    most = known or train_steps
    if not 1 <= steps <= most:
        raise ValueError(f"{steps} diffusion steps: choose from 1 to {most}")
    if known:
        if spacing != "trailing":
            raise ValueError(
                f"a consistency model knows {known} labels, none of them those of {spacing!r}: "
                "choose the spacing trailing"
            )
        stride = train_steps // known
        return [stride * (known - i * known // steps) - 1 for i in range(steps)]
    if spacing == "trailing":
        return [round(train_steps - i * train_steps / steps) - 1 for i in range(steps)]
    if spacing == "leading":
        stride = train_steps // steps
        return [i * stride for i in reversed(range(steps))]
    raise ValueError(f"unknown spacing {spacing!r}: choose trailing or leading")


def _coefficients(prediction: str, alpha: float, alpha_next: float) -> tuple[float, float]:
    """(A, B) of one step from level alpha to the cleaner level alpha_next."""
    if alpha == alpha_next:
        return 1.0, 0.0
    if prediction == "eps":
        if alpha <= 0:
            raise ValueError("alpha 0 cannot be used with eps-prediction: use a v-prediction model")
        ratio = math.sqrt(alpha_next / alpha)
        return ratio, math.sqrt(1 - alpha_next) - ratio * math.sqrt(1 - alpha)
    if prediction == "v":
        angle = math.atan2(math.sqrt(1 - alpha), math.sqrt(alpha))
        turn = angle - math.atan2(math.sqrt(1 - alpha_next), math.sqrt(alpha_next))
        return math.cos(turn), -math.sin(turn)
    raise ValueError(f"unknown prediction {prediction!r}: choose eps, v or flow")


def vp_schedule(
    alphas: Tensor,
    steps: int,
    prediction: Prediction = "eps",
    spacing: Spacing = "trailing",
    known: int | None = None,
) -> Schedule:
    """Steps of a variance-preserving model.

    Args:
        alphas: cumulative alphas of the training steps, shape (N,), in [0, 1), falling.
        steps: number of diffusion steps T, 1 to N.
        prediction: what the network predicts, "eps" or "v".
        spacing: "trailing" has labels from N - 1 down and ends at alpha = 1; "leading" is EDICT's,
            whose last level is alphas[0]: its last step moves nothing but the mixing.
        known: how many evenly spaced labels the network knows, as latent consistency models do
            (Luo et al., arXiv 2310.04378), of which the steps take theirs; None for all.
    Returns: the schedule, noisiest step first.
    Raises: ValueError for steps, spacing or prediction that cannot work.
    Source: Zhang et al., arXiv 2403.06406, Eq. (4); the v form is DDIM in angles.
    """
    labels = _labels(steps, spacing, len(alphas), known)
    levels = [float(alphas[label]) for label in labels]
    levels.append(1.0 if spacing == "trailing" else float(alphas[0]))
    result = []
    for label, alpha, alpha_next in zip(labels, levels[:-1], levels[1:], strict=True):
        a, b = _coefficients(prediction, alpha, alpha_next)
        if abs(a) < 1e-6:
            raise ValueError(
                f"{steps} steps from alpha {alpha:.1e} cannot be undone: use more steps"
            )
        result.append(Step(a, b, label))
    return Schedule(tuple(result), prediction)


def flow_schedule(times: Tensor, steps: int, spacing: Spacing = "trailing") -> Schedule:
    """Steps of a rectified-flow model x_t = (1 - t) x_0 + t noise, along its own times.

    Args:
        times: the model's times, rising, shape (N,), in (0, 1], its time shift included.
        steps: number of diffusion steps T, 1 to N.
        spacing: "trailing" starts at the last of them and ends at 0; "leading" ends at the first,
            where its last step moves nothing but the mixing.
    Returns: the schedule, noisiest step first; labels are times.
    Raises: ValueError for steps or spacing that cannot work.
    """
    levels = [float(times[index]) for index in _labels(steps, spacing, len(times))]
    levels.append(0.0 if spacing == "trailing" else float(times[0]))
    return Schedule(tuple(Step(1.0, s - t, t) for t, s in pairwise(levels)), "flow")
