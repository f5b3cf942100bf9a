"""How many kernels an iteration launches, by part: what graphs of judge and decoder would save.

    python -m benchmarks.launches [--out benchmarks/results]

Operations that PyTorch dispatches are counted, without views and empty tensors, on fake tensors:
real shapes of full-size networks, no numbers, no GPU. Most are one launch, some several. No time
is measured.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.edict.inversion_options import InversionOptions
from latent_map.iqa_priors.clip.liqe import QUALITIES, Liqe
from latent_map.iqa_priors.clip.model import Clip, ClipShape
from latent_map.iqa_priors.pocket import PocketPrior
from latent_map.map_estimation.settings import preset
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from .full_size import full_size_backbone

SIDE = 512
LABEL = 500.0
# They launch nothing; what is not aten's is the fake tensors' own.
NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "promote_types"}


class _Launches(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        returns = func._schema.returns
        alias = returns[0].alias_info if returns else None
        is_view = alias is not None and not alias.is_write
        name = func.overloadpacket.__name__
        if func.namespace == "aten" and not is_view and name not in NOTHING:
            self.count += 1
        return func(*args, **(kwargs or {}))


def launches(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[int, int]:
    """Of a call without gradient, and of one with its product."""
    with _Launches() as forward, torch.no_grad():
        function(x)
    with _Launches() as product:
        leaf, output = with_graph(function, x)
        vector_jacobian(leaf, output, torch.ones_like(output))
    return forward.count, product.count


def count() -> dict[str, tuple[int, int]]:
    """Launches of each part, forward and with its product."""
    with FakeTensorMode():
        backbone = full_size_backbone("cpu", torch.bfloat16)
        image, pair = torch.rand(1, 3, SIDE, SIDE), torch.rand(2, 3, SIDE, SIDE)
        denoiser, codec = backbone.bind(image)
        latent = torch.rand(1, 4, SIDE // 8, SIDE // 8, dtype=torch.float64)
        prior = PocketPrior().requires_grad_(False)
        clip = Clip(ClipShape()).eval().requires_grad_(False)
        judge = Liqe(clip, torch.rand(len(QUALITIES), 512))
        return {
            "network": launches(lambda z: denoiser(z, LABEL), latent),
            "decoder": launches(codec.decode, torch.cat((latent, latent))),
            "pocket prior": launches(prior, pair),
            "LIQE": launches(judge.covering, pair),
        }


def calls_of(name: str) -> int:
    """Network calls of one way of a preset."""
    options: InversionOptions = preset(name).inversion
    return 2 * options.steps


def markdown(found: dict[str, tuple[int, int]]) -> str:
    """Parts, and their shares of an iteration."""
    lines = ["# Launches of an iteration", ""]
    lines += [
        f"Dispatched operations without views, fake tensors, {SIDE} px, Stable Diffusion 2.x with "
        f"a ControlNet in bfloat16, x and y as one batch; torch {torch.__version__}. Counted, not "
        "timed, on a CPU's operators.",
        "",
        "| part | forward | with its product |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {a} | {b} |" for name, (a, b) in found.items()]
    lines += ["", "Shares of one iteration (n calls: nF + n(F + B), decode and judge once):", ""]
    last = "decoder and judge, where the network is graphs"
    lines += [f"| preset | judge | all | network | decoder | judge's share | {last} |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name in ("fast", "paper"):
        n = calls_of(name)
        for judge in ("pocket prior", "LIQE"):
            parts = (n * sum(found["network"]), found["decoder"][1], found[judge][1])
            shares = " | ".join(f"{100 * part / sum(parts):.1f} %" for part in parts)
            rest = sum(parts[1:])
            graphed = f"{rest} of {rest + 2 * n} launches"
            lines.append(f"| `{name}` | {judge} | {sum(parts)} | {shares} | {graphed} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count, and write the table."""
    parser = argparse.ArgumentParser(prog="benchmarks.launches", description=__doc__)
    parser.add_argument("--out", default="benchmarks/results")
    text = markdown(count())
    (Path(parser.parse_args().out) / "launches.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
