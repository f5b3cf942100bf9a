"""A capture of network calls that is simulated on the CPU.

A simulated graph runs the captured function again, as a CUDA graph launches its kernels again: on
the tensors that it read then, into the output that it had then. While it captures, a tensor that is
read by the processor is an error, as in CUDA. What only a GPU can show is in benchmarks/gpu.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode


class _NothingIsRead(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        return func(*args, **(kwargs or {}))


class SimulatedCapture:
    """What `CudaCapture` does, on the CPU.

    Attributes:
        captures, replays: how many there were.
        failing: when to fail: never, at a "capture" or at a "replay", or an error to raise then.
        between: is called once, before the next replay, when its buffers are filled.
    """

    def __init__(self):
        self.captures = self.replays = 0
        self.failing = ""
        self.between = None

    def __call__(self, function):
        self.captures += 1
        if self.failing == "capture":
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\n...")
        with _NothingIsRead():
            output = function()

        def replay():
            self.replays += 1
            between, self.between = self.between, None
            if between is not None:
                between()
            if self.failing == "replay":
                raise RuntimeError("CUDA error: unspecified launch failure")
            return output.copy_(function())

        return replay
