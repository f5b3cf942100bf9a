"""MS-LIQE: LIQE on three scales, trained on quality alone.

Source: Zhang et al., arXiv 2403.06406, Sec. V. Its authors have published neither weights nor code.
"""

from pathlib import Path

import torch
from torch import Tensor

from ...files.devices import resized
from ..choices import Pooling
from ..prior import Scorer
from .liqe import SIDE, Pyramid, as_scorer, build_liqe
from .model import load_clip

MIDDLE = 0.75


def three_levels(side: int = SIDE) -> Pyramid:
    """The paper's pyramid: the picture, 0.75 of it, and its short side brought to a crop's side.

    Bicubic, antialiased. A scale with a short side below a crop's is left out, so that a picture
    of less than 299 pixels has two of the three, and one of less than 224 the last alone.

    Args:
        side: of a crop in pixels; 224 in the paper.
    """

    def pyramid(image: Tensor) -> list[Tensor]:
        height, width = image.shape[-2:]
        sizes = [(height, width), (round(MIDDLE * height), round(MIDDLE * width))]
        sizes = [size for size in sizes if min(size) >= side]
        scale = side / min(height, width)
        sizes.append((max(side, round(scale * height)), max(side, round(scale * width))))
        return [_resized(image, size) for size in sizes]

    return pyramid


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(image.shape[-2:]) == size:
        return image
    return resized(image, size)


def load_ms_liqe(
    device: str | torch.device, paths: tuple[Path, ...], pooling: Pooling = "crops"
) -> Scorer:
    """MS-LIQE from weights that `latent-map train-ms-liqe` has written.

    Args:
        device: where the weights go; pictures must be there too.
        paths: a CLIP with a transformer as image tower, in any layout that `load_clip` takes.
        pooling: whether each crop ("crops", Eq. 23) or each scale ("levels") weighs the same; the
            paper does not say how many crops it takes of each scale.
    Raises: ValueError if the file cannot be used.
    """
    clip = load_clip(paths[0]).to(device)
    image = clip.shape.image
    side = getattr(image, "side", SIDE)
    liqe = build_liqe(clip, pyramid=three_levels(side), pooling=pooling)
    clip.drop_text()
    return as_scorer(liqe)
