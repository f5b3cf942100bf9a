"""A decoder's gradient in less memory: blocks keep what they are given, and are run again for it.

Stable Diffusion's decoder in single precision keeps 5.6 GiB for the gradient of 512 x 512 pixels,
more than all its other networks together. Its blocks run again need 2.1, and cost one more decoding
(benchmarks/results/memory.md). Of large pictures one is decoded at a time, which costs one more.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .protocols import Binding, Codec
from .replaced_forwards import TURN, replaced

# Of what a decoder keeps otherwise, at most at once.
SHARE = 0.4
LARGE = 48 * 48  # cells of a latent: below, two graphs at once are small


def recomputed(binding: Binding) -> Binding:
    """The binding with a codec that recomputes, if its autoencoder has blocks."""
    codec = binding.codec
    if share_kept(codec) == 1.0:
        return binding
    return Binding(binding.denoiser, RecomputedCodec(codec))


def share_kept(codec: Codec, items: int = 1, cells: int = 1) -> float:
    """How much of what its decoder keeps for a gradient a codec needs as a `RecomputedCodec`.

    Args:
        codec: not one yet.
        items: how many latents it is given at once.
        cells: of each.
    """
    if not (hasattr(codec, "vae") and _blocks(codec.vae)):  # pyright: ignore
        return 1.0
    return SHARE / items if cells >= LARGE else SHARE


class RecomputedCodec:
    """A codec whose decoder keeps its blocks' inputs alone for a gradient: the same bits.

    Args:
        codec: with its autoencoder as `vae`.
    """

    def __init__(self, codec: Any):
        self.codec = codec
        self.vae: nn.Module = codec.vae
        self._blocks = _blocks(self.vae)

    def encode(self, image: Tensor) -> Tensor:
        """RGB in [0, 1], shape (B, 3, H, W), to a latent (B, C, h, w)."""
        with TURN:
            return self.codec.encode(image)

    def decode(self, latent: Tensor) -> Tensor:
        """A latent (B, C, h, w) to RGB about [0, 1], shape (B, 3, H, W), not clamped."""
        if not (torch.is_grad_enabled() and latent.requires_grad):
            with TURN:
                return self.codec.decode(latent)
        if len(latent) == 1 or latent[0, 0].numel() < LARGE:
            return self._decode(latent)
        return torch.cat([_checkpointed(self._decode, item) for item in latent.split(1)])

    def _decode(self, latent: Tensor) -> Tensor:
        with TURN:  # another thread's replacements are not to be taken for the blocks' own
            forwards = {block: partial(_run, block, block.forward) for block in self._blocks}
            with replaced(forwards):
                return self.codec.decode(latent)


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The innermost modules that hold layers: residual blocks, attention, changes of size.

    None where there is no group norm: such a decoder is a tiny one.
    """
    if not any(isinstance(module, nn.GroupNorm) for module in network.modules()):
        return []
    holding = [module for module in network.modules() if _holds_layers(module)]
    return [module for module in holding if sum(map(_holds_layers, module.modules())) == 1]


def _holds_layers(module: nn.Module) -> bool:
    lists = (nn.ModuleList, nn.Sequential)
    return not isinstance(module, lists) and any(map(_is_layer, module.children()))


def _is_layer(module: nn.Module) -> bool:
    return bool(module._parameters) and not any(module.children())


def _run(block: nn.Module, forward: Callable[..., Any], *given: Any, **options: Any) -> Any:
    """A block's output; what is replaced inside it now is so again when it is recomputed."""
    inside = {m: m.forward for m in block.modules() if m is not block and "forward" in vars(m)}

    def as_now(*again: Any) -> Any:
        with replaced(inside):
            return forward(*again, **options)

    return _checkpointed(as_now, *given)


def _checkpointed(function: Callable[..., Any], *given: Any) -> Any:
    return checkpoint(function, *given, use_reentrant=False, preserve_rng_state=False)
