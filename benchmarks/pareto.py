"""Quality against network calls, for every preset, optimiser and bijection.

    python -m benchmarks.pareto PHOTOS [--height 96] [--width 192] [--out benchmarks/results/pareto]
    python -m benchmarks.pareto TRAINING_PHOTOS --held-out --count 12 --below 32 --out NAME

Reaching the objective is no success: pixel ascent reaches any. What counts is VIF, VSI, GMSD and
PSNR against the pristine photograph, and NIQE. One run gives a whole curve: the best iterate so far
is measured after 1, 2, 3, 5 ... iterations, with the network calls that a run ending there has
made, counted one by one in the denoiser; the run's self-checks are off. Each finished run is
written at once, and a repeated command goes on with what is missing.

Settings are chosen with --held-out, on photographs kept out of the pocket networks' training; the
other photographs are the test.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.protocols import Backbone
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.pixel import psnr
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.niqe import load_niqe
from latent_map.iqa_priors.prior import Prior
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.result import MapStep, Status
from latent_map.map_estimation.settings import MapSettings
from latent_map.map_estimation.solver import MapSolver
from latent_map.map_estimation.work import WatchedBackbone
from torch import Tensor

from training.photographs import HELD_OUT

from .pairs import Pair, degraded_pairs, machine, measures, save_json
from .pareto_report import write_report
from .pareto_variants import TEST, VARIANTS, Variant

CHECKPOINTS = (0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40)
INPUT = "input"


class Counter:
    """Network calls of all bindings of a backbone: forward, and vector-Jacobian products."""

    def __init__(self, backbone):
        self.forward = self.backward = 0
        self.backbone = WatchedBackbone(backbone, self._called, self._pulled_back)

    def _called(self, _share: float) -> None:
        self.forward += 1

    def _pulled_back(self) -> None:
        self.backward += 1


class Judge(NamedTuple):
    """What all runs share."""

    backbone: Backbone
    prior: Prior
    niqe: Callable[[Tensor], Tensor]

    def __call__(self, picture: Tensor, clean: Tensor) -> dict[str, float]:
        """All measures of a picture."""
        with torch.no_grad():
            niqe = float(self.niqe(picture.double()))
        return measures(picture, clean) | {"niqe": niqe, "psnr": psnr(picture, clean)}


def curve(pair: Pair, variant: Variant, judge: Judge) -> list[dict]:
    """One run, measured at its checkpoints."""
    settings = replace(
        variant.settings, memory="store", check_gradient=False, check_round_trip=False
    )
    counter = Counter(judge.backbone)
    solver = make_solver(counter.backbone, judge.prior, pair.degraded, settings, variant.reduction)
    points: list[dict] = []
    clock, backward = time.process_time(), 0

    def watch(step: MapStep) -> None:
        nonlocal backward
        iteration = step.row.iteration
        if iteration in CHECKPOINTS or iteration == settings.iterations:
            points.append(
                {
                    "iteration": iteration,
                    # A run that ends here takes no gradient of its last picture.
                    "forward": counter.forward,
                    "backward": backward,
                    "cpu_seconds": time.process_time() - clock,
                    **best_so_far(solver, pair, judge),
                }
            )
        backward = counter.backward

    solver.run(watch)
    return points


def make_solver(backbone, prior, picture: Tensor, settings: MapSettings, reduction: str):
    """A solver on its own, without `enhance`, so that a callback can see its best iterate."""
    fidelity = load_fidelity("low_resolution", reduction=reduction)
    enhancer = Enhancer(backbone, prior, fidelity, settings)
    space, objective = enhancer.problem(picture)
    return MapSolver(space, picture, objective, settings)


def best_so_far(solver: MapSolver, pair: Pair, judge: Judge) -> dict:
    """Energy, quality and measures of what the user would get now."""
    result = solver.result(Status.CANCELLED)
    row = result.trace[result.best_iteration]
    terms = {"best": row.iteration, "energy": row.energy, "quality": row.quality}
    return terms | judge(result.picture, pair.clean)


def pairs_of(options: argparse.Namespace) -> list[Pair]:
    """Degraded crops; lower than wide to save time (NIQE needs 96 x 192)."""
    files = sorted(f for f in options.photos.iterdir() if f.suffix in (".png", ".webp"))
    if options.held_out:
        files = [f for f in files if f.name[:3] in HELD_OUT]
        stride = max(1, len(files) // options.count)
        files = files[::stride]
    pairs = degraded_pairs(files[: options.count], options.width)
    top = (options.width - options.height) // 2
    rows = slice(top, top + options.height)
    pairs = [
        p._replace(clean=p.clean[..., rows, :], degraded=p.degraded[..., rows, :]) for p in pairs
    ]
    return [p for p in pairs if psnr(p.degraded, p.clean) < options.below]


def main() -> None:
    """Run what is missing and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of photographs")
    parser.add_argument("--held-out", action="store_true", help="only those never trained on")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--height", type=int, default=96)
    parser.add_argument("--below", type=float, default=99, help="only pictures of less dB")
    parser.add_argument("--variants", nargs="*", help=f"default: {', '.join(TEST)}")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pareto"))
    options = parser.parse_args()
    file = options.out.with_suffix(".json")
    setting = {k: getattr(options, k) for k in ("held_out", "count", "width", "height", "below")}
    report = {"machine": machine(), "setting": setting, "runs": []}
    if file.exists():
        report = json.loads(file.read_text())
        if report["setting"] != setting:
            raise SystemExit(
                f"{file} holds other pictures ({report['setting']}): choose another --out"
            )
    judge = Judge(load_backbone("pocket"), load_prior("pocket"), load_niqe())
    pairs = pairs_of(options)
    for name in options.variants or TEST:
        for pair in pairs:
            if any((r["variant"], r["picture"]) == (name, pair.name) for r in report["runs"]):
                continue
            points = (
                [{"iteration": 0, "forward": 0, "backward": 0, **judge(pair.degraded, pair.clean)}]
                if name == INPUT
                else curve(pair, VARIANTS[name], judge)
            )
            report["runs"].append({"variant": name, "picture": pair.name, "points": points})
            save_json(file, report)
            print(time.strftime("%H:%M:%S"), name, pair.name, points[-1], flush=True)
    write_report(report, options.out)


if __name__ == "__main__":
    main()
