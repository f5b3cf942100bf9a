"""Masks from picture files."""

from pathlib import Path

from torch import Tensor

from ..files.pictures import read_picture
from ..map_estimation.restraints import Restraints
from .enhance_options import Options


def read_restraints(options: Options, image: Tensor) -> Restraints:
    """The options' masks and anchored colours, for pictures (B, 3, H, W).

    Raises: ValueError for a mask file that cannot be read or is of another size.
    """
    restraints = Restraints(
        _read_mask(options.mask, image),
        _read_mask(options.guard, image),
        anchor_colours=options.anchor_colours,
    )
    restraints.check(image)
    return restraints


def _read_mask(path: Path | None, image: Tensor) -> Tensor | None:
    if path is None:
        return None
    mask = read_picture(path).pixels.mean(1, keepdim=True).to(image)
    if mask.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"{path} is {mask.shape[-1]}x{mask.shape[-2]} pixels, the picture "
            f"{image.shape[-1]}x{image.shape[-2]}: resize the mask"
        )
    return mask
