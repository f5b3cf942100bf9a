"""Iterates of a MAP estimation, and which of them is the best."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .result import TraceRow


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
