"""A GPU simulated by PyTorch's meta device: tensors with shapes and no numbers, gradients included.

What waits for a GPU is what brings numbers across: a number that the processor reads, and a copy
from or to it. Here each is noted, and what is read is made up.
"""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

GPU = torch.device("meta")
TORCH, HERE = str(Path(torch.__file__).parent), __file__
aten = torch.ops.aten
COPIES = {aten._to_copy, aten.copy_}


class Waits(TorchDispatchMode):
    """While it is entered, whatever waits for the GPU is noted.

    Args:
        falling: whether numbers fall from one reading to the next, so that every iterate is better
            than those before; else they rise.

    Attributes:
        found: how often, by ("reads" | "copies to" | "copies from", "file:function").
    """

    def __init__(self, falling: bool = False):
        super().__init__()
        self.found: Counter[tuple[str, str]] = Counter()
        self._number, self._change = 1e-3, 0.99 if falling else 1.01

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        from_gpu = any(t.device == GPU for t in given)
        kind = func.overloadpacket
        if from_gpu and kind is aten._local_scalar_dense:
            return self._read(args[0])
        if from_gpu and torch.Tag.data_dependent_output in func.tags:
            self._note("reads")
            return False
        if from_gpu and kind is aten._to_copy and kwargs.get("device") == torch.device("cpu"):
            self._note("copies from")
            return self._made_up(args[0], kwargs.get("dtype"))
        output = func(*args, **kwargs)
        made = [t for t in tree_leaves(output) if isinstance(t, Tensor)]
        crosses = {t.device.type for t in (*given, *made)} >= {"cpu", "meta"}
        if crosses and (kind in COPIES or torch.Tag.pointwise not in func.tags):
            self._note("copies to")
        return output

    def _read(self, tensor: Tensor) -> Any:
        self._note("reads")
        return self._made_up(tensor, None).flatten()[0].item()

    def _made_up(self, tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
        self._number *= self._change
        dtype = dtype or tensor.dtype
        number = self._number if dtype.is_floating_point else 0
        return torch.full(tuple(tensor.shape), number, dtype=dtype)

    def _note(self, what: str) -> None:
        frame = sys._getframe(1)
        while frame.f_code.co_filename == HERE or frame.f_code.co_filename.startswith(TORCH):
            assert frame.f_back is not None
            frame = frame.f_back
        self.found[what, f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_name}"] += 1
