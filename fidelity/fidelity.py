"""The fidelity term: a distance of two pictures."""

from typing import Protocol

from torch import Tensor


class Fidelity(Protocol):
    """A distance of two pictures (B, 3, H, W) in [0, 1], per item (B,), differentiable."""

    def __call__(self, x: Tensor, x_init: Tensor, /) -> Tensor: ...
