"""Weights and conditionings of ComfyUI made fit for gradients.

Weights may be moved only inside inference mode and differentiated only outside of it; a tensor
that was made inside must be replaced before autograd may save it.
"""

from typing import Any

import torch
from torch import Tensor, nn

from .. import core_versions


def thaw(value: Any) -> Any:
    """Clones of all tensors in nested dicts, lists and tuples, and in conditioning objects.

    Must run outside inference mode: the clones then are tensors that autograd may save.
    """
    if isinstance(value, Tensor):
        return value if type(value) is Tensor and _is_normal(value) else value.detach().clone()
    if isinstance(value, dict):
        return {key: thaw(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(thaw(item) for item in value)
    return value


def freeze(module: nn.Module, device: torch.device) -> None:
    """Make a loaded network's weights constants that autograd may save.

    Moved or loaded inside inference mode they are inference tensors, which it may not. Only a
    new Parameter object helps: assigning to `.data` leaves a tensor nobody can use any more.

    Args:
        module: the network, loaded.
        device: where it computes; weights elsewhere are cast anew for each call and stay.
    Raises: RuntimeError if weights elsewhere would be cast into a buffer that is overwritten
        before backward.
    """
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is None:
                continue
            if weight.device.type != device.type:
                _check_offloaded(module)
            if _must_be_replaced(weight, device):
                part._parameters[name] = nn.Parameter(weight.detach().clone(), requires_grad=False)
            else:
                weight.requires_grad_(False)
        for name, buffer in part._buffers.items():
            if buffer is not None and _must_be_replaced(buffer, device):
                part._buffers[name] = buffer.detach().clone()


def _check_offloaded(module: nn.Module) -> None:
    if core_versions.reuses_cast_buffers():
        raise RuntimeError(
            f"{type(module).__name__} does not fit into the graphics memory as a whole, and "
            "gradients through weights kept elsewhere would be wrong: free some memory, use a "
            "smaller model or weight type, or start ComfyUI with --disable-async-offload"
        )


def _must_be_replaced(tensor: Tensor, device: torch.device) -> bool:
    plain = type(tensor) in (Tensor, nn.Parameter)  # quantised weights are unpacked for each call
    return plain and tensor.device.type == device.type and not _is_normal(tensor)


def _is_normal(tensor: Tensor) -> bool:
    """Whether autograd may save it; also False for weights that `.data =` has spoiled."""
    try:
        return tensor._version >= 0
    except RuntimeError:
        return False
