"""Meters that other work on the machine does not falsify: processor seconds, and peak memory.

Wall time on a shared machine measures the neighbours. On the CPU what counts is the process's own
seconds, repeated, and the least of them; a neighbour on the same core's caches can only add.
"""

import ctypes
import gc
import json
import resource
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

KIB, MIB = 2**10, 2**20
# Freed blocks go back to the system at once, so that resident memory is what tensors hold.
HONEST_MALLOC = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def now(device: str) -> float:
    """Seconds of the process on the CPU; on a GPU wall time once all its work is done."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def reset_peak(device: str) -> float:
    """Begin a peak; returns the MiB in use now."""
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / MIB
    try:
        _return_freed_blocks()
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return peak_mib(device)
    return _status("VmRSS")


def _return_freed_blocks() -> None:
    """Give the system what earlier work has freed: a peak below it would not be seen."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def peak_mib(device: str) -> float:
    """The most MiB in use since `reset_peak`; on the CPU resident memory."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / MIB
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB


def tensor_peak_mib(function: Callable[[], Any], device: str) -> float:
    """The most MiB that tensors made by function() hold at once, as PyTorch's allocator sees it."""
    if device.startswith("cuda"):
        base = reset_peak(device)
        function()
        return peak_mib(device) - base
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    held = most = 0
    for event in sorted(changes, key=lambda event: event["ts"]):
        held += event["args"]["Bytes"]
        most = max(most, held)
    return most / MIB


class Living(TorchDispatchMode):
    """What tensors made inside hold at once, in bytes; of fake tensors, too, which hold nothing.

    Attributes:
        now, most: bytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._living: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count what the operation has made anew."""
        given = {storage._cdata for storage in _storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            key = storage._cdata
            if key not in given and key not in self._living:
                self._living[key] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, key)
        return result

    def _gone(self, key: int) -> None:
        self.now -= self._living.pop(key)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _status(field: str) -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / KIB
    raise RuntimeError(f"/proc/self/status has no {field}: measure on Linux")
