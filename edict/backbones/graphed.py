"""A backbone whose network calls are captured as CUDA graphs at first use, and replayed.

At batch 1 most of a call's time is the processor launching kernels; a replayed graph launches them
at once, and they are the same kernels: the same bits, so that states mix and no name changes. There
is a graph of the call without gradient, and one of call and vector-Jacobian product in one, which
keeps no activations between the two. So with n calls, F one of them and B its product, a tape that
keeps all calls costs nF + n(F + B) and next to no memory, and "auto" finds that it can keep all.

Graphs are captured while their buffers hold zeros, and the first replay of each is compared with a
plain call: what a capture froze, or missed, shows there. Where one of these fails, plain calls are
made instead, from then on, with one warning. So are those of a thread that comes while another one
replays.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.autograd.graph import saved_tensors_hooks

from ...files.constants import kept_constants
from ..choices import Spacing
from ..gradients import are_calls_plain, vector_jacobian, with_graph
from ..memory import return_cached_memory
from ..protocols import Binding
from ..schedule import Schedule

log = logging.getLogger(__name__)
# Whole pictures and tiles of one size, the parts at a border, and a picture of another size.
MOST_SHAPES = 4
WARM_UP = 3  # calls before a capture: libraries choose their kernels in the first ones
# A replayed call has a plain one's bits. Backward kernels may add up in any order: of the product's
# norm.
TOLERANCE = 0.01
# How a capture or a replay fails. In ComfyUI 0.3.65 to 0.19 cancelling is an Exception, too.
FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, AssertionError, LookupError)
# Graphs share their memory. Who comes second must not wait: the first may be waiting for autograd's
# thread, which then is the second's, too.
_REPLAYING = threading.Lock()

Replay = Callable[[], Tensor]
Capture = Callable[[Callable[[], Tensor]], Replay]


class Capturable(Protocol):
    """A denoiser whose label may be a tensor, and that shows what was bound to it."""

    def __call__(self, latent: Tensor, label: float | Tensor) -> Tensor:
        """The direction for a latent (B, C, h, w); a tensor label has one element."""
        ...

    def bound(self) -> dict[str, Tensor]:
        """What a call depends on besides latent, label and weights: a picture's, by name."""
        ...

    def holding(self, bound: dict[str, Tensor]) -> "Capturable":
        """The same denoiser with other tensors bound to it."""
        ...

    def weights_at(self) -> int:
        """The address of the weights: a graph reads those that were there when it was captured."""
        ...


class CudaCapture:
    """Captures calls as CUDA graphs that share one pool of memory.

    PyTorch gives a pool up with its last graph, and takes no more for it: then there is a new one.
    """

    def __init__(self) -> None:
        self._pool: Any = None
        self._graphs: WeakSet[Any] = WeakSet()

    def __call__(self, function: Callable[[], Tensor]) -> Replay:
        """What computes function() again from the tensors that it reads, into the same output."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                function()
        torch.cuda.current_stream().wait_stream(side)
        if not self._graphs:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Other threads of a server may ask the device for something meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = function()
        self._graphs.add(graph)

        def replay() -> Tensor:
            graph.replay()
            return output

        return replay


class GraphedBackbone:
    """A backbone whose calls are replayed; its map is the inner one's, bit by bit.

    Args:
        inner: a backbone whose bindings have a `Capturable`.
        capture: how calls are captured; default CUDA graphs.
    """

    def __init__(self, inner: Any, capture: Capture | None = None):
        self._inner = inner
        self.graphs = Graphs(capture or CudaCapture())
        self.name: str = inner.name
        self.multiple: int = inner.multiple
        self.conditioned: bool = inner.conditioned
        self.reach: int = inner.reach
        self.recipe: dict[str, Any] | None = inner.recipe

    def schedule(self, steps: int, spacing: Spacing = "trailing") -> Schedule:
        """The inner backbone's."""
        return self._inner.schedule(steps, spacing)

    def bind(self, image: Tensor) -> Binding:
        """As the inner backbone, with replayed calls."""
        denoiser, codec = self._inner.bind(image)
        return Binding(GraphedDenoiser(denoiser, self.graphs), codec)


class GraphedDenoiser:
    """A denoiser whose calls are replayed, with and without a gradient."""

    def __init__(self, inner: Capturable, graphs: "Graphs"):
        self.inner, self.graphs = inner, graphs

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """The direction for a latent (B, C, h, w)."""
        if are_calls_plain() or not self.graphs.usable:
            return self.inner(latent, label)
        if torch.is_grad_enabled() and latent.requires_grad:
            return _Replayed.apply(latent, label, self)  # pyright: ignore
        return self.graphs.call(self.inner, latent, label)

    def window(self, top: int, left: int, height: int, width: int) -> "GraphedDenoiser":
        """The denoiser for a part of the picture, in pixels."""
        part = self.inner.window(top, left, height, width)  # pyright: ignore - it can be cut
        return GraphedDenoiser(part, self.graphs)


class _Replayed(torch.autograd.Function):
    """A call that keeps nothing but its input; on the way back it is made again."""

    @staticmethod
    def forward(ctx: Any, latent: Tensor, label: float, denoiser: GraphedDenoiser) -> Tensor:
        ctx.save_for_backward(latent)
        ctx.label, ctx.denoiser = label, denoiser
        return denoiser.graphs.call(denoiser.inner, latent, label, pulled_back=True)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore
        (latent,) = ctx.saved_tensors
        denoiser = ctx.denoiser
        return denoiser.graphs.pull_back(denoiser.inner, latent, ctx.label, gradient), None, None


class Graphs:
    """The captured calls of one backbone, by what they were captured for, the latest used last.

    Attributes:
        usable: False once a capture or a replay has failed.
    """

    def __init__(self, capture: Capture):
        self.usable = True
        self._capture = capture
        self._kept: OrderedDict[tuple, _Captured] = OrderedDict()

    def call(
        self,
        denoiser: Capturable,
        latent: Tensor,
        label: float,
        pulled_back: bool = False,
    ) -> Tensor:
        """The direction, without a graph of autograd; `pulled_back`: its product will be wanted."""
        latent = latent.detach()

        def replayed() -> Tensor:
            captured = self._captured(denoiser, latent)
            output = captured.call(denoiser, latent, label)
            if pulled_back:  # here, because autograd goes back in a thread of its own
                captured.capture_product(output)
            return output

        output = self._tried(replayed, latent.device)
        if output is not None:
            return output
        with torch.no_grad():
            return denoiser(latent, label)

    def pull_back(
        self, denoiser: Capturable, latent: Tensor, label: float, gradient: Tensor
    ) -> Tensor:
        """The call's vector-Jacobian product."""
        latent = latent.detach()

        def replayed() -> Tensor:
            captured = self._captured(denoiser, latent)
            return captured.pull_back(denoiser, latent, label, gradient)

        product = self._tried(replayed, latent.device)
        if product is not None:
            return product
        return vector_jacobian(*with_graph(denoiser, latent, label), gradient)

    def close(self) -> None:
        """Forget all captured calls, and what they hold."""
        self._kept.clear()

    def _tried(self, replayed: Callable[[], Tensor], device: torch.device) -> Tensor | None:
        """What is replayed; None where it cannot be, or another thread is at it."""
        if not self.usable or not _REPLAYING.acquire(blocking=False):
            return None
        try:
            return replayed()
        except FAILURES as error:
            self._give_up(error, device)
            return None
        finally:
            _REPLAYING.release()

    def _captured(self, denoiser: Capturable, latent: Tensor) -> "_Captured":
        bound = {name: (tensor.shape, tensor.dtype) for name, tensor in denoiser.bound().items()}
        given = (latent.shape, latent.dtype, latent.device)
        key = (*given, denoiser.weights_at(), *sorted(bound.items()))
        if key not in self._kept:
            self._kept[key] = _Captured(denoiser, latent, self._capture)
            if len(self._kept) > MOST_SHAPES:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def _give_up(self, error: Exception, device: torch.device) -> None:
        self.usable = False
        self._kept.clear()
        why = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        log.warning("CUDA graphs do not work here (%s): going on without them", why)
        return_cached_memory(device)


class _Captured:
    """The calls of one shape, captured at first use, and the tensors that they read."""

    @torch.inference_mode(False)  # later callers may want a gradient
    def __init__(self, denoiser: Capturable, latent: Tensor, capture: Capture):
        self._capture = capture
        self._latent = torch.zeros_like(latent).requires_grad_(True)
        self._label = torch.zeros(1, device=latent.device)
        self._bound = {name: tensor.clone() for name, tensor in denoiser.bound().items()}
        self._denoiser = denoiser.holding(self._bound)
        self._holds: Capturable | None = None
        self._calls: Replay | None = None
        self._product: tuple[Tensor, Replay] | None = None
        self._gradient = self._latent.detach()  # of the output, once its product is captured
        self._is_product_compared = False
        self._constants: list[Tensor] = []  # what the graphs read besides

    def call(self, denoiser: Capturable, latent: Tensor, label: float) -> Tensor:
        is_first = self._calls is None
        self._calls = self._calls or self._captured(self._call)
        self._load(denoiser, latent, label)
        # The next replay overwrites its own output, and perhaps that of other graphs.
        output = self._calls().clone()
        if is_first:
            with torch.no_grad():
                _compare(output, denoiser(latent, label), 0.0)
        return output

    def pull_back(
        self, denoiser: Capturable, latent: Tensor, label: float, gradient: Tensor
    ) -> Tensor:
        buffer, pulls_back = self.capture_product(gradient)
        self._load(denoiser, latent, label)
        buffer.copy_(gradient)
        product = pulls_back().clone()
        if not self._is_product_compared:
            plain = vector_jacobian(*with_graph(denoiser, latent, label), gradient)
            _compare(product, plain, TOLERANCE)
            self._is_product_compared = True
        return product

    def capture_product(self, output: Tensor) -> tuple[Tensor, Replay]:
        """The buffer of the output's gradient, and what replays the product."""
        if self._product is None:
            self._gradient = torch.zeros_like(output)
            # Who measures what a call keeps for its gradient is not to count what a capture used.
            with saved_tensors_hooks(Tensor.detach, lambda kept: kept):
                self._product = self._gradient, self._captured(self._pull_back)
        return self._product

    @torch.inference_mode(False)
    def _captured(self, function: Callable[[], Tensor]) -> Replay:
        with torch.no_grad():
            for buffer in (self._latent, self._label, *self._bound.values()):
                buffer.zero_()
        self._holds = None
        # Streams are those of the current device.
        with torch.cuda.device_of(self._latent), kept_constants() as constants:
            replay = self._capture(function)
        self._constants += constants
        return replay

    @torch.no_grad()
    def _load(self, denoiser: Capturable, latent: Tensor, label: float) -> None:
        self._latent.copy_(latent)
        self._label.fill_(label)
        if denoiser is not self._holds:  # another picture, or another tile
            for name, tensor in denoiser.bound().items():
                self._bound[name].copy_(tensor)
            self._holds = denoiser

    @torch.no_grad()
    def _call(self) -> Tensor:
        return self._denoiser(self._latent, self._label)

    def _pull_back(self) -> Tensor:
        with torch.enable_grad():
            output = self._denoiser(self._latent, self._label)
        return vector_jacobian(self._latent, output, self._gradient)


def _compare(replayed: Tensor, plain: Tensor, tolerance: float) -> None:
    """Raise RuntimeError if two results differ by more than a share of the plain one's norm."""
    apart = float((replayed - plain).norm())
    if not apart <= tolerance * float(plain.norm()):
        raise RuntimeError(f"a replayed call is {apart:.3g} away from a plain one")
