"""What a study file's [pictures] table may say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

LARGEST_SIDE = 8192


@dataclass(frozen=True)
class PicturesSettings:
    """Which pictures, and how they are prepared.

    Attributes:
        folder: of the picture files.
        exclude: CSV file with the columns picture and reason: those that are left out.
        side: they are scaled to this short side and cropped to its square, in pixels, as in the
            paper; 0 leaves them as they are.
    """

    folder: Path
    exclude: Path | None = None
    side: int = 512

    def __post_init__(self) -> None:
        """Raise ValueError for a side that is none."""
        if self.side != 0 and not 16 <= self.side <= LARGEST_SIDE:
            raise ValueError(
                f"side is {self.side}: give pixels from 16 to {LARGEST_SIDE}, or 0 to leave "
                "pictures as they are"
            )

    def within(self, root: Path) -> PicturesSettings:
        """With paths relative to a folder."""
        exclude = None if self.exclude is None else root / self.exclude
        return replace(self, folder=root / self.folder, exclude=exclude)
