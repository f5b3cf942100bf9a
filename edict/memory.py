"""Memory: how much is free, and how much a call's graph holds."""

import os
from collections.abc import Callable

import torch
from torch import Tensor

from ..files.address_space import free_address_space

# Of what is free, for what may be kept: the decoder and the prior need theirs, and so do others.
FREE_SHARE = 0.5


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, or None where that cannot be asked."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    if device.type == "mps" and hasattr(torch.mps, "recommended_max_memory"):
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    if device.type == "cpu":
        known = [size for size in (_free_pages(), free_address_space()) if size is not None]
        return min(known, default=None)
    return None


def _free_pages() -> int | None:
    if "SC_AVPHYS_PAGES" not in getattr(os, "sysconf_names", ()):
        return None
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def return_cached_memory(device: torch.device) -> None:
    """Give freed blocks back to the device, so that larger ones can be had."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def graph_bytes(function: Callable[[Tensor], Tensor], x: Tensor) -> int:
    """Bytes that autograd keeps for function(x), the network's weights not counted."""
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        # An output that its own graph holds would be a cycle that nothing frees.
        return tensor.detach()

    leaf = x.detach().clone().requires_grad_(True)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
        function(leaf)
    return sum(sizes.values())
