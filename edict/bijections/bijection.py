"""What an exact bijection between a picture's latents and noise is to the rest of the pack."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from ..protocols import Denoiser
    from ..schedule import Schedule, Step
    from ..tape import Tape

    Call = Callable[[int, Step, Tensor], Tensor | float]


class LatentPair(NamedTuple):
    """The two latents (x, y) of one level, each (B, C, h, w)."""

    x: Tensor
    y: Tensor


class Bijection(Protocol):
    """An exact bijection between two latents of a picture and two of noise.

    A frozen dataclass, so that `dataclasses.replace` can exchange its denoiser.

    Attributes:
        members: how many of the two count, on either side. 2: both latents are the picture, and
            both noises are variables. 1: only the first; the second is what the map must remember
            to be exact. It goes with the noise and is not to be optimised.
        start_calls: network calls of `start`.
    """

    members: ClassVar[int]
    start_calls: ClassVar[int]

    @property
    def denoiser(self) -> Denoiser:
        """The frozen network."""
        ...

    @property
    def schedule(self) -> Schedule:
        """Its steps, noisiest first."""
        ...

    @property
    def calls(self) -> int:
        """Network calls of one reconstruction; an inversion makes those of `start` besides."""
        ...

    def start(self, latent: Tensor) -> LatentPair:
        """The two latents that a picture's latent (B, C, h, w) is inverted from."""
        ...

    def reconstruct(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Noise to latents, the calls recorded on the tape."""
        ...

    def invert(self, pair: LatentPair, tape: Tape | None = None) -> LatentPair:
        """Latents to noise: the inverse of `reconstruct`, recording the calls of that."""
        ...

    def pull_back(self, tape: Tape, gradient: LatentPair) -> LatentPair:
        """Gradient by the latents to gradient by the noise, at the recorded point."""
        ...


class BijectionOptions(Protocol):
    """What the user chooses about a bijection: a frozen dataclass of numbers and strings."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def check(self, steps: int, kept: int) -> None:
        """Raise ValueError if no such map of T = `steps`, of which `kept` are made, can work."""
        ...

    def couple(self, denoiser: Denoiser, schedule: Schedule, steps: int) -> Bijection:
        """The map of a schedule, which is of T = `steps` or the last part of it.

        Raises: ValueError where its inversion is unstable.
        """
        ...


def caller(denoiser: Denoiser, tape: Tape | None) -> Call:
    """B f(latent, label) as a function of (call index, step, latent), recorded on the tape."""

    def call(index: int, step: Step, latent: Tensor) -> Tensor | float:
        if step.b == 0:
            return 0.0
        if tape is None:
            return step.b * denoiser(latent, step.label).to(latent.dtype)
        return step.b * tape.record(index, denoiser, step, latent)

    return call
