"""A backbone bound to a picture: the exact way between the picture and noise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.devices import exact
from .bijections.bijection import Bijection, LatentPair
from .inversion_options import InversionOptions
from .protocols import Backbone, Codec
from .recomputed import recomputed
from .tape import Tape
from .tiling.binding import smaller_tile, tile_that_fits, tiled


@dataclass(frozen=True)
class BoundPicture:
    """A picture's own bijection and codec, and all that fixes them; made by `bind_picture`.

    Attributes:
        backbone: the model.
        picture: RGB in [0, 1], (B, 3, H, W), before padding.
        options: how it is inverted; their tile is `tile`.
        tile: side of the networks' tiles in pixels, or None; another tile is another map.
        bijection: between latents and noise.
        codec: between latents and padded pictures.
    """

    backbone: Backbone
    picture: Tensor
    options: InversionOptions
    tile: int | None
    bijection: Bijection
    codec: Codec

    def encode(self) -> Tensor:
        """The picture's latent (B, C, h, w), in the precision of the state.

        Un-mixing amplifies rounding by up to (1/p)^(2T): half precision does not survive it.
        """
        latent = self.codec.encode(pad(self.picture, self.backbone.multiple))
        return exact(latent)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (n, C, h, w) to pictures (n, 3, H, W) of the picture's size, not clamped."""
        return self.codec.decode(latents)[..., : self.picture.shape[-2], : self.picture.shape[-1]]

    @torch.no_grad()
    def invert(self, latent: Tensor, tape: Tape | None = None) -> LatentPair:
        """The noise of a picture's latent (B, C, h, w); a tape records the way back's calls."""
        return self.bijection.invert(self.bijection.start(latent), tape)

    def reconstruct(self, noise: LatentPair, tape: Tape | None = None) -> Tensor:
        """The latents that noise stands for, the map's members stacked: (members B, C, h, w)."""
        return torch.cat(self.bijection.reconstruct(noise, tape)[: self.bijection.members])

    def pull_back(self, tape: Tape, gradient: Tensor) -> LatentPair:
        """Gradient by what `reconstruct` gave to gradient by the noise's members, zero by others.

        Args:
            tape: of that reconstruction; it is empty afterwards.
            gradient: (members B, C, h, w).
        """
        members = self.bijection.members
        both = gradient.chunk(2) if members == 2 else (gradient, torch.zeros_like(gradient))
        x, y = self.bijection.pull_back(tape, LatentPair(*both))
        return LatentPair(x, y if members == 2 else torch.zeros_like(y))

    @torch.no_grad()
    def adopt(self, latents: Tensor) -> LatentPair:
        """The noise that latents (members B, C, h, w) are the reconstruction of."""
        if self.bijection.members == 2:
            return self.bijection.invert(LatentPair(*latents.chunk(2)))
        return self.invert(latents)

    def smaller(self) -> BoundPicture | None:
        """The same picture on tiles of half the size, or None if they cannot get smaller."""
        tile = smaller_tile(self.backbone, pad(self.picture, self.backbone.multiple), self.tile)
        if tile is None:
            return None
        return bind_picture(self.backbone, self.picture, replace(self.options, tile=tile))


def bind_picture(backbone: Backbone, picture: Tensor, options: InversionOptions) -> BoundPicture:
    """Bind a backbone to a picture.

    Args:
        backbone: the model.
        picture: RGB in [0, 1], (B, 3, H, W), any size; it is padded to the backbone's multiple.
        options: how it is inverted. Their tile "auto" is settled here by the memory that is free.
    Raises: ValueError for options that the model cannot work with.
    """
    padded = pad(picture, backbone.multiple)
    tile = tile_that_fits(backbone, padded) if options.tile == "auto" else options.tile
    schedule = backbone.schedule(options.steps, options.spacing).last(options.strength)
    binding = recomputed(backbone.bind(padded))
    if tile is not None:
        binding = tiled(binding, padded, tile, backbone)
    bijection = options.bijection.couple(binding.denoiser, schedule, options.steps)
    settled = replace(options, tile=tile)
    return BoundPicture(backbone, picture, settled, tile, bijection, binding.codec)


def pad(image: Tensor, multiple: int) -> Tensor:
    """Reflect-pad right and bottom until the sides are multiples; replicates what is left over."""
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    mode = "reflect" if bottom < height and right < width else "replicate"
    return F.pad(image, (0, right, 0, bottom), mode=mode) if bottom or right else image
