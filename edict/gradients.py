"""One call's graph, and its vector-Jacobian product."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

_plain: ContextVar[bool] = ContextVar("plain", default=False)


@contextmanager
def plain_calls() -> Iterator[None]:
    """Inside, networks are called as they are, so that what their graphs hold can be measured."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def are_calls_plain() -> bool:
    """Whether networks are to be called as they are."""
    return _plain.get()


def with_graph(
    function: Callable[..., Tensor], x: Tensor, *arguments: Any
) -> tuple[Tensor, Tensor]:
    """A copy of x and function(x, *arguments), with the graph between them."""
    leaf = x.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        return leaf, function(leaf, *arguments)


def vector_jacobian(leaf: Tensor, output: Tensor, gradient: Tensor) -> Tensor:
    """Gradient by the output to gradient by the leaf; frees the graph.

    It goes through the network at the size of 1, whatever its own: gradients of a mean over pixels
    are about 1e-6 and smaller, which half precision flushes to zero.

    Raises: RuntimeError if the output has no graph.
    """
    if not output.requires_grad:
        raise RuntimeError(
            "the network's output carries no gradient: a wrapper around it runs under no_grad, "
            "or its attention has no backward; use PyTorch's own attention"
        )
    size = _power_of_two(gradient.abs().amax())
    (pulled,) = torch.autograd.grad(output, leaf, (gradient / size).to(output.dtype))
    return pulled * size


def _power_of_two(largest: Tensor) -> Tensor:
    """The one just below, so that float32 keeps its bits; 1 for 0. Nothing is read by the CPU."""
    return torch.where(largest > 0, largest, 1.0).log2().floor().exp2()
