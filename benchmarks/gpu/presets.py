"""Part `presets`: whole enhancements, their exactness and their gradients, in bfloat16.

What random weights make of a picture means nothing; what it costs is what the real ones cost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.gradient_check import check_map
from latent_map.map_estimation.settings import MapSettings, preset
from latent_map.map_estimation.work import WatchedBackbone
from torch import Tensor

from .bench import Bench, Job


def round_trip(bench: Bench) -> dict[str, Any]:
    """Round trip errors, and whether a call gives the same bits again."""
    image, facts = bench.picture(bench.sizes.side), {}
    for name, strict in (("native", False), ("deterministic algorithms", True)):
        backbone = bench.accelerated("graph")  # graphs keep the kernels they were captured with
        with _deterministic(strict):
            for spacing in ("trailing", "leading"):
                options = InversionOptions(bench.sizes.steps, spacing=spacing, tile=None)
                error = round_trip_error(invert_picture(backbone, image, options))
                facts[f"{name}, {spacing}: relative error"] = error
            facts[f"{name}: same bits again"] = _repeats(backbone, image)
    facts["reached"] = all(v <= 1e-6 for v in facts.values() if isinstance(v, float))
    return facts


def _repeats(backbone: Any, image: Tensor) -> bool:
    """Whether the network gives the same bits after calls of other sizes, and with a graph."""
    denoiser, codec = backbone.bind(image)
    with torch.no_grad():
        latent = codec.encode(image).double()
        first = denoiser(latent, 500.0)
        half = image[..., : image.shape[-2] // 2, :]
        other, _ = backbone.bind(half)
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
    """The gradients of network and decoder against what small steps change, as a run checks them.

    In float32 it tells whether the gradients are right; in bfloat16, by how much rounding bends
    what is measured (or the gradients).
    """
    facts: dict[str, Any] = {}
    networks = bench.plain.networks
    used = networks.unet.dtype
    for dtype in (torch.float32, used):
        for network in (networks.unet, networks.controlnet):
            network.to(dtype)
        for name in ("fast", "paper"):
            apart = _apart(bench, replace(preset(name).inversion, tile=None))
            facts[f"{name}, {str(dtype).removeprefix('torch.')}: apart"] = apart
    exact = [v for k, v in facts.items() if "float32" in k and v is not None]
    return facts | {"reached": bool(exact) and max(exact) <= 0.05}


def _apart(bench: Bench, options: InversionOptions) -> float | None:
    """The largest error among the parts; None where nothing can be measured."""
    settings = MapSettings(options, memory="recompute", check_round_trip=False)
    prior, fidelity = load_prior("pocket", bench.device), load_fidelity("low_resolution")
    space, _ = Enhancer(bench.plain, prior, fidelity, settings).problem(
        bench.picture(bench.sizes.side)
    )
    variables = space.start()
    latents = space.synthesise(variables, with_gradient=False)
    checks = [check_map(part.function, part.at) for part in space.parts(variables, latents)]
    return max((round(check.error, 4) for check in checks if check is not None), default=None)


def run_preset(bench: Bench, name: str, side: int, **changes: Any) -> dict[str, float]:
    """Enhance a picture."""
    settings = bench.sizes.preset(name, **changes)
    prior, fidelity = load_prior("pocket", bench.device), load_fidelity("low_resolution")
    image = bench.picture(side)
    calls: list[float] = []
    if "graphed" not in bench.facts:  # captured once for all jobs
        bench.facts["graphed"] = bench.accelerated("graph")
    backbone = WatchedBackbone(bench.facts["graphed"], calls.append)
    (result,), facts = bench.measured(lambda: enhance(image, backbone, prior, fidelity, settings))
    made = {"network_calls": round(sum(calls)), "iterations": len(result.trace) - 1}
    return facts | made | {"still_graphed": bench.facts["graphed"].graphs.usable}


def paper(bench: Bench) -> dict[str, Any]:
    """The paper's preset at 512 pixels."""
    row = _preset_row(bench, "paper", "auto")
    return {"auto": row, "reached": _within(row, seconds=60, gib=12)}


def fast(bench: Bench) -> dict[str, Any]:
    """The fast preset at 512 pixels; a first run warms up, its seconds are kept apart."""
    warming = _preset_row(bench, "fast", "auto")["seconds"]
    rows = {memory: _preset_row(bench, "fast", memory) for memory in ("auto", "recompute")}
    reached = _within(rows["auto"], seconds=3, gib=12)
    return rows | {"seconds_of_the_first_run": warming, "reached": reached}


def turbo(bench: Bench) -> dict[str, Any]:
    """The turbo preset at 512 pixels."""
    row = _preset_row(bench, "turbo", "auto")
    return {"auto": row, "reached": _within(row, gib=12)}


def _preset_row(bench: Bench, name: str, memory: str) -> dict[str, Any]:
    options = replace(preset(name).inversion, tile=None)
    return run_preset(bench, name, bench.sizes.side, memory=memory, inversion=options)


def large(bench: Bench) -> dict[str, Any]:
    """The fast preset at 2048 pixels on tiles."""
    options = replace(preset("fast").inversion, tile=bench.sizes.tile)
    # What the tiny random networks of a rehearsal expect on tiles is no picture.
    changes = {} if bench.sizes.iterations is None else {"start": "input", "expectation": 0.0}
    side = bench.sizes.large
    row = run_preset(bench, "fast", side, memory="auto", inversion=options, **changes)
    return {"tiles": row, "reached": _within(row, gib=16)}


def _within(row: dict[str, Any], gib: float, seconds: float = float("inf")) -> bool:
    return row["seconds"] <= seconds and row["peak_gib"] <= gib


JOBS = {
    "round_trip": Job(round_trip, "1e-6", 15),
    "fast": Job(fast, "3 s; 12 GiB", 20),
    "turbo": Job(turbo, "12 GiB", 5),
    "large": Job(large, "16 GiB", 40),
    "paper": Job(paper, "60 s; 12 GiB", 60),
    "gradient": Job(gradient, "float32: 0.05 apart", 15),  # it leaves the networks rounded again
}
