"""The network calls of a reconstruction, kept for its gradient in the memory there is.

n calls, F one call without gradient, B its vector-Jacobian product: "store" costs nF + nB and the
activations of all calls, "recompute" 2nF + nB and those of one call, "auto" keeps the last k calls
that fit: (2n - k)F + nB. All give the same gradient.
"""

import sys
from typing import NamedTuple

import torch
from torch import Tensor

from .choices import Memory
from .gradients import vector_jacobian, with_graph
from .memory import FREE_SHARE, free_memory, graph_bytes
from .protocols import Denoiser
from .schedule import Step
from .tiling.tiles import parts_of


class _Call(NamedTuple):
    latent: Tensor
    kept: dict[int, tuple[Tensor, Tensor]]  # input and output, with their graph, by part


class Tape:
    """Recorded network calls, indexed in the order of reconstruction.

    Args:
        calls: how many calls a reconstruction makes; on tiles each of them has several parts.
        memory: "store", "recompute", "auto", or how many parts' activations to keep.

    Attributes:
        kept: how many parts' activations are kept; None until "auto" has measured the first.
    """

    def __init__(self, calls: int, memory: Memory | int = "recompute"):
        self.kept = _kept(memory)
        self._limit, self._held = calls, 0
        self._calls: dict[int, _Call] = {}

    def record(self, index: int, denoiser: Denoiser, step: Step, latent: Tensor) -> Tensor:
        """Call the network, remember the call, and return its output without a graph."""
        latent = latent.detach()
        parts = parts_of(denoiser, latent)
        output, kept = torch.zeros_like(latent), {}
        for number, part in enumerate(parts):
            piece = part.cut(latent)
            if self.kept is None:
                self.kept = calls_that_fit(part.denoiser, step, piece, self._limit * len(parts))
            if self._held < self.kept:
                kept[number] = with_graph(part.denoiser, piece, step.label)
                self._held += 1
                part.blend(kept[number][1].detach(), output)
            else:
                with torch.no_grad():
                    part.blend(part.denoiser(piece, step.label), output)
        self._calls[index] = _Call(latent, kept)
        return output

    def clear(self) -> None:
        """Forget all calls."""
        self._calls.clear()
        self._held = 0

    def pull_back(self, index: int, denoiser: Denoiser, step: Step, gradient: Tensor) -> Tensor:
        """b times the call's vector-Jacobian product; forgets the call."""
        latent, kept = self._calls.pop(index)
        pulled, gradient = torch.zeros_like(latent), step.b * gradient
        for number, part in enumerate(parts_of(denoiser, latent)):
            leaf, output = kept.pop(number, None) or with_graph(
                part.denoiser, part.cut(latent), step.label
            )
            part.spread(vector_jacobian(leaf, output, part.weigh(gradient)), pulled)
        return pulled


def _kept(memory: Memory | int) -> int | None:
    if isinstance(memory, int):
        return memory
    modes = {"store": sys.maxsize, "recompute": 0, "auto": None}
    if memory not in modes:
        raise ValueError(f"unknown memory mode {memory!r}: choose {', '.join(modes)}")
    return modes[memory]


def calls_that_fit(denoiser: Denoiser, step: Step, latent: Tensor, calls: int) -> int:
    """How many calls' activations fit into half of the free memory; measured by one call."""
    free = free_memory(latent.device)
    if free is None:
        return 0
    room = int(free * FREE_SHARE / max(1, activation_bytes(denoiser, step, latent))) - 1
    return max(0, min(calls, room))


def activation_bytes(denoiser: Denoiser, step: Step, latent: Tensor) -> int:
    """Bytes that autograd keeps for one network call, the network's weights not counted."""
    return graph_bytes(lambda x: denoiser(x, step.label), latent)
