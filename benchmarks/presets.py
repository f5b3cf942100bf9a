"""Find the fast preset: candidates on training photographs kept out of training, by quality.

    python -m benchmarks.presets PHOTOS [--count 8] [--side 192] [--below 32]

Reaching the objective is no success (pixel ascent reaches any); what counts is the share of
photographs whose VIF, VSI and GMSD against the pristine one are better than the input's.
"""

import argparse
import statistics
import time
from dataclasses import replace
from pathlib import Path

from latent_map.edict.backbones import load_backbone
from latent_map.edict.inversion import InversionOptions
from latent_map.fidelity import load_fidelity
from latent_map.iqa_priors import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import PRESETS, MapSettings

from training.photographs import HELD_OUT

from .pairs import MEASURES, Pair, better, degraded_pairs, machine, measures, psnr, save_json


def candidates() -> dict[str, tuple[MapSettings, str]]:
    """Settings to compare, each with the reduction of Eq. (20)."""
    fast = replace(PRESETS["fast"], check_round_trip=False, check_gradient=False)
    longer = replace(fast, inversion=InversionOptions(steps=8, mixing=0.93))
    half = replace(fast, inversion=replace(fast.inversion, strength=0.5))
    paper = replace(PRESETS["paper"], iterations=10, check_round_trip=False, check_gradient=False)
    rates = {
        f"rate {rate:g}, mse": (replace(fast, learning_rate=rate), "mse")
        for rate in (0.005, 0.01, 0.02, 0.05)
    }
    return rates | {
        "fast, rms": (fast, "rms"),
        "fast, momentum .9, mse": (replace(fast, momentum=0.9), "mse"),
        "fast, T=8, mse": (longer, "mse"),
        "fast, strength .5, mse": (half, "mse"),
        "paper (T=20, SGD 2), 10 iterations, mse": (paper, "mse"),
        "pixel MAP, 10 iterations, mse": (replace(PRESETS["pixel_map"], iterations=10), "mse"),
    }


def try_settings(tools, settings: MapSettings, reduction: str, pairs: list[Pair]) -> dict:
    """Median changes over the pairs."""
    backbone, prior = tools
    fidelity = load_fidelity("low_resolution", reduction=reduction)
    wins = dict.fromkeys(MEASURES, 0)
    gains: dict[str, list[float]] = {name: [] for name in (*MEASURES, "psnr", "quality")}
    clock = time.process_time()
    for pair in pairs:
        (result,) = enhance(pair.degraded, backbone, prior, fidelity, settings)
        before, after = measures(pair.degraded, pair.clean), measures(result.picture, pair.clean)
        for name, won in better(after, before).items():
            wins[name] += won
            gains[name].append(after[name] - before[name])
        gains["psnr"].append(psnr(result.picture, pair.clean) - psnr(pair.degraded, pair.clean))
        gains["quality"].append(
            result.trace[result.best_iteration].quality - result.trace[0].quality
        )
    medians = {name: statistics.median(values) for name, values in gains.items()}
    return {"wins": wins, "median_gain": medians, "cpu_seconds": time.process_time() - clock}


def main() -> None:
    """Compare all candidates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="the training photographs' folder")
    parser.add_argument("--count", type=int, default=8)
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--below", type=float, default=99, help="only pictures of less dB")
    parser.add_argument("--only", default="", help="only candidates whose name holds this")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    files = [f for f in sorted(options.photos.glob("*.webp")) if f.name[:3] in HELD_OUT]
    stride = max(1, len(files) // options.count)
    pairs = degraded_pairs(files[::stride][: options.count], options.side)
    pairs = [p for p in pairs if psnr(p.degraded, p.clean) < options.below]
    tools = load_backbone("pocket"), load_prior("pocket")
    rows = {}
    head = "| settings | VIF better | VSI better | GMSD better | PSNR | quality | CPU |\n"
    head += "|---" * 7
    lines = [f"{len(pairs)} held-out photographs, {options.side} px, {machine()}.", "", head + "|"]
    for name, (settings, reduction) in candidates().items():
        if options.only not in name:
            continue
        rows[name] = row = try_settings(tools, settings, reduction, pairs)
        wins, gain = row["wins"], row["median_gain"]
        first = next(iter(rows.values()))["cpu_seconds"]
        lines.append(
            f"| {name} | {wins['vif']} | {wins['vsi']} | {wins['gmsd']} | {gain['psnr']:+.2f} dB | "
            f"{gain['quality']:+.3f} | {row['cpu_seconds'] / first:.2f} |"
        )
        print(lines[-1], flush=True)
    save_json(options.out / "presets.json", {"machine": machine(), "rows": rows})
    (options.out / "presets.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
