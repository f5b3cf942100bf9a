"""Several views of a picture for one judge: what fools it in one view hardly fools it in all."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

Metric = Callable[[Tensor], Tensor]
SHIFT = (3, 5)  # pixels down and right: off the grids of networks and of JPEG
JPEG_QUALITY = 90


def several_views(metric: Metric, count: int) -> Metric:
    """A metric as the mean of its scores of the first `count` of VIEWS.

    Args:
        metric: pictures (B, 3, H, W) in [0, 1] to raw scores (B,).
        count: 1 to 4; time and memory grow with it. 1 is the metric itself.
    Raises: ValueError for any other count.
    """
    check_views(count)
    if count == 1:
        return metric

    def mean(image: Tensor) -> Tensor:
        return torch.stack([metric(view(image)) for view in VIEWS[:count]]).mean(0)

    return mean


def check_views(count: int) -> None:
    """Raise ValueError for a number of views that there is not."""
    if count not in range(1, len(VIEWS) + 1):
        raise ValueError(f"{count} views of a picture: choose 1 to {len(VIEWS)}")


def mirrored(image: Tensor) -> Tensor:
    """Left and right exchanged."""
    return image.flip(-1)


def shifted(image: Tensor) -> Tensor:
    """Moved down and right by a few pixels, the rest mirrored in; the size stays."""
    height, width = image.shape[-2:]
    down, right = (min(step, side - 1) for step, side in zip(SHIFT, (height, width), strict=True))
    return F.pad(image, (right, 0, down, 0), mode="reflect")[..., :height, :width]


def compressed(image: Tensor) -> Tensor:
    """After light JPEG compression; the gradient takes it for the picture itself."""
    with torch.no_grad():
        lossy = torch.stack([_jpeg(picture) for picture in image.detach().clamp(0, 1)])
    return image + (lossy.to(image) - image).detach()


def _jpeg(picture: Tensor) -> Tensor:
    from PIL import Image

    from ..files.recompressed import recompressed

    pixels = (255 * picture.float()).round().byte().permute(1, 2, 0).cpu().numpy()
    decoded = np.asarray(recompressed(Image.fromarray(pixels), JPEG_QUALITY), dtype=np.float32)
    return torch.from_numpy(decoded.copy()).permute(2, 0, 1) / 255


VIEWS: tuple[Callable[[Tensor], Tensor], ...] = (lambda image: image, mirrored, shifted, compressed)
