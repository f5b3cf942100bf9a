"""The network calls of a reconstruction, kept for its gradient in the memory there is.

n calls, F one call without gradient, B its vector-Jacobian product: "store" costs nF + nB and the
activations of all calls, "recompute" 2nF + nB and those of one call, "auto" keeps the last k calls
that fit: (2n - k)F + nB. All give the same gradient.
"""

import os
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .protocols import Denoiser
from .schedule import Step

Memory = Literal["store", "recompute", "auto"]
# Share of the free memory "auto" takes: the decoder and the prior need theirs, and so do others.
FREE_SHARE = 0.5


class _Call(NamedTuple):
    latent: Tensor
    output: Tensor | None  # with its graph, if kept


class Tape:
    """Recorded network calls, indexed in the order of reconstruction.

    Args:
        calls: how many calls a reconstruction makes.
        memory: "store", "recompute", "auto", or how many calls' activations to keep.

    Attributes:
        kept: how many calls' activations are kept; None until "auto" has measured the first call.
    """

    def __init__(self, calls: int, memory: Memory | int = "recompute"):
        self.kept = _kept(calls, memory)
        self._limit = calls
        self._calls: dict[int, _Call] = {}

    def record(self, index: int, denoiser: Denoiser, step: Step, latent: Tensor) -> Tensor:
        """Call the network, remember the call, and return its output without a graph."""
        latent = latent.detach()
        if self.kept is None:
            self.kept = calls_that_fit(denoiser, step, latent, self._limit)
        if len(self._calls) < self.kept:
            leaf, output = _call_with_graph(denoiser, step, latent)
            self._calls[index] = _Call(leaf, output)
        else:
            with torch.no_grad():
                output = denoiser(latent, step.label)
            self._calls[index] = _Call(latent, None)
        return output.detach().to(latent.dtype)

    def pull_back(self, index: int, denoiser: Denoiser, step: Step, gradient: Tensor) -> Tensor:
        """b times the call's vector-Jacobian product; forgets the call."""
        leaf, output = self._calls.pop(index)
        if output is None:
            leaf, output = _call_with_graph(denoiser, step, leaf)
        if not output.requires_grad:
            raise RuntimeError(
                "the network's output carries no gradient: a wrapper around it runs under no_grad, "
                "or its attention has no backward; use PyTorch's own attention"
            )
        (pulled,) = torch.autograd.grad(output, leaf, (step.b * gradient).to(output.dtype))
        return pulled


def _kept(calls: int, memory: Memory | int) -> int | None:
    if isinstance(memory, int):
        return memory
    modes = {"store": calls, "recompute": 0, "auto": None}
    if memory not in modes:
        raise ValueError(f"unknown memory mode {memory!r}: choose {', '.join(modes)}")
    return modes[memory]


def _call_with_graph(denoiser: Denoiser, step: Step, latent: Tensor) -> tuple[Tensor, Tensor]:
    leaf = latent.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        return leaf, denoiser(leaf, step.label)


def calls_that_fit(denoiser: Denoiser, step: Step, latent: Tensor, calls: int) -> int:
    """How many calls' activations fit into half of the free memory; measured by one call."""
    free = free_memory(latent.device)
    if free is None:
        return 0
    room = int(free * FREE_SHARE / max(1, activation_bytes(denoiser, step, latent))) - 1
    return max(0, min(calls, room))


def activation_bytes(denoiser: Denoiser, step: Step, latent: Tensor) -> int:
    """Bytes that autograd keeps for one network call, the network's weights not counted."""
    sizes: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
        # An output that its own graph holds would be a cycle that nothing frees.
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        _call_with_graph(denoiser, step, latent)
    return sum(sizes.values())


def free_memory(device: torch.device) -> int | None:
    """Free bytes of the device, or None where that cannot be asked."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    if device.type == "cpu" and "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", ()):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
