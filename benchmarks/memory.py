"""What Stable Diffusion at full size needs of a graphics card, computed without one.

    python -m benchmarks.memory [--out benchmarks/results]

The networks are made of fake tensors, which have shapes and no content; every operation of a call
and of its gradient is walked, and what is alive at once is added up. So these are no measurements:
allocators and convolutions take room of their own, and a quality model comes on top.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.recomputed import RecomputedCodec
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from .full_size import FAMILIES, full_size_backbone
from .meters import Living

SIDES = (512, 768, 1024)
TILE = 512  # of the autoencoder
NAMES = {"sd1": "SD 1.5", "sd2": "SD 2.x", "sdxl": "SDXL"}
GIB = 2**30
CELL = 8  # pixels
PAIR = 2  # EDICT decodes two pictures an iterate
HEADER = f"""# Memory, computed

`python -m benchmarks.memory`: GiB that Stable Diffusion with a ControlNet needs above its weights,
bfloat16, the autoencoder in float32, batch 1. Networks were made of tensors without content, and
what lives at once was added up: **computed, not measured**. It leaves out what the allocator, the
convolutions, the quality model and the desktop take. The same calls of SD 2.x measured on an H200
(torch 2.11) took .09 and 1.0 GiB at 512 px, .33 and 3.9 at 1024.

"Decoder": the gradient of two pictures, its blocks run again; "as it was": all kept. "In all":
weights and the most that is alive, with the decoder on the whole picture and on tiles of {TILE} px,
as is chosen where free memory is short. It is what `memory = recompute` needs; `auto` keeps calls
besides, as far as half of the free memory goes.
"""
COLUMNS = (
    *("network call", "with gradient", "decoder", "as it was", f"decoder, {TILE} px tiles"),
    *("in all", "in all, with tiles"),
)


def main() -> None:
    """Write memory.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    text = HEADER + "".join(map(_section, FAMILIES))
    (parser.parse_args().out / "memory.md").write_text(text, encoding="utf-8")
    print(text)


def _section(family: str) -> str:
    with FakeTensorMode():
        backbone = full_size_backbone("cpu", torch.bfloat16, family=family)
        networks = backbone.networks
        unet, vae, control = map(weights, (networks.unet, networks.vae, networks.controlnet))
        rows = [needs(backbone, side) for side in SIDES]
    all_weights = unet + vae + control
    lines = [
        f"\n## {NAMES[family]}\n",
        f"Weights {all_weights:.1f} GiB; without the ControlNet {unet + vae:.1f}.\n",
        f"| | {' | '.join(COLUMNS)} |",
        "|---" * (len(COLUMNS) + 1) + "|",
    ]
    for side, row in zip(SIDES, rows, strict=True):
        _, gradient, decoder, _, tiles = row
        most = [all_weights + max(gradient, each) for each in (decoder, tiles)]
        cells = [f"{value:.2f}" for value in row] + [f"{value:.1f}" for value in most]
        lines.append(f"| {side} px | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def weights(network: torch.nn.Module) -> float:
    """GiB of a network's parameters."""
    return sum(p.numel() * p.element_size() for p in network.parameters()) / GIB


def needs(backbone: Any, side: int) -> list[float]:
    """GiB for a picture's side: a call, with gradient; decoder, as it was, on tiles."""
    denoiser, codec = backbone.bind(torch.rand(1, 3, side, side))
    call = partial(denoiser, label=500.0)
    latent = torch.randn(1, 4, side // CELL, side // CELL, dtype=torch.float64)
    pair = latent.repeat(PAIR, 1, 1, 1)
    tile = latent[..., : TILE // CELL, : TILE // CELL]
    sparing = RecomputedCodec(codec)
    with torch.no_grad():
        without = most_alive(partial(call, latent))
    decoders = ((sparing, pair), (codec, pair), (sparing, tile))
    gradients = [(call, latent), *((each.decode, z) for each, z in decoders)]
    return [without, *(most_alive(partial(pulled, *given)) for given in gradients)]


def most_alive(function: Callable[[], Any]) -> float:
    """GiB that function() makes and has alive at once."""
    with Living() as living:
        function()
    return living.most / GIB


def pulled(function: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """A call and its vector-Jacobian product."""
    leaf, output = with_graph(function, x)
    vector_jacobian(leaf, output, torch.ones_like(output))


if __name__ == "__main__":
    main()
