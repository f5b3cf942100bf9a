"""The spaces a picture can be optimised in: diffusion noise (the method) and pixels (baselines)."""

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from ..edict.bijections.edict import LatentPair
from ..edict.inversion import (
    EdictLatents,
    InversionOptions,
    bind,
    crop,
    half_tile,
    pad,
    round_trip_error,
    run_inversion,
    settle_tile,
)
from ..edict.protocols import Backbone
from ..edict.tape import Memory, Tape


class Space(Protocol):
    """Variables, and the way from them to pictures and back for gradients."""

    @property
    def tile(self) -> int | None:
        """Side of the networks' tiles in pixels, or None; another tile is another map."""
        ...

    def start(self) -> list[Tensor]:
        """The variables of the input picture."""
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

    def retile(self, tile: int | None) -> None:
        """Change the map to that of another tile."""
        ...

    def shrink(self) -> bool:
        """Do with less memory from now on; False if that cannot be.

        If it changes the tile, variables of before mean nothing any more: see `adopt`.
        """
        ...

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The variables that `synthesise` makes these latents of."""
        ...


class DiffusionSpace:
    """Pictures as noise; with EDICT as pairs (x_T, y_T), both decoded, as Algorithm 1 asks.

    The other bijections make one picture of a pair (x_T, r), of which r gets no gradient: it is
    what x_T is not to be optimised without, and goes through runs and states with it.

    Args:
        backbone: the diffusion model.
        picture: the input, (1, 3, H, W), RGB in [0, 1].
        options: how it is inverted.
        memory: how the gradient pays for network calls.
        check: measure the round trip once and warn if it is not exact.
        inverted: the picture's noise, if it has been inverted already.
    """

    def __init__(
        self,
        backbone: Backbone,
        picture: Tensor,
        options: InversionOptions,
        memory: Memory = "auto",
        check: bool = True,
        inverted: EdictLatents | None = None,
    ):
        self.backbone, self.picture, self.options = backbone, picture, options
        self.memory: Memory | int = memory
        self.check = check
        if inverted is None:
            self.options = settle_tile(backbone, picture, options)
            self.retile(self.tile)
        else:
            self.bijection, self.codec = inverted.bijection, inverted.codec
        self._inverted = inverted
        self._tape: Tape | None = None
        self._first: LatentPair | None = None

    @property
    def tile(self) -> int | None:
        """Side of the networks' tiles in pixels, or None."""
        assert self.options.tile != "auto"
        return self.options.tile

    def retile(self, tile: int | None) -> None:
        """Change the map to that of another tile."""
        self.options = replace(self.options, tile=tile)
        self.bijection, self.codec = bind(self.backbone, self.picture, self.options)

    def start(self) -> list[Tensor]:
        """Invert the input (Algorithm 1, line 2), keeping the calls for the first gradient."""
        if self._inverted is not None:
            return self._start_from_noise(self._inverted)
        self._tape = self._new_tape()
        inverted = run_inversion(
            self.backbone, self.picture, self.options, self.bijection, self.codec, self._tape
        )
        if self.check:
            round_trip_error(inverted)
        self._first = inverted.pair
        return list(inverted.pair)

    @torch.no_grad()
    def _start_from_noise(self, inverted: EdictLatents) -> list[Tensor]:
        if self.bijection is inverted.bijection:
            return list(inverted.pair)
        found = inverted.bijection.reconstruct(inverted.pair)
        return self.adopt(torch.cat(found[: inverted.bijection.members]))

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:
        """Reconstruct (x_0, y_0), stacked: (2, C, h, w); of one member (1, C, h, w)."""
        pair = LatentPair(*(variable.detach() for variable in variables))
        if not with_gradient:
            with torch.no_grad():
                return self._reconstruct(pair)
        if self._tape is not None and self._is_first(pair):
            # The inversion's trajectory is the first reconstruction's: nothing to compute.
            latent = self.codec.encode(pad(self.picture, self.backbone.multiple))
            return latent.detach().to(pair.x.dtype).repeat(self.bijection.members, 1, 1, 1)
        self._tape = self._new_tape()
        return self._reconstruct(pair, self._tape)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, h, w) to pictures of the input's size."""
        return crop(self.codec.decode(latents), self.picture)

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Gradient by (x_0, y_0) to gradient by (x_T, y_T); of one member to (dE/dx_T, 0)."""
        if self._tape is None:
            raise RuntimeError("pull_back needs synthesise(..., with_gradient=True) before it")
        tape, self._tape, self._first = self._tape, None, None
        self.memory = self.memory if tape.kept is None else tape.kept
        members = self.bijection.members
        both = gradient.chunk(2) if members == 2 else (gradient, torch.zeros_like(gradient))
        pulled = self.bijection.pull_back(tape, LatentPair(*both))
        return [*pulled[:members], *(torch.zeros_like(z) for z in pulled[members:])]

    def shrink(self) -> bool:
        """Keep no activations; if that is so already, halve the tiles; False if nothing helps."""
        self._tape = self._first = None
        if self.memory not in ("recompute", 0):
            self.memory = "recompute"
            return True
        tile = half_tile(self.backbone, self.picture, self.options)
        if tile is not None:
            self.retile(tile)
        return tile is not None

    @torch.no_grad()
    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The noise that latents (2, C, h, w), or (1, C, h, w), are the reconstruction of."""
        if self.bijection.members == 1:
            return list(self.bijection.invert(self.bijection.start(latents)))
        return list(self.bijection.invert(LatentPair(*latents.chunk(2))))

    def _reconstruct(self, pair: LatentPair, tape: Tape | None = None) -> Tensor:
        return torch.cat(self.bijection.reconstruct(pair, tape)[: self.bijection.members])

    def _new_tape(self) -> Tape:
        return Tape(self.bijection.calls, self.memory)

    def _is_first(self, pair: LatentPair) -> bool:
        first = self._first
        return first is not None and all(
            torch.equal(a, b) for a, b in zip(pair, first, strict=True)
        )


class PixelSpace:
    """Pixels themselves: Eqs. (1) and (2), the paper's counter-examples."""

    tile = None

    def __init__(self, picture: Tensor):
        self.picture = picture

    def start(self) -> list[Tensor]:
        """The picture in float64."""
        return [self.picture.double()]

    def synthesise(self, variables: list[Tensor], with_gradient: bool) -> Tensor:  # noqa: ARG002
        """The variables are the pictures."""
        return variables[0].detach().clone()

    def decode(self, latents: Tensor) -> Tensor:
        """Nothing to decode."""
        return latents

    def pull_back(self, gradient: Tensor) -> list[Tensor]:
        """Nothing to pull back through."""
        return [gradient]

    def retile(self, tile: int | None) -> None:
        """There is no network."""

    def shrink(self) -> bool:
        """There is no network whose memory could shrink."""
        return False

    def adopt(self, latents: Tensor) -> list[Tensor]:
        """The pictures are the variables."""
        return [latents]
