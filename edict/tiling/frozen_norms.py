"""Group norms with frozen statistics: without them a network's tiles do not fit together.

A GroupNorm normalises by moments over all places, so a tile would be normalised by its own. Here
the moments are measured once, on the tiles of one picture, each place counted once, and are
constants from then on: tiles need to know nothing of each other, and the gradient tile by tile is
the exact one.

The moments of a layer depend on how the layers before it are normalised, so measuring is repeated
until they settle: after k passes those of the first k layers are the whole picture's, and those of
the rest nearly.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...files.constants import carried
from ...files.devices import exact_dtype
from ..replaced_forwards import replaced

# Change of a mean or deviation from pass to pass, in deviations; a tenth of it gains nothing that
# what tiles do not see of each other would not cover.
SETTLED = 1e-2

Moments = tuple[Tensor, Tensor]  # mean and deviation, by group


class Place(NamedTuple):
    """Where a network call is: its tile's cells, and how much its samples count.

    Attributes:
        height, width: in cells.
        weights: for a number of samples per cell, those of rows and of columns; over all tiles
            they sum to one at every place.
    """

    height: int
    width: int
    weights: Callable[[int], tuple[Tensor, Tensor]]


class PlacedCall(NamedTuple):
    """A network call on a tile."""

    place: Place
    run: Callable[[], Tensor]


class FrozenNorms:
    """The statistics of a network's group norms on one picture.

    Args:
        network: the module; its GroupNorms are found wherever they are.
    """

    def __init__(self, network: nn.Module):
        self.norms = [module for module in network.modules() if isinstance(module, nn.GroupNorm)]
        self._moments: dict[nn.GroupNorm, Moments] = {}

    @torch.no_grad()
    def measure(self, calls: Sequence[PlacedCall]) -> int:
        """Measure the statistics.

        Args:
            calls: of the network, one for each tile of the picture.
        Returns: how many passes over all calls it took.
        """
        passes, settled = 0, False
        while not settled:
            passes += 1
            before = self._moments
            self._moments = self._measured(calls)
            settled = passes > len(self._moments) or (
                bool(before) and _change(before, self._moments) < SETTLED
            )
        return passes

    def _measured(self, calls: Sequence[PlacedCall]) -> dict[nn.GroupNorm, Moments]:
        """The moments of a pass, in which the norms use those of the pass before."""
        sums: dict[nn.GroupNorm, Tensor] = {}
        for place, run in calls:
            with self._replaced(partial(self._sum_up, sums, place)):
                run()
        return {norm: _moments(total, norm.eps) for norm, total in sums.items()}

    def _sum_up(
        self, sums: dict[nn.GroupNorm, Tensor], place: Place, norm: nn.GroupNorm, x: Tensor
    ) -> Tensor:
        """A norm's output on a tile, whose input is added to the sums."""
        sums[norm] = sums.get(norm, 0) + _weighted_sums(x, norm.num_groups, place)
        if norm in self._moments:
            return self._frozen(norm, x)
        return F.group_norm(x, norm.num_groups, norm.weight, norm.bias, norm.eps)

    def frozen(self) -> AbstractContextManager[None]:
        """The scope in which the network's norms use the measured statistics."""
        return self._replaced(self._frozen)

    def _replaced(
        self, forward: Callable[[nn.GroupNorm, Tensor], Tensor]
    ) -> AbstractContextManager[None]:
        return replaced({norm: partial(forward, norm) for norm in self.norms})

    def _frozen(self, norm: nn.GroupNorm, x: Tensor) -> Tensor:
        mean, deviation = self._moments[norm]
        size = norm.num_channels // norm.num_groups
        scale = deviation.reciprocal().repeat_interleave(size)
        shift = -(mean / deviation).repeat_interleave(size)
        if norm.weight is not None:
            scale, shift = scale * norm.weight.to(scale), shift * norm.weight.to(scale)
        if norm.bias is not None:
            shift = shift + norm.bias.to(shift)
        precise = torch.promote_types(x.dtype, torch.float32)
        scale, shift = (v.to(precise).view(-1, *[1] * (x.ndim - 2)) for v in (scale, shift))
        return torch.addcmul(shift, x.to(precise), scale).to(x.dtype)


def _weighted_sums(x: Tensor, groups: int, place: Place) -> Tensor:
    """Sums of 1, x and x^2 over a tile (1, C, places...), by group: (3, groups)."""
    per_cell = math.sqrt(x[0, 0].numel() / (place.height * place.width))
    if per_cell != int(per_cell):
        raise ValueError(
            f"a tile of {place.height}x{place.width} cells has {x[0, 0].numel()} samples inside "
            "this autoencoder: it cannot be tiled; choose no tile (0 or auto), or a smaller picture"
        )
    rows, columns = place.weights(int(per_cell))
    precise = exact_dtype(x.device)
    x = x.reshape(groups, -1, len(rows), len(columns)).to(precise)
    weights = carried(rows, x)[:, None] * carried(columns, x)
    first, second = (x * weights).sum((1, 2, 3)), (x.square() * weights).sum((1, 2, 3))
    return torch.stack(((weights.sum() * x.shape[1]).expand_as(first), first, second))


def _moments(sums: Tensor, eps: float) -> Moments:
    mean = sums[1] / sums[0]
    return mean, (sums[2] / sums[0] - mean.square()).clamp_min(0).add(eps).sqrt()


def _change(before: dict[nn.GroupNorm, Moments], after: dict[nn.GroupNorm, Moments]) -> float:
    """The largest change of a mean or deviation, in deviations."""
    changes = [
        ((new - old).abs() / after[norm][1]).max()
        for norm in after
        for old, new in zip(before[norm], after[norm], strict=True)
    ]
    return float(torch.stack(changes).max())  # at once: a device finishes all that it was given
