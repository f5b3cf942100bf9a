"""What a gradient through the bijection costs: our memory modes against autograd and the peers.

    python -m benchmarks.gradient [--side 64] [--steps 4] [--repeat 3] [--out benchmarks/results]

n network calls of cost F (no gradient) and B (vector-Jacobian product): nF + nB is the floor of an
exact gradient. Every engine runs in a process of its own, so that its peak memory is its own, and
all start from the same network, noise and picture gradient. "plain autograd" is a loop with
PyTorch's graph; "peer, simulated" is our own writing of the algorithm that DOODL ships
(arXiv 2303.13703): two guidance branches in single calls, checkpointed, weights not frozen. It is
not their code.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from latent_map.edict.transform import Bijection, LatentPair, pull_back, reconstruct
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .pairs import machine, save_json

MIXING = 0.93
GUIDANCE = 3.0


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


def with_tape(memory) -> Callable[[Bijection, LatentPair, LatentPair], LatentPair]:
    """Our engine in one of its memory modes."""

    def run(bijection, noise, gradient):
        tape = Tape(bijection.calls, memory)
        reconstruct(bijection, noise, tape)
        return pull_back(bijection, tape, gradient)

    return run


def plain_autograd(bijection, noise, gradient) -> LatentPair:
    """Eqs. (8)-(11) with PyTorch's own graph."""
    return _differentiate(bijection, noise, gradient, lambda f, x, label: f(x, label))


def checkpointed(bijection, noise, gradient) -> LatentPair:
    """The same loop with every step of the pair checkpointed, as a reversible wrapper does it."""

    def call(denoiser, latent, label):
        return checkpoint(denoiser, latent, label, use_reentrant=False)

    return _differentiate(bijection, noise, gradient, call)


def _differentiate(bijection, noise, gradient, call) -> LatentPair:
    leaves = [v.clone().requires_grad_(True) for v in noise]
    x, y = leaves
    p = bijection.mixing
    with torch.enable_grad():
        for step in bijection.schedule.steps:
            x = step.a * x + step.b * call(bijection.denoiser, y, step.label).to(x.dtype)
            y = step.a * y + step.b * call(bijection.denoiser, x, step.label).to(x.dtype)
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
        parameters = [w for w in bijection.denoiser.network.parameters() if w.requires_grad]
        found = torch.autograd.grad((x, y), (*leaves, *parameters), tuple(gradient))
    return LatentPair(*found[:2])


# name: (engine, weights frozen, two guidance branches)
ENGINES = {
    "ours, store": (with_tape("store"), True, False),
    "ours, half kept": (with_tape("half"), True, False),
    "ours, recompute": (with_tape("recompute"), True, False),
    "plain autograd": (plain_autograd, True, False),
    "peer, simulated": (checkpointed, False, True),
    "peer, simulated, without guidance": (checkpointed, False, False),
    "peer, simulated, without guidance, frozen": (checkpointed, True, False),
}


def measure(name: str, side: int, steps: int, repeat: int, device: str) -> dict:
    """Seconds (least of `repeat`), calls and memory of one engine."""
    engine, frozen, guided = ENGINES[name]
    denoiser = CountingDenoiser(device, frozen, guided)
    schedule = vp_schedule(scaled_linear_alphas(), steps)
    bijection = Bijection(denoiser, schedule, MIXING)
    if name == "ours, half kept":
        engine = with_tape(bijection.calls // 2)
    generator = torch.Generator().manual_seed(1)
    noise, gradient = (
        LatentPair(*torch.randn(2, 1, 4, side, side, generator=generator, dtype=torch.float64))
        for _ in range(2)
    )
    noise, gradient = (LatentPair(*(v.to(device) for v in p)) for p in (noise, gradient))
    with torch.no_grad():
        denoiser(noise.x, 500.0)
    base, denoiser.calls = _peak(device), 0
    seconds, found = [], noise
    for _ in range(repeat):
        clock = _now(device)
        found = engine(bijection, noise, gradient)
        seconds.append(_now(device) - clock)
    return {
        "seconds": min(seconds),
        "calls": denoiser.calls // repeat,
        "peak_mib": _peak(device) - base,
        "gradient_sum": float(found.x.sum()),
        **(_floor(denoiser, noise, gradient, repeat, device) if frozen and not guided else {}),
    }


def _floor(denoiser, noise, gradient, repeat: int, device: str) -> dict[str, float]:
    """Seconds of one call (F), its vector-Jacobian product (B), and one call's activations."""
    forward, backward = [], []
    for _ in range(2 * repeat):
        clock = _now(device)
        with torch.no_grad():
            denoiser(noise.x, 500.0)
        forward.append(_now(device) - clock)
        leaf = noise.x.clone().requires_grad_(True)
        with torch.enable_grad():
            output = denoiser(leaf, 500.0)
        clock = _now(device)
        torch.autograd.grad(output, leaf, gradient.x.to(output.dtype))
        backward.append(_now(device) - clock)
    return {"forward": statistics.median(forward), "backward": statistics.median(backward)}


def _now(device: str) -> float:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def _peak(device: str) -> float:
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def table(rows: dict[str, dict], calls: int) -> list[str]:
    """Markdown rows: every time as a ratio to the floor nF + nB of the same process."""
    f, b = (rows["ours, store"][part] for part in ("forward", "backward"))
    floor = calls * (f + b)
    lines = [
        f"n = {calls} calls, B / F = {b / f:.2f}. Goals: store <= 1.05 x the floor nF + nB, "
        f"recompute <= 1.05 x (2nF + nB) = {1.05 * (calls * (2 * f + b)) / floor:.2f} x the floor.",
        "",
        "| engine | network calls | time / floor | peak memory over the network's |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        own = calls * (row.get("forward", f) + row.get("backward", b))
        lines.append(
            f"| {name} | {row['calls']} | {row['seconds'] / own:.2f} | {row['peak_mib']:.0f} MiB |"
        )
    return lines


def main() -> None:
    """Measure all engines, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=64, help="latent side")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    sizes = (options.side, options.steps, options.repeat)
    if options.engine:
        print(json.dumps(measure(options.engine, *sizes, options.device)))
        return
    rows = {}
    for name in ENGINES:
        command = [sys.executable, "-m", "benchmarks.gradient", "--engine", name]
        command += ["--side", str(sizes[0]), "--steps", str(sizes[1]), "--repeat", str(sizes[2])]
        run = subprocess.run(
            [*command, "--device", options.device], capture_output=True, text=True, check=True
        )
        rows[name] = json.loads(run.stdout.splitlines()[-1])
        print(name, rows[name], flush=True)
    exact = [row["gradient_sum"] for name, row in rows.items() if not ENGINES[name][2]]
    lines = [f"{machine()}; latents 4 x {options.side} x {options.side}, T = {options.steps}.", ""]
    lines += table(rows, 2 * options.steps)
    spread = max(exact) - min(exact)
    lines += ["", f"All unguided engines give the same gradient (sums differ by {spread:.1e})."]
    save_json(options.out / "gradient.json", {"machine": machine(), "rows": rows})
    (options.out / "gradient.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
