"""Iterates of a MAP estimation, what is read of them, and which of them is the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ..files.devices import exact
from .objective import Energies
from .result import TraceRow


class Numbers(NamedTuple):
    """What the processor knows of an iterate.

    Attributes:
        energy, terms: means over its pictures.
        member: which of them has the lowest energy.
        norm: of the gradient by all variables together.
    """

    energy: float
    terms: dict[str, float]
    member: int
    norm: float


@dataclass(frozen=True)
class Iterate:
    """An evaluated iterate, on the CPU.

    Attributes:
        row: its energy and terms.
        images: its pictures, (1 or 2, 3, H, W), RGB in [0, 1].
        member: which of them has the lower energy, 0 or 1.
        variables: what it was made of.
        latents: what the pictures were decoded from; None in states of old.
    """

    row: TraceRow
    images: Tensor
    member: int
    variables: tuple[Tensor, ...]
    latents: Tensor | None


def better_than(best: Iterate | None, row: TraceRow) -> bool:
    """Whether an iterate with this row takes the place of the best so far."""
    return best is None or row.energy < best.row.energy


def read_numbers(energies: Energies, gradients: list[Tensor]) -> Numbers:
    """All numbers at once: each reading has a device finish all that it was given."""
    of_each = energies.energy.detach()
    means = [value.detach().mean() for value in (of_each, *energies.terms.values())]
    squares = [gradient.square().sum() for gradient in gradients]
    numbers = torch.stack([exact(n) for n in (*means, of_each.argmin(), *squares)]).tolist()
    energy, *terms = numbers[: len(means)]
    member, *sums = numbers[len(means) :]
    by_name = dict(zip(energies.terms, terms, strict=True))
    return Numbers(energy, by_name, int(member), math.sqrt(sum(sums)))
