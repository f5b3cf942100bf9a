"""Constant numbers where they are needed: copied to a device once.

A copy from the processor has a GPU finish all that it was given, and cannot be part of a captured
CUDA graph.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

# A number, or rows of them.
Numbers = float | tuple["Numbers", ...]

_copies: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
_kept: ContextVar[list[Tensor] | None] = ContextVar("kept", default=None)


@contextmanager
def kept_constants() -> Iterator[list[Tensor]]:
    """Inside, the constants that are given out are noted in a list.

    Who computes again from their addresses, as a captured CUDA graph does, has to keep them: here
    they are forgotten once others have been wanted since.
    """
    kept: list[Tensor] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def _noted(tensor: Tensor) -> Tensor:
    if (kept := _kept.get()) is not None:
        kept.append(tensor)
    return tensor


def constant(numbers: Numbers, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Numbers on the device of another tensor and in its type, or a given one.

    They are not to be written to.
    """
    return _noted(_made(numbers, dtype or like.dtype, like.device))


def carried(tensor: Tensor, like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """A tensor that stays as it is, on the device of another and in its type, or a given one.

    Args:
        tensor: kept by the caller; its copies on other devices go with it.
        like, dtype: where it is wanted, and how.
    """
    place = like.device, dtype or like.dtype
    if tensor.device == like.device:
        return _noted(tensor.to(*place))
    if tensor not in _copies:
        _copies[tensor] = {}
    copies = _copies[tensor]
    if place not in copies:
        with torch.inference_mode(False):  # later callers may want a gradient
            copies[place] = tensor.to(*place)
    return _noted(copies[place])


@lru_cache(maxsize=64)
def _made(numbers: Numbers, dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # later callers may want a gradient
        return torch.tensor(numbers, dtype=dtype, device=device)
