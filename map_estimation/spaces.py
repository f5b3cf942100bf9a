"""The spaces a picture can be optimised in: diffusion noise (the method) and pixels (baselines)."""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import BoundPicture
from ..edict.choices import Memory
from ..edict.inversion import InvertedPicture, round_trip_error
from ..edict.protocols import Denoiser
from ..edict.tape import Tape
from ..edict.tiling.tiles import parts_of
from ..files.devices import exact
from .gradient_check import Part
from .starts import Beginning


class Space(Protocol):
    """Variables, and the way from them to pictures and back for gradients.

    Attributes:
        variables: how many there are.
    """

    variables: ClassVar[int]

    @property
    def tile(self) -> int | None:
        """Side of the networks' tiles in pixels, or None; another tile is another map."""
        ...

    def start(self) -> list[Tensor]:
        """The variables that the ascent starts from."""
        ...

    def noise(self, variables: list[Tensor]) -> Tensor | None:
        """The noise of the pictures, stacked along the batch as they are; None without noise."""
        ...

    def origin(self) -> Tensor | None:
        """The noise of the very input picture, whatever the start; None without noise."""
        ...

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:
        """Latents of the pictures that the variables stand for, stacked along the batch."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents to pictures (B, 3, H, W), differentiable, not clamped."""
        ...

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Gradient by the latents of the last `synthesise` to gradients by the variables."""
        ...

    def parts(self, variables: list[Tensor], latents: Tensor) -> list[Part]:
        """What other software may have wrapped of the way from variables to pictures.

        Args:
            variables, latents: of the last `synthesise`.
        """
        ...

    def shrink(self) -> bool:
        """Do with less memory from now on; False if that cannot be.

        If it changes the tile, variables of before mean nothing any more: see `adopt`.
        """
        ...

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The variables that `synthesise` makes these latents of."""
        ...


class _First(NamedTuple):
    """The inversion's trajectory is the first reconstruction's: nothing to compute."""

    noise: LatentPair
    latent: Tensor  # that was inverted


class DiffusionSpace:
    """Pictures as noise; with EDICT as pairs (x_T, y_T), both decoded, as Algorithm 1 asks.

    Bijections of one member make one picture of a pair (x_T, r), of which r gets no gradient: it is
    what x_T is not to be optimised without, and goes through runs and states with it.

    Args:
        bound: the picture, (1, 3, H, W), with its bijection.
        memory: how the gradient pays for network calls.
        check: measure the round trip once and warn if it is not exact.
        noise: the picture's, if it has been inverted already.
        begin: where to start instead of the picture; a latent is inverted, noise is taken.
    """

    variables: ClassVar[int] = 2

    def __init__(
        self,
        bound: BoundPicture,
        memory: Memory = "auto",
        check: bool = True,
        noise: LatentPair | None = None,
        begin: Callable[[BoundPicture], Beginning] = BoundPicture.encode,
    ):
        self.bound, self.check, self._begin = bound, check, begin
        self.memory: Memory | int = memory
        self._given = None if noise is None else InvertedPicture(noise, bound)
        self._tape: Tape | None = None
        self._first: _First | None = None

    @property
    def tile(self) -> int | None:
        """Side of the networks' tiles in pixels, or None."""
        return self.bound.tile

    @torch.no_grad()
    def start(self) -> list[Tensor]:
        """Invert the start (Algorithm 1, line 2), keeping the calls for the first gradient."""
        if self._given is not None:
            return self._start_from(self._given)
        latent = self._begin(self.bound)
        if isinstance(latent, LatentPair):
            return list(latent)
        self._tape = self._new_tape()
        noise = self.bound.invert(latent, self._tape)
        if self.check:
            round_trip_error(InvertedPicture(noise, self.bound), latent)
        self._first = _First(noise, latent)
        return list(noise)

    def _start_from(self, inverted: InvertedPicture) -> list[Tensor]:
        if self.bound is inverted.bound:
            return list(inverted.noise)
        return self.adopt(inverted.bound.reconstruct(inverted.noise))

    def noise(self, variables: list[Tensor]) -> Tensor:
        """x_T of each picture: (2, C, h, w); of one member (1, C, h, w)."""
        return torch.cat(variables[: self.bound.bijection.members])

    def origin(self) -> Tensor:
        """x_T of the input: an inversion."""
        return self.noise(list(self.bound.invert(self.bound.encode())))

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:
        """Reconstruct (x_0, y_0), stacked: (2, C, h, w); of one member (1, C, h, w)."""
        noise = LatentPair(*(variable.detach() for variable in variables))
        if not with_gradient:
            with torch.no_grad():
                return self.bound.reconstruct(noise)
        if self._tape is not None and self._first is not None and _equal(noise, self._first.noise):
            return self._first.latent.repeat(self.bound.bijection.members, 1, 1, 1)
        self._tape = self._new_tape()
        return self.bound.reconstruct(noise, self._tape)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures of the input's size."""
        return self.bound.decode(latents)

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Gradient by (x_0, y_0) to gradient by (x_T, y_T); of one member to (dE/dx_T, 0)."""
        if self._tape is None:
            raise RuntimeError("pull_back needs synthesise(..., with_gradient=True) before it")
        tape, self._tape, self._first = self._tape, None, None
        self.memory = self.memory if tape.kept is None else tape.kept
        return list(self.bound.pull_back(tape, gradient))

    def parts(self, variables: list[Tensor], latents: Tensor) -> list[Part]:
        """The network at either end of its way, on one tile if it has tiles; the decoder."""
        noise, latent = variables[0].detach(), latents[:1].detach()
        denoiser, steps = self.bound.bijection.denoiser, self.bound.bijection.schedule.steps
        labels = [step.label for step in steps if step.b != 0]
        ends = [(noise, labels[:1]), (latent, labels[1:][-1:])]
        calls = [_network_call(denoiser, z, label) for z, found in ends for label in found]
        return [*calls, Part("decoder", self.decode, latent)]

    def shrink(self) -> bool:
        """Keep no activations; if that is so already, halve the tiles; False if nothing helps."""
        self._tape = self._first = None
        if self.memory not in ("recompute", 0):
            self.memory = "recompute"
            return True
        smaller = self.bound.smaller()
        if smaller is not None:
            self.bound = smaller
        return smaller is not None

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The noise that latents (2, C, h, w), or (1, C, h, w), are the reconstruction of."""
        return list(self.bound.adopt(latents))

    def _new_tape(self) -> Tape:
        return Tape(self.bound.bijection.calls, self.memory)


def _network_call(denoiser: Denoiser, latent: Tensor, label: float) -> Part:
    """A call of the network as the tape makes it; of those on tiles, one in the middle."""
    calls = parts_of(denoiser, latent)
    call = calls[len(calls) // 2]
    return Part("network", lambda z: call.denoiser(z, label), call.cut(latent))


def _equal(a: LatentPair, b: LatentPair) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


class PixelSpace:
    """Pixels themselves: Eqs. (1) and (2), the paper's counter-examples."""

    tile = None
    variables: ClassVar[int] = 1

    def __init__(self, picture: Tensor):
        self.picture = picture

    def start(self) -> list[Tensor]:
        """The picture in float64."""
        return [exact(self.picture)]

    def noise(self, variables: list[Tensor]) -> None:
        """There is none."""

    def origin(self) -> None:
        """There is none."""

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:  # noqa: ARG002
        """The variables are the pictures."""
        return variables[0].detach().clone()

    def decode(self, latents: Tensor) -> Tensor:
        """Nothing to decode."""
        return latents

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Nothing to pull back through."""
        return [gradient]

    def parts(self, variables: list[Tensor], latents: Tensor) -> list[Part]:  # noqa: ARG002
        """There is no network."""
        return []

    def shrink(self) -> bool:
        """There is no network whose memory could shrink."""
        return False

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The pictures are the variables."""
        return [latents]
