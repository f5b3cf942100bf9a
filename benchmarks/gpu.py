"""Full size on a GPU: Stable Diffusion 2.x with a ControlNet, random weights, bfloat16.

    python -m benchmarks.gpu [--only NAMES] [--compile] [--out benchmarks/results]
    python -m benchmarks.gpu --rehearse

Jobs: `round_trip` (is the map a bijection, with PyTorch's deterministic algorithms and without),
`gradient` (autograd's slope against a finite difference), `paper` and `fast` (the presets at 512
pixels), `large` (the fast preset at 2048 pixels on tiles). Seconds are wall time of the second of
two runs where a run is short, peak memory is what PyTorch's allocator held. What random weights
make of a picture means nothing; what it costs is what the real ones cost.

--rehearse runs every line of this on tiny networks and pictures, on the CPU as well. It proves that
the script runs, and measures nothing: it prints, and writes no file.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.backbones.compiled import CompiledBackbone
from latent_map.edict.backbones.stable_diffusion.backbone import DiffusersBackbone
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import Enhancer, enhance
from latent_map.map_estimation.gradient_check import GradientCheck, check_gradient
from latent_map.map_estimation.settings import MapSettings, preset
from torch import Tensor

from .full_size import full_size_backbone, parameters
from .meters import peak_mib, reset_peak
from .pairs import save_json

GIB = 2**10  # MiB
REFUSAL = (
    "benchmarks.gpu: no CUDA device here: run it where there is one. --rehearse proves on tiny "
    "networks that the script runs, and measures nothing"
)


@dataclass(frozen=True)
class Sizes:
    """What is run: at full size, or for a rehearsal.

    Attributes:
        side, large: pictures' sides in pixels.
        tile: of the large one.
        steps: T of the round trip.
        presets: settings by name.
    """

    side: int = 512
    large: int = 2048
    tile: int = 768
    steps: int = 20
    iterations: int | None = None

    def preset(self, name: str, **changes: Any) -> MapSettings:
        """A preset, shortened for a rehearsal."""
        chosen = replace(preset(name), **changes)
        return chosen if self.iterations is None else replace(chosen, iterations=self.iterations)


REHEARSAL = Sizes(side=64, large=160, tile=96, steps=6, iterations=1)


class Bench:
    """The backbone, plain and as the jobs run it; network calls are counted in the plain one."""

    def __init__(self, plain: DiffusersBackbone, device: str, sizes: Sizes, compiled: bool):
        self.plain, self.device, self.sizes = plain, device, sizes
        self.backbone = CompiledBackbone(plain) if compiled else plain
        self.calls = 0
        if not compiled:
            plain.networks.unet.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def picture(self, side: int) -> Tensor:
        """A smooth random picture (1, 3, side, side)."""
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(1, 3, 16, 16, generator=generator)
        size = (side, side)
        return (
            torch.nn.functional.interpolate(coarse, size, mode="bicubic")
            .clamp(0, 1)
            .to(self.device)
        )

    def measured(self, run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """What a run returns, its wall seconds, peak memory (of PyTorch's allocator) and calls."""
        base = reset_peak(self.device)
        self.calls, clock = 0, time.perf_counter()
        returned = run()
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds = time.perf_counter() - clock
        facts = {
            "seconds": round(seconds, 2),
            "peak_gib": round(peak_mib(self.device) / GIB, 2),
            "before_gib": round(base / GIB, 2),
            "network_calls": self.calls,
        }
        return returned, facts


def round_trip(bench: Bench) -> dict[str, Any]:
    """Round trip errors, and whether a call gives the same bits again."""
    image, facts = bench.picture(bench.sizes.side), {}
    for name, strict in (("native", False), ("deterministic algorithms", True)):
        with _deterministic(strict):
            for spacing in ("trailing", "leading"):
                options = InversionOptions(bench.sizes.steps, spacing=spacing, tile=None)
                error = round_trip_error(invert_picture(bench.backbone, image, options))
                facts[f"{name}, {spacing}: relative error"] = error
            facts[f"{name}: same bits again"] = _repeats(bench, image)
    facts["reached"] = all(v <= 1e-6 for v in facts.values() if isinstance(v, float))
    return facts


def _repeats(bench: Bench, image: Tensor) -> bool:
    """Whether the network gives the same bits after calls of other sizes, and with a graph."""
    denoiser, codec = bench.backbone.bind(image)
    with torch.no_grad():
        latent = codec.encode(image).double()
        first = denoiser(latent, 500.0)
        half = image[..., : image.shape[-2] // 2, :]
        other, _ = bench.backbone.bind(half)
        other(codec.encode(half).double(), 500.0)
        again = denoiser(latent, 500.0)
    graph = denoiser(latent.requires_grad_(True), 500.0).detach()
    return torch.equal(first, again) and torch.equal(first, graph)


@contextmanager
def _deterministic(strict: bool) -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(strict, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


def gradient(bench: Bench) -> dict[str, Any]:
    """Autograd's slope along the first gradient against a finite difference.

    In float32 it tells whether the gradient is right; in bfloat16, by how much rounding bends the
    finite difference (or the gradient). None is a slope too flat or too steep to measure.
    """
    facts: dict[str, Any] = {}
    networks = bench.plain.networks
    used = networks.unet.dtype
    for dtype in (torch.float32, used):
        for network in (networks.unet, networks.controlnet):
            network.to(dtype)
        for name in ("fast", "paper"):
            checked = _check(bench, replace(preset(name).inversion, tile=None))
            apart = None if checked is None else round(checked.error, 4)
            facts[f"{name}, {str(dtype).removeprefix('torch.')}: apart"] = apart
    exact = [v for k, v in facts.items() if "float32" in k and v is not None]
    return facts | {"reached": bool(exact) and max(exact) <= 0.05}


def _check(bench: Bench, options: InversionOptions) -> GradientCheck | None:
    image = bench.picture(bench.sizes.side)
    settings = MapSettings(options, memory="recompute", check_round_trip=False)
    prior, fidelity = load_prior("pocket", bench.device), load_fidelity("low_resolution")
    enhancer = Enhancer(bench.plain, prior, fidelity, settings)
    space, objective = enhancer.problem(image)

    def energy(latents: Tensor) -> Tensor:
        pictures = space.decode(latents).clamp(0, 1)
        return objective(pictures, image.to(pictures).expand_as(pictures)).energy.mean()

    @torch.no_grad()
    def at(moved: list[Tensor]) -> float:
        return float(energy(space.synthesise(moved, with_gradient=False)))

    variables = space.start()
    latents = space.synthesise(variables, with_gradient=True).requires_grad_(True)
    value = energy(latents)
    (slope,) = torch.autograd.grad(value, latents)
    start = float(value.detach())
    return check_gradient(at, variables, space.pull_back(slope), start, abs(start) + 0.01)


def run_preset(bench: Bench, name: str, side: int, **changes: Any) -> dict[str, float]:
    """Enhance a picture."""
    settings = bench.sizes.preset(name, **changes)
    prior, fidelity = load_prior("pocket", bench.device), load_fidelity("low_resolution")
    image = bench.picture(side)
    (result,), facts = bench.measured(
        lambda: enhance(image, bench.backbone, prior, fidelity, settings)
    )
    return facts | {"iterations": len(result.trace) - 1}


def paper(bench: Bench) -> dict[str, Any]:
    """The paper's preset at 512 pixels, in little memory and with what there is."""
    rows = _both_memories(bench, "paper")
    return rows | {"reached": _within(rows["auto"], rows["recompute"], seconds=60, gib=12)}


def fast(bench: Bench) -> dict[str, Any]:
    """The fast preset at 512 pixels; a first run warms up, its seconds are kept apart."""
    warming = run_preset(bench, "fast", bench.sizes.side)["seconds"]
    rows = _both_memories(bench, "fast")
    reached = _within(rows["auto"], rows["recompute"], seconds=6, gib=12)
    return rows | {"seconds_of_the_first_run": warming, "reached": reached}


def _both_memories(bench: Bench, name: str) -> dict[str, Any]:
    options = replace(preset(name).inversion, tile=None)
    return {
        memory: run_preset(bench, name, bench.sizes.side, memory=memory, inversion=options)
        for memory in ("recompute", "auto")
    }


def large(bench: Bench) -> dict[str, Any]:
    """The fast preset at 2048 pixels on tiles."""
    options = replace(preset("fast").inversion, tile=bench.sizes.tile)
    row = run_preset(bench, "fast", bench.sizes.large, memory="recompute", inversion=options)
    return {"tiles": row, "reached": _within(row, row, gib=16)}


def _within(quick: dict, small: dict, gib: float, seconds: float = float("inf")) -> bool:
    return quick["seconds"] <= seconds and small["peak_gib"] <= gib


# name: (job, goal)
JOBS: dict[str, tuple[Callable[[Bench], dict[str, Any]], str]] = {
    "round_trip": (round_trip, "1e-6"),
    "gradient": (gradient, "float32: 0.05 apart"),
    "fast": (fast, "6 s; 12 GiB with recompute"),
    "paper": (paper, "60 s; 12 GiB with recompute"),
    "large": (large, "16 GiB"),
}


def markdown(report: dict[str, Any]) -> str:
    """Facts by job."""
    lines = ["# Full size on a GPU", ""]
    if report["rehearsal"]:
        lines = [
            "# REHEARSAL with tiny networks: proves that the script runs, measures nothing",
            "",
        ]
    count = ", ".join(f"{k} {v / 1e6:.0f} M" for k, v in report["parameters"].items())
    lines += [f"Device: {report['device']}; torch {report['torch']}; {report['precision']}.", ""]
    lines += [f"Random weights in Stable Diffusion 2.x's shapes: {count} parameters.", ""]
    lines += ["| job | goal | reached | measured |", "|---|---|---|---|"]
    for name, facts in report["jobs"].items():
        shown = {k: v for k, v in facts.items() if k != "reached"}
        text = "; ".join(f"{k}: {_text(v)}" for k, v in shown.items())
        reached = {True: "yes", False: "no"}.get(facts.get("reached"), "")
        reached = "" if report["rehearsal"] else reached
        lines.append(f"| {name} | {JOBS[name][1]} | {reached} | {text} |")
    return "\n".join(lines) + "\n"


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in value.items())
    return f"{value:.1e}" if isinstance(value, float) and 0 < abs(value) < 1e-3 else str(value)


def main() -> int:
    """Run the jobs; each one's facts are written at once, and one that fails costs no other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action="store_true", help="the networks by torch.compile")
    parser.add_argument("--rehearse", action="store_true", help="tiny networks; writes nothing")
    parser.add_argument("--out", type=Path, help="default benchmarks/results")
    options = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    if not on_gpu and not options.rehearse:
        print(REFUSAL, file=sys.stderr)
        return 2
    if options.rehearse and options.out:
        parser.error("a rehearsal writes no files: leave --out away")
    device = options.device if on_gpu else "cpu"
    dtype = torch.bfloat16
    backbone = full_size_backbone(device, dtype, tiny=options.rehearse)
    report: dict[str, Any] = {
        "rehearsal": options.rehearse,
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "precision": str(dtype).removeprefix("torch.") + ", compiled" * options.compile,
        "parameters": parameters(backbone),
        "jobs": {},
    }
    bench = Bench(backbone, device, REHEARSAL if options.rehearse else Sizes(), options.compile)
    failed = 0
    for name in options.only:
        try:
            report["jobs"][name] = JOBS[name][0](bench)
        except (RuntimeError, ValueError) as error:  # out of memory, too
            failed, report["jobs"][name] = 1, {"failed": str(error), "reached": False}
        print(name, json.dumps(report["jobs"][name]), flush=True)
        if not options.rehearse:
            out = options.out or Path("benchmarks/results")
            save_json(out / "gpu.json", report)
            (out / "gpu.md").write_text(markdown(report), encoding="utf-8")
    print(markdown(report))
    return failed


if __name__ == "__main__":
    sys.exit(main())
