"""A device that is not there: on the CPU, but every tensor on it is counted."""

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves

SIMULATED = torch.device("cpu", 7)  # no tensor is really there


class _Followed(TorchDispatchMode):
    """What is computed from tensors of the device is on the device."""

    def __init__(self, device: "SimulatedDevice"):
        super().__init__()
        self.device = device

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [leaf for leaf in tree_leaves((args, kwargs)) if torch.is_tensor(leaf)]
        found = func(*args, **(kwargs or {}))
        if any(self.device.holds(tensor) for tensor in given):
            for tensor in tree_leaves(found):
                if torch.is_tensor(tensor):
                    self.device.take(tensor)
        return found


class SimulatedDevice(TorchFunctionMode):
    """While it is entered, `.to(SIMULATED)` copies to the device and `.cpu()` from it.

    Attributes:
        peak: the most bytes that were there at once since it was last set.
    """

    def __init__(self):
        super().__init__()
        self.peak, self._there = 0, {}
        self._followed = _Followed(self)

    def __enter__(self):
        self._followed.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._followed.__exit__(*error)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        places = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.device | str)]
        if func is torch.Tensor.to and SIMULATED in places:
            copy = args[0].clone()
            self.take(copy)
            return copy
        if func is torch.Tensor.cpu or (func is torch.Tensor.to and torch.device("cpu") in places):
            with _disable_current_modes():
                return args[0].clone()
        return func(*args, **kwargs)

    def take(self, tensor: torch.Tensor) -> None:
        """Count the tensor's memory."""
        storage = tensor.untyped_storage()
        self._there[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self.peak = max(self.peak, self.bytes)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether it is on the device."""
        found = self._there.get(tensor.untyped_storage()._cdata)
        return found is not None and not found[0].expired()

    @property
    def bytes(self) -> int:
        """What is there now."""
        self._there = {key: v for key, v in self._there.items() if not v[0].expired()}
        return sum(size for _, size in self._there.values())
