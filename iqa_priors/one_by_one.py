"""Large pictures one by one, each with its gradient at once: one graph at a time is in memory.

A network that looks at a picture as a whole keeps 0.1 to 10 kB a pixel for its gradient, and a MAP
estimation scores two pictures at a time. Nothing but the gradient by the picture is ever wanted of
a frozen network, so it is taken while its graph is there, and the graph is gone before the next.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGE = 1024 * 1024  # pixels: below, two graphs at once are small


def one_by_one(metric: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """metric(image), of large pictures one after the other.

    Args:
        metric: pictures (B, 3, H, W) to scores (B,), each picture's of itself alone; its weights
            are frozen: they get no gradient here.
        image: pictures (B, 3, H, W).
    Returns: scores (B,), differentiable once.
    """
    if image[0, 0].numel() <= LARGE:
        return metric(image)
    if not (torch.is_grad_enabled() and image.requires_grad):
        return torch.cat([metric(picture) for picture in image.split(1)])
    return _WithGradientAtOnce.apply(image, metric)  # pyright: ignore


class _WithGradientAtOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, metric: Callable[[Tensor], Tensor]) -> Tensor:
        scores, slopes = [], []
        for picture in image.split(1):
            leaf = picture.detach().requires_grad_(True)
            with torch.enable_grad():
                score = metric(leaf)
            (slope,) = torch.autograd.grad(score, leaf, torch.ones_like(score))
            slopes.append(slope)
            scores.append(score.detach())
        ctx.save_for_backward(torch.cat(slopes))
        return torch.cat(scores)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore
        (slopes,) = ctx.saved_tensors
        return gradient.to(slopes)[:, None, None, None] * slopes, None
