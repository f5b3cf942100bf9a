"""A backbone with networks compiled by torch.compile, or, where that fails, as they are.

A compiler fuses a graph that keeps activations otherwise than one that keeps none, and the two
differ in the last bits: a bijection whose network is called now with and now without a gradient
would be none. So a compiled network always runs as if a gradient were wanted. That costs one call's
activations where none would have been kept, as "recompute" does anyway.
"""

import logging
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ...files.lack_of_memory import is_out_of_memory
from ..choices import Spacing
from ..gradients import vector_jacobian, with_graph
from ..protocols import Binding, Denoiser
from ..schedule import Schedule

log = logging.getLogger(__name__)
# Of the output's size, by the network's precision: fusing rounds otherwise, no more.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-3}
HALF_TOLERANCE = 0.1


class CompiledBackbone:
    """A backbone whose maps differ from the plain one's by rounding; states do not mix.

    What cannot be compiled goes on as it is, with one warning.

    Args:
        inner: a backbone with a `network`, or `networks` with a `unet` and perhaps a `controlnet`.
        backend: torch.compile's.
    Raises: ValueError if the backbone shows no network.
    """

    def __init__(self, inner: Any, backend: str | Callable = "inductor"):
        self._inner, self.networks_compiled = _with_compiled_networks(inner, backend)
        self.name = f"{inner.name}, compiled"
        self.multiple: int = inner.multiple
        self.conditioned: bool = inner.conditioned
        self.reach: int = inner.reach
        self.recipe: dict[str, Any] | None = inner.recipe and {**inner.recipe, "compile": True}
        self._tried: set[tuple] = set()

    def schedule(self, steps: int, spacing: Spacing = "trailing") -> Schedule:
        """The inner backbone's."""
        return self._inner.schedule(steps, spacing)

    def bind(self, image: Tensor) -> Binding:
        """As the inner backbone, with the compiled networks."""
        denoiser, codec = self._inner.bind(image)
        return Binding(CompiledDenoiser(denoiser, self), codec)

    def settle(self, denoiser: Any, latent: Tensor, label: float) -> None:
        """At a size's first call: compile and compare; go back to plain networks if that fails."""
        size = (tuple(latent.shape), latent.dtype)
        if size in self._tried or not any(network.compiled for network in self.networks_compiled):
            return
        try:
            problem = self._problem(denoiser, latent, label)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            problem = f"{type(error).__name__}: {error}".strip().partition("\n")[0]
        self._tried.add(size)
        if problem:
            log.warning("torch.compile does not work here (%s): going on without it", problem)
            self._switch(on=False, for_good=True)

    def _problem(self, denoiser: Denoiser, latent: Tensor, label: float) -> str:
        """Why the compiled networks cannot be used; empty if they can."""
        first, again = (with_graph(denoiser, latent, label) for _ in range(2))
        vector_jacobian(*first, first[1].detach())
        self._switch(on=False)
        try:
            with torch.no_grad():
                plain = denoiser(latent, label)
        finally:
            self._switch(on=True)
        if not torch.equal(first[1], again[1]):
            return "two calls differ in bits"
        precision = getattr(self.networks_compiled[0], "dtype", plain.dtype)
        limit = TOLERANCE.get(precision, HALF_TOLERANCE)
        apart = float((first[1].detach() - plain).norm() / plain.norm().clamp_min(1e-30))
        return "" if apart <= limit else f"its result is {apart:.1e} from the plain network's"

    def _switch(self, on: bool, for_good: bool = False) -> None:
        for network in self.networks_compiled:
            network.switch(on, for_good)


class CompiledDenoiser:
    """A denoiser of compiled networks: the same bits with and without a gradient."""

    def __init__(self, inner: Any, backbone: CompiledBackbone):
        self.inner, self.backbone = inner, backbone

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """The direction for a latent (B, C, h, w)."""
        self.backbone.settle(self.inner, latent.detach(), label)
        if torch.is_grad_enabled() and latent.requires_grad:
            return self.inner(latent, label)
        return with_graph(self.inner, latent, label)[1].detach()

    def window(self, top: int, left: int, height: int, width: int) -> "CompiledDenoiser":
        """The denoiser for a part of the picture, in pixels."""
        return CompiledDenoiser(self.inner.window(top, left, height, width), self.backbone)


class CompiledNetwork:
    """A network's compiled twin with the network's attributes, and a switch between the two."""

    def __init__(self, network: Any, backend: str | Callable = "inductor"):
        compiled = torch.compile(network, dynamic=False, backend=backend)
        self._plain, self._compiled = network, compiled
        self._on = True

    @property
    def compiled(self) -> bool:
        """Whether there is a compiled network still."""
        return self._compiled is not None

    def switch(self, on: bool, for_good: bool) -> None:
        """Use the compiled network or the plain one."""
        self._on = on
        if for_good and not on:
            self._compiled = None

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """The network's result."""
        if not self._on or self._compiled is None:
            return self._plain(*arguments, **options)
        # A number would be compiled in: anew for each of the schedule's labels.
        device = next(a.device for a in arguments if isinstance(a, Tensor))
        given = [
            torch.full((1,), a, device=device) if isinstance(a, (int, float)) else a
            for a in arguments
        ]
        return self._compiled(*given, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._plain, name)


def _with_compiled_networks(
    backbone: Any, backend: str | Callable
) -> tuple[Any, Sequence[CompiledNetwork]]:
    """A copy of a backbone with compiled networks, and these."""
    twin = copy(backbone)
    if hasattr(backbone, "networks"):
        plain = backbone.networks
        control = plain.controlnet and CompiledNetwork(plain.controlnet, backend)
        unet = CompiledNetwork(plain.unet, backend)
        twin.networks = replace(plain, unet=unet, controlnet=control)
        return twin, [n for n in (twin.networks.unet, twin.networks.controlnet) if n is not None]
    if hasattr(backbone, "network"):
        twin.network = CompiledNetwork(backbone.network, backend)
        return twin, [twin.network]
    raise ValueError(
        f"the backbone {backbone.name!r} shows no network to compile: leave compile off"
    )
