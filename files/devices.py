"""What devices lack, and what is done there instead.

Apple's MPS has no float64 and no gradient of antialiased resizing, Intel's Arc has no float64.
"""

from collections.abc import Sequence
from functools import cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def is_complete(device: torch.device | str) -> bool:
    """Whether a device has float64, and with it all else that this program computes."""
    kind = torch.device(device).type
    return kind in ("cpu", "cuda") or _has_float64(kind)


@cache
def _has_float64(kind: str) -> bool:
    try:
        return float((torch.ones(2, dtype=torch.float64, device=kind) / 3).sum()) == 2 / 3
    except Exception:  # each kind of device says so in its own way
        return False


def exact_dtype(device: torch.device | str) -> torch.dtype:
    """float64, or float32 on devices without it."""
    return torch.float64 if is_complete(device) else torch.float32


def exact(tensor: Tensor, device: torch.device | str | None = None) -> Tensor:
    """A tensor in the highest precision that a device has, by default its own, and there."""
    device = tensor.device if device is None else device
    return tensor.to(device, exact_dtype(device))


def complete_device(device: torch.device | str) -> torch.device | str:
    """The device, or the CPU in its place."""
    return device if is_complete(device) else "cpu"


def in_float64(tensor: Tensor) -> Tensor:
    """A tensor in float64, on the CPU where its device has none; gradients find their way back."""
    return (tensor if is_complete(tensor.device) else tensor.cpu()).double()


def resized(
    image: Tensor, size: Sequence[int], mode: Literal["bilinear", "bicubic"] = "bicubic"
) -> Tensor:
    """Pictures (B, C, H, W) at another size (height, width), antialiased, on their device."""
    near = image if is_complete(image.device) else image.cpu()
    return F.interpolate(near, size=list(size), mode=mode, antialias=True).to(image.device)
