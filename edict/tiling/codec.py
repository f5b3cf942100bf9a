"""An autoencoder on overlapping tiles: pictures to latents and back in the memory of one tile.

Tiles are blended in the middle of what they share, away from their false borders; group norms have
the whole picture's statistics, frozen (see frozen_norms). An autoencoder's attention sees its tile
only. So the tiled codec differs a little from the untiled one, but it is a fixed, differentiable
function of its input, whose vector-Jacobian product is taken tile by tile.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..gradients import vector_jacobian, with_graph
from ..protocols import Codec
from .frozen_norms import FrozenNorms, Place, PlacedCall
from .tiles import Tile, Tiling, cover


class TiledCodec:
    """A codec's autoencoder on tiles.

    Args:
        codec: with its autoencoder as `vae`; it takes any size.
        picture: the picture being enhanced, (B, 3, H, W); it is what the norms' statistics are
            frozen on, when they are first needed. Batches of n B pictures or latents are taken
            as n times its items.
        chosen: tiles in pixels.
    """

    def __init__(self, codec: Codec, picture: Tensor, chosen: Tiling):
        self.codec, self.picture, self.tiling = codec, picture, chosen
        self._encoder: _Half | None = None
        self._decoder: _Half | None = None

    @property
    def vae(self) -> nn.Module:
        """The autoencoder."""
        return self.codec.vae  # pyright: ignore - it is what makes a codec one that can be tiled

    def encode(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], shape (B, 3, H, W), to a latent (B, C, h, w)."""
        if self._encoder is None:
            cell = self._cell()
            self._encoder = _Half(self.codec.encode, self.vae, self._cells(cell), (cell, 1))
            self._encoder.measure(self.picture)
        return self._encoder(image)

    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, C, h, w) to RGB about [0, 1], shape (B, 3, H, W), not clamped."""
        if self._decoder is None:
            cell = self._cell()
            self._decoder = _Half(self.codec.decode, self.vae, self._cells(cell), (1, cell))
            with torch.no_grad():
                self._decoder.measure(self.encode(self.picture))
        return self._decoder(latent)

    def _cell(self) -> int:
        """Pixels a side of a latent's cell."""
        side = self.tiling.align
        with torch.no_grad():
            return side // self.codec.encode(self.picture[:1, :, :side, :side]).shape[-1]

    def _cells(self, cell: int) -> Tiling:
        return Tiling(self.tiling.side // cell, max(1, self.tiling.overlap // cell))


class _Half:
    """An encoder or decoder as a function on tiles.

    Args:
        function: of one item's tile (1, C, h, w).
        network: whose norms are frozen.
        cells: tiles in cells.
        samples: of input and output per cell.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        network: nn.Module,
        cells: Tiling,
        samples: tuple[int, int],
    ):
        self.function, self.network, self.cells = function, network, cells
        self.inputs, self.outputs = samples
        self.norms: list[FrozenNorms] = []
        self._covers: dict[tuple[int, ...], list[Tile]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """The whole output (B, C', H', W') of a whole input, in single precision at least."""
        return _TileByTile.apply(x, self)  # pyright: ignore

    def measure(self, x: Tensor) -> None:
        """Freeze the statistics on an input (B, C, H, W), item by item."""
        for item in x.detach().split(1):
            self.norms.append(FrozenNorms(self.network))
            self.norms[-1].measure(self._placed_calls(item))

    def call(self, item: int, piece: Tensor) -> Tensor:
        """The function on a tile of an item."""
        with self.norms[item % len(self.norms)].frozen():
            return self.function(piece)

    def tiles(self, x: Tensor) -> list[Tile]:
        """Where the tiles of an input are."""
        return self._cover(x, self.outputs)

    def _cover(self, x: Tensor, outputs: int) -> list[Tile]:
        height, width = (side // self.inputs for side in x.shape[-2:])
        place = height, width, outputs
        if place not in self._covers:
            self._covers[place] = cover(height, width, self.cells, self.inputs, outputs)
        return self._covers[place]

    def _placed_calls(self, x: Tensor) -> list[PlacedCall]:
        """Calls of the function on all tiles of an item."""
        covers = partial(self._cover, x)
        return [
            PlacedCall(
                Place(tile.rows.length, tile.columns.length, partial(_weights, covers, index)),
                partial(self.function, tile.cut(x)),
            )
            for index, tile in enumerate(self.tiles(x))
        ]


def _weights(
    covers: Callable[[int], list[Tile]], index: int, samples: int
) -> tuple[Tensor, Tensor]:
    tile = covers(samples)[index]
    return tile.rows.weights, tile.columns.weights


class _TileByTile(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, half: _Half) -> Tensor:
        ctx.save_for_backward(x)
        ctx.half = half
        size = [side // half.inputs * half.outputs for side in x.shape[-2:]]
        canvas = None
        for item, single in enumerate(x.split(1)):
            for tile in half.tiles(x):
                y = half.call(item, tile.cut(single))
                if canvas is None:
                    # Weights in half precision would not sum to one.
                    precise = torch.promote_types(y.dtype, torch.float32)
                    canvas = y.new_zeros(len(x), y.shape[1], *size, dtype=precise)
                tile.blend(y, canvas[item : item + 1])
        assert canvas is not None
        return canvas

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (x,), half = ctx.saved_tensors, ctx.half
        pulled = torch.zeros_like(x)
        for item, single in enumerate(x.split(1)):
            for tile in half.tiles(x):
                leaf, output = with_graph(partial(half.call, item), tile.cut(single))
                share = tile.weigh(gradient[item : item + 1])
                tile.spread(vector_jacobian(leaf, output, share), pulled[item : item + 1])
        return pulled, None
