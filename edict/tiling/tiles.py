"""A network on overlapping tiles of one global latent, as one differentiable map.

The network's outputs (derivatives, never pixels) are blended with smooth weights that sum to one at
every place. The tiles depend on the size alone, so that the blended map is as much a function of
the latent as the network itself, and EDICT with it stays a bijection. Its vector-Jacobian product
is taken tile by tile: memory is one tile's, whatever the size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ...files.constants import carried
from ..gradients import vector_jacobian, with_graph
from ..protocols import Denoiser, WindowedDenoiser

# A fourth of the tile's side, but two of the network's multiples: with less, steps show.
OVERLAP_SHARE, OVERLAP_MULTIPLES = 4, 2
MARGIN_SHARE = 4  # of the overlap: a tile's outermost places, which see its false border, weigh 0


@dataclass(frozen=True)
class Tiling:
    """How pictures are cut, in pixels.

    Attributes:
        side: a tile's height and width; a picture's smaller side makes a tile smaller.
        overlap: what neighbours share at least, below `side`; 0 needs a margin.
        align: tiles start at multiples of this, so that a network that halves its input several
            times samples a tile at the places where it would sample the picture.
        margin: how much of the picture around it a tile sees, too, a multiple of `align`; what the
            network gives there weighs nothing.
    """

    side: int
    overlap: int
    align: int = 1
    margin: int = 0

    def __post_init__(self):
        if self.side % self.align or self.side < self.align:
            raise ValueError(
                f"tiles of {self.side} pixels do not fit this model: choose a multiple of "
                f"{self.align}"
            )
        least = 0 if self.margin else 1
        if not least <= self.overlap <= self.side - self.align:
            raise ValueError(
                f"an overlap of {self.overlap} pixels does not suit tiles of {self.side}: choose "
                f"{least} to {self.side - self.align}"
            )


def tiling(side: int, align: int, reach: int = 0) -> Tiling:
    """Tiles of a side with the usual overlap, or, for a network of a known reach, with a margin.

    Args:
        side, align: see `Tiling`.
        reach: of the backbone, see `Backbone`; 0 for none that tiles could do justice to. With the
            margin that it asks for tiles fit together as they are, without an overlap.
    Raises: ValueError if they do not fit.
    """
    usual = max(side // OVERLAP_SHARE, min(OVERLAP_MULTIPLES * align, side // 2))
    overlap = 0 if reach else max(1, min(usual, side - align))
    return Tiling(side, overlap, align, -(-reach // align) * align)


class Span(NamedTuple):
    """A tile's extent along one axis, in cells, and the weights of its outputs."""

    start: int
    length: int
    weights: Tensor  # (length * outputs per cell,), float64


def spans(
    size: int, tile: int, overlap: int, align: int = 1, outputs: int = 1, margin: int = 0
) -> list[Span]:
    """Equal tiles that cover `size` cells, evenly spread, with weights that sum to one.

    Args:
        size: cells to cover.
        tile: cells of a tile; one tile of the whole size where that is no larger.
        overlap: cells that neighbours share at least, from 0 and below `tile`.
        align: tiles start at multiples of this, if `size` and `tile` are such.
        outputs: output samples per cell.
        margin: cells that tiles see beyond their own, as far as there are such.
    Returns: the tiles with their margins, first to last.
    """
    if size <= tile:
        return [Span(0, size, torch.ones(size * outputs, dtype=torch.float64))]
    if (size - tile) % align:
        align = 1
    stride = max(align, (tile - overlap) // align * align)
    count = -(-(size - tile) // stride)
    # Rounded to the nearest multiple; neighbours stay within a stride, which is one as well.
    starts = [
        align * ((2 * i * (size - tile) + count * align) // (2 * count * align))
        for i in range(count)
    ] + [size - tile]
    edge = outputs * overlap // (2 * MARGIN_SHARE)
    windows = []
    for index in range(len(starts)):
        window = torch.ones(tile * outputs, dtype=torch.float64)
        ramp = _ramp(tile * outputs, edge, outputs * overlap - 2 * edge)
        if index > 0:
            window = window * ramp
        if index < count:
            window = window * ramp.flip(0)
        windows.append(window)
    total = torch.zeros(size * outputs, dtype=torch.float64)
    for start, window in zip(starts, windows, strict=True):
        total[start * outputs :][: len(window)] += window
    weights = (
        window / total[start * outputs :][: len(window)]
        for start, window in zip(starts, windows, strict=True)
    )
    return [
        _with_margin(Span(start, tile, weight), size, margin)
        for start, weight in zip(starts, weights, strict=True)
    ]


def _with_margin(span: Span, size: int, margin: int) -> Span:
    """A tile that sees more, where its output weighs nothing."""
    outputs = len(span.weights) // span.length
    before = min(span.start, margin)
    after = min(size - span.start - span.length, margin)
    weights = F.pad(span.weights, (before * outputs, after * outputs))
    return Span(span.start - before, before + span.length + after, weights)


def _ramp(length: int, edge: int, rise: int) -> Tensor:
    """0 at the edge, then a raised cosine up to 1; never 0 past the edge."""
    places = torch.arange(length, dtype=torch.float64) - edge
    height = torch.sin(torch.pi / 2 * ((places + 0.5) / max(1, rise)).clamp(0, 1)).square()
    return torch.where(places < 0, 0.0, height)


@dataclass(frozen=True)
class Tile:
    """One tile of a map from an input to an output whose sizes differ by whole factors.

    Attributes:
        rows, columns: its extent in cells.
        inputs, outputs: input and output samples per cell.
    """

    rows: Span
    columns: Span
    inputs: int = 1
    outputs: int = 1

    def cut(self, x: Tensor) -> Tensor:
        """What the tile sees of the input (B, C, H, W)."""
        return self._window(x, self.inputs)

    def spread(self, pulled: Tensor, canvas: Tensor) -> None:
        """Add to the input's gradient what came back from the tile; the adjoint of `cut`."""
        self._window(canvas, self.inputs).add_(pulled.to(canvas))

    def blend(self, y: Tensor, canvas: Tensor) -> None:
        """Add the tile's output, weighed, to the whole output."""
        self._window(canvas, self.outputs).add_(self._weigh(y.to(canvas)))

    def weigh(self, gradient: Tensor) -> Tensor:
        """The tile's share of the output's gradient; the adjoint of `blend`."""
        return self._weigh(self._window(gradient, self.outputs))

    def _weigh(self, y: Tensor) -> Tensor:
        rows, columns = carried(self.rows.weights, y), carried(self.columns.weights, y)
        return y * rows[:, None] * columns

    def _window(self, x: Tensor, samples: int) -> Tensor:
        top, left = self.rows.start * samples, self.columns.start * samples
        height, width = self.rows.length * samples, self.columns.length * samples
        return x[..., top : top + height, left : left + width]


def cover(height: int, width: int, cells: Tiling, inputs: int = 1, outputs: int = 1) -> list[Tile]:
    """Tiles over height x width cells; `cells` is measured in them."""
    side, overlap, align, margin = cells.side, cells.overlap, cells.align, cells.margin
    rows = spans(height, side, overlap, align, outputs, margin)
    columns = spans(width, side, overlap, align, outputs, margin)
    return [Tile(row, column, inputs, outputs) for row in rows for column in columns]


class Part(NamedTuple):
    """A network call that is part of a denoiser's: on a tile, or (None) on the whole latent."""

    denoiser: Denoiser
    tile: Tile | None = None

    def cut(self, latent: Tensor) -> Tensor:
        """What the network sees of the latent."""
        return latent if self.tile is None else self.tile.cut(latent)

    def blend(self, output: Tensor, canvas: Tensor) -> None:
        """Add the network's output to the denoiser's."""
        if self.tile is None:
            canvas.add_(output.to(canvas))
        else:
            self.tile.blend(output, canvas)

    def weigh(self, gradient: Tensor) -> Tensor:
        """The gradient by the network's output."""
        return gradient if self.tile is None else self.tile.weigh(gradient)

    def spread(self, pulled: Tensor, canvas: Tensor) -> None:
        """Add the gradient by what the network saw to the gradient by the latent."""
        if self.tile is None:
            canvas.add_(pulled.to(canvas))
        else:
            self.tile.spread(pulled, canvas)


def parts_of(denoiser: Denoiser, latent: Tensor) -> Sequence[Part]:
    """The network calls that one call of a denoiser makes."""
    if isinstance(denoiser, TiledDenoiser):
        return denoiser.parts(latent)
    return (Part(denoiser),)


class TiledDenoiser:
    """A denoiser's network on overlapping tiles, its outputs blended.

    Args:
        denoiser: bound to the picture, with a `window` method.
        chosen: tiles in pixels of the picture.
        height: of the picture in pixels; tells how many pixels a latent's cell has.
    """

    def __init__(self, denoiser: WindowedDenoiser, chosen: Tiling, height: int):
        self.denoiser, self.tiling, self.height = denoiser, chosen, height
        self._parts: dict[tuple[int, ...], list[Part]] = {}

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """The blended direction, in the latent's own precision."""
        return _Blended.apply(latent, label, self.parts(latent))  # pyright: ignore

    def parts(self, latent: Tensor) -> list[Part]:
        """The network calls on the tiles of a latent (B, C, h, w); made once per size."""
        size = tuple(latent.shape[-2:])
        if size not in self._parts:
            self._parts[size] = self._cut(*size)
        return self._parts[size]

    def _cut(self, height: int, width: int) -> list[Part]:
        cell = self.height // height
        chosen = self.tiling
        cells = Tiling(
            chosen.side // cell,
            min(chosen.overlap, max(1, chosen.overlap // cell)),
            max(1, chosen.align // cell),
            chosen.margin // cell,
        )
        parts = []
        for tile in cover(height, width, cells):
            extent = (tile.rows.start, tile.columns.start, tile.rows.length, tile.columns.length)
            parts.append(Part(self.denoiser.window(*(cell * side for side in extent)), tile))
        return parts


class _Blended(torch.autograd.Function):
    """A denoiser's parts as one call that keeps no graph but its input's."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, label: float, parts: Sequence[Part]) -> Tensor:
        ctx.save_for_backward(latent)
        ctx.label, ctx.parts = label, parts
        output = torch.zeros_like(latent)
        for part in parts:
            part.blend(part.denoiser(part.cut(latent), label), output)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        (latent,) = ctx.saved_tensors
        pulled = torch.zeros_like(latent)
        for part in ctx.parts:
            leaf, output = with_graph(part.denoiser, part.cut(latent), ctx.label)
            part.spread(vector_jacobian(leaf, output, part.weigh(gradient)), pulled)
        return pulled, None, None
