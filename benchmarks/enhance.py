"""The whole job per preset and size on the pocket backbone, and where its time goes.

    python -m benchmarks.enhance [--photo PHOTO] [--sides 128 192 256 384]
    python -m benchmarks.enhance --only profile variants

`jobs`: processor seconds (one thread), network calls and peak resident memory over what was in use
before; a line is fitted against the picture's area. With --short, and for the paper's preset
always, a few iterations are run and their seconds and calls carried on to all, which the table
says. `profile`: the fast preset through torch.profiler. `variants`: one network call and its
gradient in other memory formats, precisions, and compiled; and how near to the speed of a large
matrix product a call comes.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from . import profile_enhance
from .meters import now, peak_mib, reset_peak
from .pairs import machine, save_json
from .photographs import central_square

CPU = "cpu"


class Job(NamedTuple):
    """How many of a preset's iterations are run (all, or in short), and up to which side."""

    iterations: int | None = None
    short: int | None = None
    largest: int = 4096


JOBS = {
    "fast": Job(short=3),
    "paper": Job(iterations=2, short=2, largest=128),
    "pixel_map": Job(short=8),
}


def picture(photo: Path | None, side: int) -> Tensor:
    """The photograph's centre, or smooth noise without one: (1, 3, side, side)."""
    if photo is None:
        coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    return central_square(photo, side)


class Tools:
    """Backbone, prior and fidelity, warmed up; counts the network's calls."""

    def __init__(self) -> None:
        backbone: Any = load_backbone("pocket")
        backbone.network.register_forward_pre_hook(self._count)
        self.calls = 0
        self.all = (backbone, load_prior("pocket"), load_fidelity("low_resolution"))
        enhance(picture(None, 64), *self.all, replace(preset("fast"), iterations=1))

    def _count(self, *_: Any) -> None:
        self.calls += 1


def run_job(tools: Tools, name: str, image: Tensor, iterations: int | None) -> dict[str, Any]:
    """One job; of its iterations as many as given, or all."""
    chosen = preset(name)
    chosen = replace(chosen, inversion=replace(chosen.inversion, tile=None))
    wanted, iterations = chosen.iterations, iterations or chosen.iterations
    chosen = replace(chosen, iterations=iterations)
    marks: list[tuple[float, int]] = []
    tools.calls = 0
    base, clock = reset_peak(CPU), now(CPU)
    enhance(image, *tools.all, chosen, lambda _: marks.append((now(CPU), tools.calls)))
    spent, made = now(CPU) - clock, tools.calls
    # Between two marks lies one iteration with its gradient; all but the first cost the same.
    (start, calls_before), (end, calls_after) = marks[0], marks[iterations - 1]
    left = (wanted - iterations) / max(1, iterations - 1)
    return {
        "job": name,
        "side": image.shape[-1],
        "iterations": wanted,
        "run": iterations,
        "cpu_seconds": round(spent + left * (end - start), 2),
        "network_calls": made + round(left * (calls_after - calls_before)),
        "peak_mib": round(peak_mib(CPU) - base, 1),
    }


def fit_line(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Seconds = start + slope x megapixels, by least squares; and how straight that is."""
    areas = np.array([row["side"] ** 2 / 1e6 for row in rows])
    seconds = np.array([row["cpu_seconds"] for row in rows])
    slope, start = np.polyfit(areas, seconds, 1)
    rest = seconds - (start + slope * areas)
    exponent = np.polyfit(np.log(areas), np.log(seconds), 1)[0]
    return {
        "start_seconds": float(start),
        "seconds_per_megapixel": float(slope),
        "r_squared": float(1 - rest.var() / seconds.var()),
        "exponent": float(exponent),
    }


def variants(side: int, repeat: int = 4) -> dict[str, dict[str, float]]:
    """Seconds of a network call, and of a call with its gradient, done otherwise."""
    seconds: dict[str, dict[str, float]] = {}
    image = picture(None, side)

    def measure(name: str, backbone: Any, scope: Any = None) -> None:
        denoiser, codec = backbone.bind(image)
        latent = torch.randn(codec.encode(image).shape, dtype=torch.float64)

        def pulled() -> Tensor:
            return vector_jacobian(*with_graph(denoiser, latent, 500.0), latent)

        with scope or nullcontext():
            seconds[name] = {
                "call": _least(torch.no_grad()(lambda: denoiser(latent, 500.0)), repeat),
                "with_gradient": _least(pulled, repeat),
            }

    measure("as it is", load_backbone("pocket"))
    plain: Any = load_backbone("pocket")
    plain.network.to(memory_format=torch.channels_last)
    measure("channels_last", plain)
    measure("autocast to bfloat16", load_backbone("pocket"), torch.autocast(CPU, torch.bfloat16))
    fused: Any = load_backbone("pocket", compile=True)
    measure("torch.compile", fused)
    if not all(network.compiled for network in fused.networks_compiled):
        del seconds["torch.compile"]  # it fell back and said why
    return seconds


def speed(side: int, repeat: int = 4) -> dict[str, float]:
    """Operations a second, in units of 1e9: of a network call, and of a large matrix product."""
    denoiser, codec = load_backbone("pocket").bind(picture(None, side))
    latent = torch.randn(codec.encode(picture(None, side)).shape)
    square = torch.randn(2048, 2048)
    with torch.no_grad():
        with FlopCounterMode(display=False) as counter:
            denoiser(latent, 500.0)
        call = counter.get_total_flops() / _least(lambda: denoiser(latent, 500.0), repeat)
        product = 2 * 2048**3 / _least(lambda: square @ square, repeat)
    return {"call": call / 1e9, "matrix_product": product / 1e9}


def _least(function: Callable[[], Any], repeat: int) -> float:
    function()
    seconds = []
    for _ in range(repeat):
        clock = now(CPU)
        function()
        seconds.append(now(CPU) - clock)
    return min(seconds)


def markdown(report: dict[str, Any]) -> str:
    """All tables."""
    lines = ["# Enhancing a picture", "", f"Machine: {report['machine']}. Pocket backbone.", ""]
    if "jobs" in report:
        lines += ["| job | side (px) | iterations | network calls | CPU (s) | peak memory (MiB) |"]
        lines += ["|---" * 6 + "|"]
        for row in report["jobs"]:
            ran = (
                f"{row['iterations']}"
                if row["run"] == row["iterations"]
                else (f"{row['iterations']} ({row['run']} run, the rest carried on)")
            )
            lines += [
                f"| {row['job']} | {row['side']} | {ran} | {row['network_calls']} | "
                f"{row['cpu_seconds']} | {row['peak_mib']} |"
            ]
        lines += ["", "Line fitted against the area:", ""]
        lines += ["| job | start (s) | slope (s per megapixel) | R^2 | exponent |"]
        lines += ["|---" * 5 + "|"]
        lines += [
            f"| {name} | {fit['start_seconds']:.1f} | {fit['seconds_per_megapixel']:.0f} | "
            f"{fit['r_squared']:.4f} | {fit['exponent']:.2f} |"
            for name, fit in report["fits"].items()
        ]
    if "profile" in report:
        lines += ["", f"## Where the time goes (fast, {report['profile']['side']} px)", ""]
        lines += profile_enhance.markdown(report["profile"])
    if "variants" in report:
        first = next(iter(report["variants"]["rows"].values()))
        lines += ["", f"## The network otherwise ({report['variants']['side']} px)", ""]
        lines += ["| | call (ms) | with gradient (ms) | against as it is |", "|---|---|---|---|"]
        lines += [
            f"| {name} | {1e3 * row['call']:.1f} | {1e3 * row['with_gradient']:.1f} | "
            f"{row['with_gradient'] / first['with_gradient']:.2f} |"
            for name, row in report["variants"]["rows"].items()
        ]
        fast, product = report["variants"]["speed"].values()
        lines += ["", f"A call makes {fast:.0f} billion operations a second, a matrix product of "]
        lines[-1] += f"2048 x 2048 numbers {product:.0f}: {100 * fast / product:.0f} %."
    return "\n".join(lines) + "\n"


def plot(report: dict[str, Any], path: Path) -> None:
    """Seconds and memory against the area, with the fitted lines."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4))
    for name, fit in report["fits"].items():
        rows = [row for row in report["jobs"] if row["job"] == name]
        areas = [row["side"] ** 2 / 1e6 for row in rows]
        (points,) = axes[0].plot(areas, [row["cpu_seconds"] for row in rows], "o")
        ends = np.array([0.0, max(areas)])
        line = fit["start_seconds"] + fit["seconds_per_megapixel"] * ends
        label = f"{name}: {fit['seconds_per_megapixel']:.0f} s per megapixel"
        axes[0].plot(ends, line, color=points.get_color(), label=label)
        axes[1].plot(areas, [row["peak_mib"] for row in rows], "o-", label=name)
    axes[0].set_ylabel("CPU seconds, one thread")
    axes[1].set_ylabel("peak memory over the networks' (MiB)")
    for axis in axes:
        axis.set_xlabel("picture area (megapixels)")
        axis.set_ylim(bottom=0)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def write(report: dict[str, Any], out: Path) -> None:
    """JSON, Markdown, and the plot if there is one to draw."""
    save_json(out / "enhance.json", report)
    (out / "enhance.md").write_text(markdown(report), encoding="utf-8")
    if report.get("fits"):
        plot(report, out / "enhance.png")


def measure_jobs(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """All jobs at all sides, small ones first; written after each, so that nothing is lost."""
    rows, tools = [], Tools()
    report["jobs"] = rows
    for side in options.sides:
        image = picture(options.photo, side)
        for name in (name for name, job in JOBS.items() if side <= job.largest):
            iterations = JOBS[name].short if options.short else JOBS[name].iterations
            rows.append(run_job(tools, name, image, iterations))
            print(rows[-1], flush=True)
            rows.sort(key=lambda row: (list(JOBS).index(row["job"]), row["side"]))
            of = {n: [row for row in rows if row["job"] == n] for n in JOBS}
            report["fits"] = {n: fit_line(runs) for n, runs in of.items() if len(runs) > 2}
            write(report, options.out)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, help="default: smooth noise, which costs the same")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 192, 256, 384])
    kinds = ("jobs", "profile", "variants")
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--side", type=int, default=256, help="of profile and variants")
    parser.add_argument("--short", action="store_true", help="run a few iterations, carry on")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = options.out / "enhance.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    report["machine"] = machine()
    if "profile" in options.only:
        profile = profile_enhance.profile_enhance(picture(options.photo, options.side), 2)
        report["profile"] = {"side": options.side, **profile}
        write(report, options.out)
    if "variants" in options.only:
        rows, fast = variants(options.side), speed(options.side)
        report["variants"] = {"side": options.side, "rows": rows, "speed": fast}
        write(report, options.out)
    if "jobs" in options.only:
        measure_jobs(options, report)
    print(markdown(report))


if __name__ == "__main__":
    main()
