"""CUDA tensors without CUDA: shapes and devices are real, numbers and kernels are not.

PyTorch's fake tensors carry a device that need not be there, so that a processor can walk through a
call and see each operation that it would give to a GPU. `forbidden` lists those that CUDA refuses
while it captures: numbers that the processor reads, and copies between it and the device, each of
which waits for the device. It sees what PyTorch dispatches; what a library does inside one of its
kernels, and whether there is a kernel at all, only a GPU shows. Gradients cannot be walked, since
autograd asks for the device itself.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

READ = (DataDependentOutputException, DynamicOutputShapeException)
aten = torch.ops.aten
# They take a single number of the processor's for a Python number, as those between tensors do.
TAKE_NUMBERS = {aten.fill_, aten.masked_fill, aten.masked_fill_}
PUTS = {aten.index_put, aten.index_put_}  # by a mask they count its places first
TORCH, HERE = str(Path(torch.__file__).parent), __file__


class Forbidden(NamedTuple):
    """An operation that CUDA refuses while it captures.

    Attributes:
        operation: its name in PyTorch.
        where: "file:line" of the code that asked for it.
    """

    operation: str
    where: str


class FakeCuda:
    """A device that is not there; what is made while it is entered is on it or on the CPU."""

    def __init__(self):
        self.mode = FakeTensorMode()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, tensors are fake."""
        with self.mode:
            yield

    def tensor(self, real: Tensor, dtype: torch.dtype | None = None) -> FakeTensor:
        """One of the same shape on the device, and of the same type unless another is given."""
        shape, dtype = real.shape, dtype or real.dtype
        with self.mode:
            return torch.empty(shape, dtype=dtype, device="cuda")  # pyright: ignore - it is fake

    def network(self, real: nn.Module, dtype: torch.dtype | None = None) -> Any:
        """A copy of a frozen network on the device, its weights of a type if one is given."""
        return self.moved(deepcopy(real), dtype)

    def moved(self, network: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
        """The same network, its weights replaced by fake ones on the device."""
        for module in network.modules():  # one by one: `to` asks for the device
            for name, value in module._parameters.items():
                if value is not None:
                    module._parameters[name] = self._frozen(value, dtype)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = self.tensor(value)
        return network

    def _frozen(self, real: Tensor, dtype: torch.dtype | None) -> nn.Parameter:
        fake = self.tensor(real.detach(), dtype)
        with self.mode:
            return nn.Parameter(fake, requires_grad=False)


def forbidden(function: Callable[[], Any]) -> list[Forbidden]:
    """What function() does on fake CUDA tensors that CUDA refuses while it captures.

    Args:
        function: called where a `FakeCuda` is entered. A number that it reads is not there, so a
            reading ends the walk.
    """
    watch = _Watch()
    with watch:
        try:
            function()
        except READ:
            assert watch.found, "fake tensors refused what was not dispatched"
    return watch.found


class _Watch(TorchDispatchMode):
    """Sees every operation before the fake tensors do."""

    def __init__(self):
        super().__init__()
        self.found: list[Forbidden] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        try:
            output = func(*args, **(kwargs or {}))
        except READ:
            self._note(func)
            raise
        given = [leaf for leaf in tree_leaves((args, kwargs, output)) if isinstance(leaf, Tensor)]
        if _crosses(func, given) or _masked(func, given):
            self._note(func)
        return output

    def _note(self, func: Any) -> None:
        frames = traceback.extract_stack()[:-2]
        own = [f for f in frames if not f.filename.startswith(TORCH) and f.filename != HERE]
        at = (own or frames)[-1]
        self.found.append(Forbidden(str(func), f"{Path(at.filename).name}:{at.lineno}"))


def _crosses(func: Any, given: list[Tensor]) -> bool:
    """Whether numbers go from the processor to the device, or back."""
    if not {tensor.device.type for tensor in given} >= {"cpu", "cuda"}:
        return False
    single = all(tensor.ndim == 0 for tensor in given if tensor.device.type == "cpu")
    takes = torch.Tag.pointwise in func.tags or func.overloadpacket in TAKE_NUMBERS
    return not (single and takes)


def _masked(func: Any, given: list[Tensor]) -> bool:
    return func.overloadpacket in PUTS and any(tensor.dtype == torch.bool for tensor in given[1:])
