"""Pictures as diffusion noise: invert a picture with a backbone, and reconstruct it."""

import logging
import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..files.image_values import checked_image
from ..files.lack_of_memory import is_out_of_memory
from .bijections.bijection import LatentPair
from .bound_picture import BoundPicture, bind_picture, pad
from .estimate import MOST_BLIND, estimate_latent, is_blind
from .inversion_options import InversionOptions
from .memory import return_cached_memory
from .protocols import Backbone
from .tape import Tape
from .tiling.binding import smaller_tile

log = logging.getLogger(__name__)
ROUND_TRIP_LIMIT = 1e-6
LOST = 1.0  # a way back that misses the latent by its own size: nothing of the picture is left
REMEDY = "smooth it if it is dithered or screened, take less strength, or give another model"
MIN_SIDE, MAX_ASPECT = 16, 64


class UnlikeError(ValueError):
    """A picture on which a model's answers are no pictures."""


@dataclass(frozen=True)
class InvertedPicture:
    """A picture as noise, with the way back.

    Attributes:
        noise: (x_T, y_T); of the bijections that remember a step (x_T, r), see two_step.py.
        bound: the picture with its bijection.
    """

    noise: LatentPair
    bound: BoundPicture


def check_picture(image: Tensor) -> None:
    """Raise ValueError unless `image` is a usable picture batch (B, 3, H, W) of finite numbers."""
    checked_image(image)
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


def invert_picture(
    backbone: Backbone,
    image: Tensor,
    options: InversionOptions | None = None,
    tape: Tape | None = None,
    draws: int = 0,
) -> InvertedPicture:
    """Invert a picture, or the model's estimate of it, exactly to diffusion noise.

    Args:
        backbone: the diffusion model.
        image: RGB in [0, 1], shape (B, 3, H, W), any size from 16 pixels.
        options: steps, bijection, ...; default `InversionOptions()`. Where memory runs out, tiles
            get smaller; the result's bound picture tells.
        tape: records the calls for the gradient of the first reconstruction.
        draws: noises that an estimate is the mean of, which is then inverted in the picture's
            place; 0 inverts the picture. See estimate.py.
    Returns: the noise and all it takes to come back, bound to the picture.
    Raises: ValueError for a picture or options that cannot work.
    Source: Zhang et al., arXiv 2403.06406, Eqs. (12)-(15), Algorithm 1 line 2.
    """
    options = options or InversionOptions()
    check_picture(image)
    if draws and is_blind(backbone, options.strength):
        raise ValueError(
            f"{backbone.name} is not conditioned on the picture, so at strength {options.strength} "
            "its estimate would be any picture: give it a ControlNet, choose a strength of at most "
            f"{MOST_BLIND}, or invert the picture itself"
        )
    image = image.detach().clamp(0, 1)
    tile = options.tile
    while True:
        try:
            bound = bind_picture(backbone, image, replace(options, tile=tile))
            tile = bound.tile
            with torch.no_grad():
                latent = estimate_latent(bound, draws) if draws else bound.encode()
            return InvertedPicture(bound.invert(latent, tape), bound)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            whole = None if tile == "auto" else tile
            tile = smaller_tile(backbone, pad(image, backbone.multiple), whole)
            if tile is None:
                raise
            log.warning("%s: going on with tiles of %s pixels", error, tile)
        # Here the failed attempt's tensors are gone: they went with the exception.
        return_cached_memory(image.device)
        if tape is not None:
            tape.clear()


@torch.no_grad()
def check_noise_fits(inverted: InvertedPicture) -> None:
    """Raise ValueError unless noise of another model has the shape of this one's."""
    bound = inverted.bound
    given, wanted = (tuple(z.shape[1:]) for z in (inverted.noise.x, bound.encode()))
    if given != wanted:
        raise ValueError(
            f"the noise has shape {given}, {bound.backbone.name} reconstructs from {wanted}: give "
            "the model that the picture was inverted with, or one of its family"
        )


@torch.no_grad()
def reconstruct_picture(inverted: InvertedPicture) -> LatentPair:
    """The pictures (x, y) of noise: RGB in [0, 1], each (B, 3, H, W), cropped.

    Only EDICT makes two; of the other bijections both are the same.
    """
    bound = inverted.bound
    latents = bound.reconstruct(inverted.noise)
    images = [bound.decode(z).clamp(0, 1) for z in latents.chunk(bound.bijection.members)]
    return LatentPair(images[0], images[-1])


@torch.no_grad()
def round_trip_error(inverted: InvertedPicture, latent: Tensor | None = None) -> float:
    """Relative error of reconstructing the inverted latent; warns above 1e-6.

    Args:
        inverted: the noise.
        latent: what was inverted; default the picture's.
    Raises: UnlikeError where nothing of the picture comes back.

    A larger error means that the network is not deterministic (or the state too coarse), so that
    the map is no bijection and its gradient is not trustworthy; or that the network's answers grow
    out of all bounds, as they may on a picture that is unlike all that it was trained on.
    """
    bound = inverted.bound
    original = bound.encode() if latent is None else latent
    latents = bound.reconstruct(inverted.noise).chunk(bound.bijection.members)
    # The pocket codec's latent of the picture itself is zero: compare with unit variance then.
    size = max(float(original.norm()), math.sqrt(original.numel()))
    error = max(float((z - original).norm()) for z in latents) / size
    if not error <= LOST:
        raise UnlikeError(
            f"{bound.backbone.name} loses this picture on the way to noise and back (error "
            f"{error:.0e} of its size), as it is unlike those that it was trained on: {REMEDY}"
        )
    if not error <= ROUND_TRIP_LIMIT:
        log.warning(
            "round trip error %.1e is above %.0e: is the network deterministic? Switch off "
            "dropout, autotuning and non-deterministic attention. If it is, the picture is unlike "
            "those that it knows: take less strength or fewer steps",
            error,
            ROUND_TRIP_LIMIT,
        )
    return error
