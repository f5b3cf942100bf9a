"""Ways to differentiate a reconstruction: ours, PyTorch's own graph, and the peers' algorithm.

"peer, simulated" is our own writing of the algorithm that DOODL ships (arXiv 2303.13703): every
step of the pair checkpointed as a whole, two guidance branches in single calls, weights not frozen.
It is not their code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import Edict
from latent_map.edict.choices import Memory
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MIXING = 0.93
GUIDANCE = 3.0
Engine = Callable[[Edict, LatentPair, LatentPair], LatentPair]


class CountingDenoiser:
    """A random U-Net as the denoiser, counting calls; two branches where guided."""

    def __init__(self, device: str, frozen: bool = True, guided: bool = False):
        from diffusers import UNet2DModel

        torch.manual_seed(0)
        network: Any = UNet2DModel(
            in_channels=4,
            out_channels=4,
            block_out_channels=(32, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
            add_attention=False,
            norm_num_groups=8,
        )
        self.network = network.to(device).requires_grad_(not frozen)
        self.guided, self.calls = guided, 0

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """The direction for a latent (B, 4, h, w)."""
        if not self.guided:
            return self._once(latent, label)
        free, prompted = self._once(latent, label), self._once(latent, label)
        return free + GUIDANCE * (prompted - free)

    def _once(self, latent: Tensor, label: float) -> Tensor:
        self.calls += 1
        return self.network(latent.float(), label, return_dict=False)[0]


def with_tape(memory: Memory | int) -> Engine:
    """Our engine in one of its memory modes."""

    def run(bijection, noise, gradient):
        tape = Tape(bijection.calls, memory)
        bijection.reconstruct(noise, tape)
        return bijection.pull_back(tape, gradient)

    return run


def half_kept(bijection: Edict, noise: LatentPair, gradient: LatentPair) -> LatentPair:
    """Our engine with the memory for half of the calls, which is what "auto" comes to there."""
    return with_tape(bijection.calls // 2)(bijection, noise, gradient)


def plain_autograd(bijection: Edict, noise: LatentPair, gradient: LatentPair) -> LatentPair:
    """Eqs. (8)-(11) with PyTorch's own graph."""
    return _differentiate(bijection, noise, gradient, lambda step, x, y: step(x, y))


def checkpointed(bijection: Edict, noise: LatentPair, gradient: LatentPair) -> LatentPair:
    """The same loop with every step of the pair checkpointed, as a reversible wrapper does it."""

    def call(step, x, y):
        return checkpoint(step, x, y, use_reentrant=False)

    return _differentiate(bijection, noise, gradient, call)


def _differentiate(bijection, noise, gradient, call) -> LatentPair:
    leaves = [v.clone().requires_grad_(True) for v in noise]
    x, y = leaves
    with torch.enable_grad():
        for step in bijection.schedule.steps:
            x, y = call(_coupled(bijection, step), x, y)
        parameters = [w for w in bijection.denoiser.network.parameters() if w.requires_grad]
        gradients = torch.autograd.grad((x, y), (*leaves, *parameters), tuple(gradient))
    return LatentPair(*gradients[:2])


def _coupled(bijection: Edict, step) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    p, f = bijection.mixing, bijection.denoiser

    def run(x, y):
        x = step.a * x + step.b * f(y, step.label).to(x.dtype)
        y = step.a * y + step.b * f(x, step.label).to(x.dtype)
        x = p * x + (1 - p) * y
        return x, p * y + (1 - p) * x

    return run


class Contender(NamedTuple):
    """An engine and the network it differentiates."""

    engine: Engine
    frozen: bool = True
    guided: bool = False


CONTENDERS = {
    "ours, store": Contender(with_tape("store")),
    "ours, auto": Contender(with_tape("auto")),
    "ours, half kept": Contender(half_kept),
    "ours, recompute": Contender(with_tape("recompute")),
    "plain autograd": Contender(plain_autograd),
    "peer, simulated": Contender(checkpointed, frozen=False, guided=True),
    "peer, simulated, without guidance": Contender(checkpointed, frozen=False),
    "peer, simulated, without guidance, frozen": Contender(checkpointed),
}


class Setting(NamedTuple):
    """What every engine starts from."""

    bijection: Edict
    denoiser: CountingDenoiser
    noise: LatentPair
    gradient: LatentPair


def setting(name: str, side: int, steps: int, device: str) -> Setting:
    """The network a contender differentiates, and the same noise and gradient for all."""
    contender = CONTENDERS[name]
    denoiser = CountingDenoiser(device, contender.frozen, contender.guided)
    bijection = Edict(denoiser, vp_schedule(scaled_linear_alphas(), steps), MIXING)
    generator = torch.Generator().manual_seed(1)
    noise, gradient = (
        LatentPair(*torch.randn(2, 1, 4, side, side, generator=generator, dtype=torch.float64))
        for _ in range(2)
    )
    noise, gradient = (LatentPair(*(v.to(device) for v in p)) for p in (noise, gradient))
    return Setting(bijection, denoiser, noise, gradient)
