"""Which tiles a picture needs, and a backbone's binding on them."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from ..gradients import plain_calls
from ..memory import FREE_SHARE, free_memory, graph_bytes
from ..protocols import Backbone, Binding, Denoiser
from ..recomputed import share_kept
from .codec import TiledCodec
from .tiles import TiledDenoiser, tiling

log = logging.getLogger(__name__)
# In the backbone's smallest multiples: below 256 pixels a Stable Diffusion network sees too little.
SMALLEST = 4
# An autoencoder looks less far than a denoiser and keeps more: pixels of its largest tile.
CODEC_TILE = 512
PROBE_LABEL = 500.0


def tiled(binding: Binding, picture: Tensor, tile: int, backbone: Backbone) -> Binding:
    """A binding whose denoiser works on tiles, as does its codec if that has an autoencoder.

    Args:
        binding: of the picture.
        picture: padded, (B, 3, H, W).
        tile: side of a tile in pixels, a multiple of the backbone's. A picture no larger is left
            whole by the denoiser; the autoencoder's tiles are of 512 pixels at most.
        backbone: whose binding it is.
    Raises: ValueError for a tile that does not fit the model, or a denoiser that cannot be cut.
    """
    height, width = picture.shape[-2:]
    denoiser, codec = binding
    multiple = backbone.multiple
    chosen = tiling(tile, multiple, backbone.reach)
    if max(height, width) > tile:
        if not can_be_cut(denoiser):
            raise ValueError(
                "this backbone cannot work on tiles: choose no tile (0 or auto), and a smaller "
                "picture if memory runs out"
            )
        denoiser = TiledDenoiser(denoiser, chosen, height)  # pyright: ignore - it can be cut
    side = codec_tile(tile, multiple)
    if max(height, width) > side and hasattr(codec, "vae"):
        codec = TiledCodec(codec, picture, tiling(side, multiple))
    return Binding(denoiser, codec)


def can_be_cut(denoiser: Denoiser) -> bool:
    """Whether it is a `WindowedDenoiser`."""
    return hasattr(denoiser, "window")


def codec_tile(tile: int, multiple: int) -> int:
    """The side of the autoencoder's tiles in pixels."""
    return min(tile, max(multiple, CODEC_TILE // multiple * multiple))


def smallest_tile(backbone: Backbone) -> int:
    """The side of the smallest tile that makes sense, in pixels."""
    return SMALLEST * backbone.multiple


def smaller_tile(backbone: Backbone, picture: Tensor, tile: int | None) -> int | None:
    """Half the tile (or half the padded picture), or None if that is too small or impossible."""
    multiple, longest = backbone.multiple, max(picture.shape[-2:])
    if not can_be_cut(backbone.bind(picture[:1, :, :multiple, :multiple]).denoiser):
        return None
    current = min(tile or longest, longest)
    half = max(-(-current // (2 * multiple)) * multiple, smallest_tile(backbone))
    return half if half < current else None


def tile_that_fits(backbone: Backbone, picture: Tensor) -> int | None:
    """The largest tile whose gradient fits into half of the free memory.

    Measured by one call on a small part of the picture, whose activations grow with its area.

    Args:
        backbone: the model.
        picture: padded, (B, 3, H, W).
    Returns: a side in pixels, or None where the whole picture fits or nothing can be told.
    """
    height, width = picture.shape[-2:]
    side, multiple, free = smallest_tile(backbone), backbone.multiple, free_memory(picture.device)
    if max(height, width) <= side or free is None:
        return None
    part = picture[:1, :, :side, :side].contiguous()
    binding = backbone.bind(part)
    if not can_be_cut(binding.denoiser):
        return None
    with torch.no_grad():
        latent = binding.codec.encode(part)
    area, batch, budget = part[0, 0].numel(), len(picture), FREE_SHARE * free
    with plain_calls():  # replayed ones keep nothing, and need an activation's room all the same
        per_pixel = batch * graph_bytes(_at_probe_label(binding.denoiser), latent) / area
    whole = decoder = 0.0
    if hasattr(codec := binding.codec, "vae"):
        kept = graph_bytes(codec.decode, latent) / area
        decoder = kept * share_kept(codec)  # on tiles one by one
        cells = height * width * latent[0, 0].numel() // area
        whole = 2 * batch * kept * share_kept(codec, 2 * batch, cells)  # both of EDICT's pair
    if max(per_pixel, whole) * height * width <= budget:
        return None
    tile = -(-max(height, width) // multiple) * multiple
    while tile > side and (
        per_pixel * _seen(tile, height, backbone) * _seen(tile, width, backbone) > budget
        or decoder * codec_tile(tile, multiple) ** 2 > budget
    ):
        tile -= multiple
    log.info("working on tiles of %d pixels: %.1f GB are free", tile, free / 1e9)
    return tile


def _seen(tile: int, size: int, backbone: Backbone) -> int:
    """How many of a side's pixels a tile in the middle sees."""
    return min(tile + 2 * backbone.reach, size)


def _at_probe_label(denoiser: Denoiser) -> Callable[[Tensor], Tensor]:
    return lambda latent: denoiser(latent, PROBE_LABEL)
