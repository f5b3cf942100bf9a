"""Apple's MPS simulated on the CPU: a device without float64 and some other operations.

Every tensor but those that `.cpu()` brought away, and what was made of these, counts as being on
the device. What MPS cannot do raises what MPS raises. That all else works there is not shown.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, device, float64
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

NO_FLOAT64 = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it"
LACKING = (torch.linalg.eigh, torch.linalg.eigvalsh, torch.linalg.pinv)


class SimulatedMps(TorchFunctionMode):
    """While it is entered, the device is the only one."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if _brings_away(func, args) or any(map(_is_away, given)):
            return _away(func(*args, **kwargs))
        if func in LACKING or (func is F.interpolate and kwargs.get("antialias")):
            raise NotImplementedError(f"{func.__name__} is not implemented for the MPS device")
        found = func(*args, **kwargs)
        if _has_float64(found) and (_goes_to_a_device(func, args, kwargs) or _was_float32(given)):
            raise RuntimeError(NO_FLOAT64)  # a TypeError, there; operators would hide it
        return found


def _brings_away(func, args):
    return func is Tensor.cpu or (func is Tensor.to and args[1:] == ("cpu",))


def _has_float64(found):
    return any(isinstance(t, Tensor) and t.dtype == float64 for t in tree_leaves(found))


def _goes_to_a_device(func, args, kwargs):
    return func is Tensor.to and (isinstance((*args, None)[1], device) or "device" in kwargs)


def _was_float32(given):
    here = [tensor for tensor in given if tensor.is_floating_point() and not _is_away(tensor)]
    return any(tensor.dtype != float64 for tensor in here)


def _is_away(tensor):
    return getattr(tensor, "_is_away", False)


def _away(found):
    if isinstance(found, Tensor) and not _is_away(found):
        found = found.view_as(found)
        found._is_away = True
    return found
