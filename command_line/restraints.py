"""Masks from picture files."""

import logging
from pathlib import Path

import torch
from torch import Tensor

from ..files.pictures import Picture, read_picture
from ..map_estimation.restraints import Restraints
from .enhance_options import Options

log = logging.getLogger(__name__)
LABELS = 25  # of 255: a tenth


def read_restraints(options: Options, image: Tensor, tell: bool = False) -> Restraints:
    """The options' masks and anchored colours, for pictures (B, 3, H, W).

    Args:
        tell: warn of masks that are probably not meant so.

    Raises: ValueError for a mask file that cannot be read or is of another size.
    """
    restraints = Restraints(
        _read_mask(options.mask, image, tell),
        _read_mask(options.guard, image, tell),
        anchor_colours=options.anchor_colours,
    )
    restraints.check(image)
    return restraints


def _mask_of(picture: Picture) -> Tensor:
    """A mask file's values, (1, 1, H, W): its alpha where that varies, else its brightness."""
    if picture.alpha is not None and picture.alpha.min() < picture.alpha.max():
        return torch.from_numpy(picture.alpha).float()[None, None] / 255
    return picture.pixels.mean(1, keepdim=True)


def _remark(mask: Tensor, path: Path) -> None:
    brightest = round(255 * float(mask.max()))
    if 0 < brightest <= LABELS:
        log.warning(
            "%s never exceeds %d of 255, as if it held labels: nearly nothing is painted; scale it "
            "to black and white",
            *(path, brightest),
        )
    if brightest == 0:
        log.warning("%s is black everywhere: nothing is painted on it", path)


def _read_mask(path: Path | None, image: Tensor, tell: bool) -> Tensor | None:
    if path is None:
        return None
    mask = _mask_of(read_picture(path)).to(image)
    if tell:
        _remark(mask, path)
    if mask.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"{path} is {mask.shape[-1]}x{mask.shape[-2]} pixels, the picture "
            f"{image.shape[-1]}x{image.shape[-2]}: resize the mask"
        )
    return mask
