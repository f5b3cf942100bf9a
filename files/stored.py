"""A tensor in a file, not read yet."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor


class Stored(NamedTuple):
    """A tensor in a weight file that is read when it is needed.

    Attributes:
        path: its file, for errors.
        name: what the file calls it.
        shape: after `changed`.
        read: reads it.
        dtype: of its numbers.
    """

    path: Path
    name: str
    shape: tuple[int, ...]
    read: Callable[[], Tensor]
    dtype: torch.dtype = torch.float32

    def changed(self, change: Callable[[Tensor], Tensor]) -> "Stored":
        """The same tensor with a change of its layout."""
        shape = change(torch.empty(self.shape, device="meta")).shape
        return self._replace(shape=tuple(shape), read=lambda: change(self.read()))

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        count = self.dtype.itemsize
        for side in self.shape:
            count *= side
        return count
