"""The whole job per preset and size on the pocket backbone, and where its time goes.

    python -m benchmarks.enhance [--photo PHOTO] [--sides 128 192 256 384]
    python -m benchmarks.enhance --only profile variants

`jobs`: processor seconds (one thread), network calls and peak resident memory over the loaded
networks, each job in a process of its own; a line is fitted against the picture's area. A preset
of many iterations is run for a few and its seconds and calls are carried on to all, which the table
says. `profile`: the fast preset through torch.profiler. `variants`: one network call and its
gradient in other memory formats, precisions, and compiled.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.tape import Memory
from latent_map.edict.tiles import vector_jacobian, with_graph
from latent_map.fidelity import load_fidelity
from latent_map.iqa_priors import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from PIL import Image
from torch import Tensor

from . import profile_enhance
from .meters import now, peak_mib, reset_peak
from .pairs import machine, save_json

CPU = "cpu"


class Job(NamedTuple):
    """A preset, its memory mode, and how many of its iterations are run."""

    preset: str
    memory: Memory = "auto"
    iterations: int | None = None


JOBS = {
    "fast": Job("fast"),
    "fast, recompute": Job("fast", "recompute"),
    "paper": Job("paper", iterations=2),
    "pixel_map": Job("pixel_map"),
}


def picture(photo: Path | None, side: int) -> Tensor:
    """The photograph's centre, or smooth noise without one: (1, 3, side, side)."""
    if photo is None:
        coarse = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        return torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)
    pixels = np.asarray(Image.open(photo).convert("RGB"), dtype=np.float32) / 255
    top, left = ((size - side) // 2 for size in pixels.shape[:2])
    if min(top, left) < 0:
        raise ValueError(f"{photo} has no {side} pixels a side: choose a larger one")
    crop = pixels[top : top + side, left : left + side]
    return torch.from_numpy(crop.transpose(2, 0, 1).copy())[None]


def run_job(name: str, side: int, photo: Path | None) -> dict[str, Any]:
    """One job in this process."""
    job, image = JOBS[name], picture(photo, side)
    chosen = replace(preset(job.preset), memory=job.memory)
    chosen = replace(chosen, inversion=replace(chosen.inversion, tile=None))
    wanted = chosen.iterations
    chosen = replace(chosen, iterations=job.iterations or wanted)
    backbone, prior = load_backbone("pocket"), load_prior("pocket")
    calls: list[int] = []
    backbone.network.register_forward_pre_hook(lambda *_: calls.append(1))  # pyright: ignore
    tools = (backbone, prior, load_fidelity("low_resolution"))
    enhance(image[..., :64, :64], *tools, replace(chosen, iterations=1))
    calls.clear()
    marks: list[tuple[float, int]] = []
    base, clock = reset_peak(CPU), now(CPU)
    (result,) = enhance(image, *tools, chosen, lambda _: marks.append((now(CPU), len(calls))))
    spent, made = now(CPU) - clock, len(calls)
    row = {"job": name, "side": side, "iterations": wanted, "run": len(result.trace) - 1}
    if job.iterations:
        # Between two marks lies one iteration with its gradient; all but the first cost the same.
        (before, calls_before), (after, calls_after) = marks[:2]
        spent += (wanted - job.iterations) * (after - before)
        made += (wanted - job.iterations) * (calls_after - calls_before)
    return row | {
        "cpu_seconds": round(spent, 2),
        "network_calls": made,
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
    found: dict[str, dict[str, float]] = {}
    image = picture(None, side)

    def measure(name: str, backbone: Any, scope: Any = None) -> None:
        denoiser, codec = backbone.bind(image)
        latent = torch.randn(codec.encode(image).shape, dtype=torch.float64)

        def pulled() -> Tensor:
            return vector_jacobian(*with_graph(denoiser, latent, 500.0), latent)

        with scope or torch.autocast(CPU, enabled=False):
            found[name] = {
                "call": _least(torch.no_grad()(lambda: denoiser(latent, 500.0)), repeat),
                "with_gradient": _least(pulled, repeat),
            }

    measure("as it is", load_backbone("pocket"))
    plain: Any = load_backbone("pocket")
    plain.network.to(memory_format=torch.channels_last)
    measure("channels_last", plain)
    measure("autocast to bfloat16", load_backbone("pocket"), torch.autocast(CPU, torch.bfloat16))
    measure("torch.compile", load_backbone("pocket", compile=True))
    return found


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
    rows = report["jobs"] = []
    for side in options.sides:
        for name in JOBS:
            rows.append(_in_own_process(name, side, options.photo))
            print(rows[-1], flush=True)
            rows.sort(key=lambda row: (list(JOBS).index(row["job"]), row["side"]))
            names = {row["job"] for row in rows}
            of = {n: [row for row in rows if row["job"] == n] for n in JOBS if n in names}
            report["fits"] = {n: fit_line(found) for n, found in of.items() if len(found) > 2}
            write(report, options.out)


def _in_own_process(name: str, side: int, photo: Path | None) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.enhance", "--one", name, "--sides", str(side)]
    command += ["--photo", str(photo)] if photo else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, help="default: smooth noise, which costs the same")
    parser.add_argument("--sides", type=int, nargs="+", default=[128, 192, 256, 384])
    kinds = ("jobs", "profile", "variants")
    parser.add_argument("--only", nargs="+", choices=kinds, default=list(kinds))
    parser.add_argument("--side", type=int, default=256, help="of profile and variants")
    parser.add_argument("--one", choices=JOBS, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.one:
        print(json.dumps(run_job(options.one, options.sides[0], options.photo)))
        return
    path = options.out / "enhance.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    report["machine"] = machine()
    if "profile" in options.only:
        found = profile_enhance.profile_enhance(picture(options.photo, options.side), 3)
        report["profile"] = {"side": options.side, **found}
        write(report, options.out)
    if "variants" in options.only:
        report["variants"] = {"side": options.side, "rows": variants(options.side)}
        write(report, options.out)
    if "jobs" in options.only:
        measure_jobs(options, report)
    print(markdown(report))


if __name__ == "__main__":
    main()
