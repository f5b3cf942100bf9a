"""What is asked of an entrant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from torch import Tensor


class Made(NamedTuple):
    """What an entrant makes of a picture.

    Attributes:
        pixels: RGB in [0, 1], (1, 3, H, W), of the input's size.
        record: how, as JSON types.
    """

    pixels: Tensor
    record: dict[str, Any]


class Entrant(Protocol):
    """Something that makes a result of each picture of a study; it travels between processes."""

    @property
    def name(self) -> str:
        """Its name in tables; observers never see it."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """What has to be loaded for it: jobs that need the same are done one after the other."""
        ...

    @property
    def reads(self) -> tuple[Path, ...]:
        """Files and folders that it reads, of which none may lie where a study writes."""
        ...

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Raise ValueError, before any work, for what it lacks.

        Args:
            sizes: (width, height) of each picture.
        """
        ...

    def describe(self, picture: str) -> dict[str, Any]:
        """All that its result of a picture follows from, besides the picture, as JSON types."""
        ...

    def make(self, picture: str, pixels: Tensor, device: str) -> Made:
        """Its result of a picture, (1, 3, H, W), RGB in [0, 1], on the CPU."""
        ...
