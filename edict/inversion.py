"""Pictures as diffusion noise: invert a picture with a backbone, and reconstruct it."""

import logging
import math
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from .bijections.edict import (
    Bijection,
    LatentPair,
    Order,
    PairMap,
    check_mixing,
    paper_mixing,
    state_dtype,
)
from .bijections.two_step import TwoStep, check_gamma
from .memory import is_out_of_memory, return_cached_memory
from .protocols import Backbone, Codec, Denoiser
from .schedule import TRAIN_STEPS, Schedule, Spacing, kept_steps
from .tape import Tape
from .tiling.binding import smaller_tile, tile_that_fits, tiled

Coupling = Literal["edict", "bdia", "obelm"]
log = logging.getLogger(__name__)
ROUND_TRIP_LIMIT = 1e-6
MIN_SIDE, MAX_ASPECT = 16, 64
RANGE_SLACK = 0.5  # restorers overshoot [0, 1] a little; that is clamped


@dataclass(frozen=True)
class InversionOptions:
    """How a picture is inverted.

    Attributes:
        steps: diffusion steps T, 1 to 1000.
        mixing: EDICT's p in (0.5, 1]; None for the paper's 0.93 ** (50 / steps).
        spacing: "trailing" (ends at alpha = 1) or "leading" (EDICT's own).
        order: "fixed" (the paper) or "alternate" (EDICT's code).
        strength: share of the schedule to invert, in (0, 1]; 1 goes all the way to noise.
        tile: side in pixels of the tiles the networks work on, a multiple of the backbone's; they
            are part of the map. None is the picture as a whole, "auto" the largest tile that fits
            into the free memory. Where memory runs out, tiles get smaller.
        coupling: the exact bijection. "edict" couples two latents, with two network calls a step
            and two pictures to decode and score; "bdia" and "obelm" need one of each: see
            two_step.py. Mixing and order are EDICT's only.
        gamma: BDIA's, in (0, 1]; below 1 only few steps are stable.
    """

    steps: int = 20
    mixing: float | None = None
    spacing: Spacing = "trailing"
    order: Order = "fixed"
    strength: float = 1.0
    tile: int | Literal["auto"] | None = "auto"
    coupling: Coupling = "edict"
    gamma: float = 1.0

    def __post_init__(self):
        if not 1 <= self.steps <= TRAIN_STEPS:
            raise ValueError(f"{self.steps} diffusion steps: choose from 1 to {TRAIN_STEPS}")
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength {self.strength} must lie in (0, 1]")
        if self.tile not in ("auto", None) and not (isinstance(self.tile, int) and self.tile > 0):
            raise ValueError(f"tile {self.tile!r} must be a number of pixels, auto or None")
        if self.coupling not in get_args(Coupling):
            raise ValueError(
                f"unknown bijection {self.coupling!r}: choose {', '.join(get_args(Coupling))}"
            )
        if self.coupling == "edict":
            check_mixing(self.p)
        elif self.coupling == "bdia":
            check_gamma(self.gamma, kept_steps(self.steps, self.strength))

    @property
    def p(self) -> float:
        """The mixing in force."""
        return paper_mixing(self.steps) if self.mixing is None else self.mixing

    @property
    def calls(self) -> int:
        """Network calls of one reconstruction, at most; an inversion may make two more."""
        members = 2 if self.coupling == "edict" else 1
        return members * kept_steps(self.steps, self.strength)


@dataclass(frozen=True)
class EdictLatents:
    """A picture as noise, with all it takes to reconstruct it.

    Attributes:
        pair: (x_T, y_T); of the other bijections (x_T, r), see two_step.py.
        bijection: the map, bound to the picture.
        codec: latents to pixels, bound to the picture.
        picture: the inverted picture (B, 3, H, W), before padding.
        options: how it was inverted; the tile is a number or None.
        backbone: the model, for binding it again.
    """

    pair: LatentPair
    bijection: PairMap
    codec: Codec
    picture: Tensor
    options: InversionOptions
    backbone: Backbone


def check_picture(image: Tensor) -> None:
    """Raise ValueError unless `image` is a usable picture batch (B, 3, H, W) of finite numbers."""
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(
            f"image has shape {tuple(image.shape)}: (batch, 3, height, width) RGB is needed; "
            "convert grey pictures to RGB and take alpha channels off first"
        )
    height, width = image.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ValueError(
            f"picture is {width}x{height} pixels: at least {MIN_SIDE} a side are needed"
        )
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ValueError(
            f"picture is {width}x{height} pixels: sides may differ by a factor of {MAX_ASPECT} at "
            "most; cut the strip into pieces"
        )
    if len(image) == 0:
        raise ValueError("the batch holds no picture")
    if not image.is_floating_point():
        raise ValueError(
            f"the picture has {image.dtype} pixels: divide by 255 to get RGB in [0, 1]"
        )
    if not torch.isfinite(image).all():
        raise ValueError("the picture has NaN or infinite pixels: repair what made it")
    low, high = float(image.min()), float(image.max())
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        raise ValueError(f"pixels range from {low:.3g} to {high:.3g}: RGB in [0, 1] is needed")


def pad(image: Tensor, multiple: int) -> Tensor:
    """Reflect-pad right and bottom until the sides are multiples; replicates what is left over."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode) if bottom or right else image


def crop(image: Tensor, picture: Tensor) -> Tensor:
    """Undo `pad`: cut to the sides of `picture`."""
    return image[..., : picture.shape[-2], : picture.shape[-1]]


def settle_tile(backbone: Backbone, image: Tensor, options: InversionOptions) -> InversionOptions:
    """The options with the tile in numbers: "auto" is decided by what memory is free now."""
    if options.tile != "auto":
        return options
    return replace(options, tile=tile_that_fits(backbone, pad(image, backbone.multiple)))


def half_tile(backbone: Backbone, image: Tensor, options: InversionOptions) -> int | None:
    """Half of the options' tile, or None if it cannot get smaller."""
    assert options.tile != "auto"
    return smaller_tile(backbone, pad(image, backbone.multiple), options.tile)


def couple(denoiser: Denoiser, schedule: Schedule, options: InversionOptions) -> PairMap:
    """The exact bijection that the options name. Raises ValueError for an unstable one."""
    if options.coupling == "edict":
        return Bijection(denoiser, schedule, options.p, options.order)
    return TwoStep(denoiser, schedule, options.coupling, options.gamma)


def bind(backbone: Backbone, image: Tensor, options: InversionOptions) -> tuple[PairMap, Codec]:
    """The bijection and the codec for a picture (B, 3, H, W), padded to the backbone's multiple.

    With the tile "auto" the map depends on the memory that is free: `settle_tile` before, to know
    it afterwards.
    """
    options = settle_tile(backbone, image, options)
    assert options.tile != "auto"
    schedule = backbone.schedule(options.steps, options.spacing).last(options.strength)
    padded = pad(image, backbone.multiple)
    binding = backbone.bind(padded)
    if options.tile is not None:
        binding = tiled(binding, padded, options.tile, backbone.multiple)
    return couple(binding.denoiser, schedule, options), binding.codec


def invert_picture(
    backbone: Backbone,
    image: Tensor,
    options: InversionOptions | None = None,
    tape: Tape | None = None,
) -> EdictLatents:
    """Invert a picture exactly to diffusion noise.

    Args:
        backbone: the diffusion model.
        image: RGB in [0, 1], shape (B, 3, H, W), any size from 16 pixels.
        options: steps, mixing, ...; default `InversionOptions()`. Where memory runs out, tiles get
            smaller; the result's options tell.
        tape: records the calls for the gradient of the first reconstruction.
    Returns: the noise and all it takes to come back.
    Raises: ValueError for a picture or options that cannot work.
    Source: Zhang et al., arXiv 2403.06406, Eqs. (12)-(15), Algorithm 1 line 2.
    """
    options = options or InversionOptions()
    check_picture(image)
    image = image.detach().clamp(0, 1)
    options = settle_tile(backbone, image, options)
    while True:
        try:
            return run_inversion(backbone, image, options, *bind(backbone, image, options), tape)
        except (RuntimeError, MemoryError) as error:
            tile = half_tile(backbone, image, options) if is_out_of_memory(error) else None
            if tile is None:
                raise
            log.warning("%s: going on with tiles of %s pixels", error, tile)
        # Here the failed attempt's tensors are gone: they went with the exception.
        options = replace(options, tile=tile)
        return_cached_memory(image.device)
        if tape is not None:
            tape.clear()


@torch.no_grad()
def run_inversion(
    backbone: Backbone,
    image: Tensor,
    options: InversionOptions,
    bijection: PairMap,
    codec: Codec,
    tape: Tape | None = None,
) -> EdictLatents:
    """`invert_picture` through a bijection and codec that are bound to the picture already."""
    latent = codec.encode(pad(image, backbone.multiple))
    latent = latent.to(state_dtype(latent.device))
    pair = bijection.invert(bijection.start(latent), tape)
    return EdictLatents(pair, bijection, codec, image, options, backbone)


@torch.no_grad()
def reconstruct_picture(latents: EdictLatents) -> LatentPair:
    """The pictures (x, y) of a noise pair: RGB in [0, 1], each (B, 3, H, W), cropped.

    Only EDICT makes two; of the other bijections both are the same.
    """
    bijection = latents.bijection
    found = bijection.reconstruct(latents.pair)[: bijection.members]
    images = [crop(latents.codec.decode(z), latents.picture).clamp(0, 1) for z in found]
    return LatentPair(images[0], images[-1])


@torch.no_grad()
def round_trip_error(latents: EdictLatents) -> float:
    """Relative error of reconstructing the inverted latents; warns above 1e-6.

    A larger error means that the network is not deterministic (or the state too coarse), so that
    the map is no bijection and its gradient is not trustworthy.
    """
    original = latents.codec.encode(pad(latents.picture, latents.backbone.multiple))
    original = original.to(latents.pair.x.dtype)
    found = latents.bijection.reconstruct(latents.pair)[: latents.bijection.members]
    # The pocket codec's latent of the picture itself is zero: compare with unit variance then.
    size = max(float(original.norm()), math.sqrt(original.numel()))
    error = max(float((z - original).norm()) for z in found) / size
    if not error <= ROUND_TRIP_LIMIT:
        log.warning(
            "round trip error %.1e is above %.0e: is the network deterministic? "
            "Switch off dropout, autotuning and non-deterministic attention",
            error,
            ROUND_TRIP_LIMIT,
        )
    return error
