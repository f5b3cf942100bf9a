"""The gates of the pocket backbone, measured on Kodak photographs it has never seen.

    python -m benchmarks.pocket PHOTOS [--side 256] [--out benchmarks/results]

1. One-step x0 from the noisiest level against the degraded input, and 20-step samples (PSNR).
2. EDICT round trip of the whole picture.

What the whole enhancement makes of photographs: benchmarks.gates.
"""

import argparse
import statistics
from collections.abc import Iterable
from pathlib import Path

import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.bound_picture import pad
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.fidelity.pixel import psnr
from torch import Tensor

from .pairs import MEASURES, Pair, better, degraded_pairs, machine, measures, save_json

SAMPLE_STEPS = 20


@torch.no_grad()
def sample(backbone, pair: Pair, steps: int) -> Tensor:
    """A deterministic (DDIM) conditional sample from fresh noise; one step is the x0 estimate."""
    picture = pad(pair.degraded, backbone.multiple)
    denoiser, codec = backbone.bind(picture)
    generator = torch.Generator().manual_seed(len(pair.name))
    shape = codec.encode(picture).shape
    state = torch.randn(shape, generator=generator, dtype=torch.float64)
    for a, b, label in backbone.schedule(steps, "trailing").steps:
        state = a * state + b * denoiser(state, label).double()
    height, width = pair.clean.shape[-2:]
    return codec.decode(state)[..., :height, :width].clamp(0, 1)


def denoising_gate(backbone, pairs: Iterable[Pair]) -> list[dict]:
    """PSNR of input, one-step estimate and sample, and what else the estimate betters."""
    rows = []
    for pair in pairs:
        estimate = sample(backbone, pair, 1)
        before, after = (measures(x, pair.clean) for x in (pair.degraded, estimate))
        rows.append(
            {
                "name": pair.name,
                "severities": pair.severities,
                "input": psnr(pair.degraded, pair.clean),
                "one_step": psnr(estimate, pair.clean),
                "one_step_better": better(after, before),
                "sample": psnr(sample(backbone, pair, SAMPLE_STEPS), pair.clean),
            }
        )
    return rows


def round_trip_gate(backbone, pairs: Iterable[Pair]) -> list[float]:
    """Relative round trip errors with the paper's options."""
    options = InversionOptions()
    return [round_trip_error(invert_picture(backbone, p.degraded, options)) for p in pairs]


def markdown(report: dict) -> str:
    """The gates as a table."""
    rows = report["denoising"]
    mean = statistics.fmean
    gain = mean(r["one_step"] - r["input"] for r in rows)
    improved = {name: sum(r["one_step_better"][name] for r in rows) for name in MEASURES}
    counts = ", ".join(f"{name.upper()} {count}" for name, count in improved.items())
    sampled = mean(r["sample"] - r["input"] for r in rows)
    lines = [
        f"Machine: {report['machine']}. Kodak 01-{len(rows):02d}, {report['side']} px crops.",
        "",
        "| gate | wanted | measured |",
        "|---|---|---|",
        f"| 1. one-step x0 against input, mean PSNR gain | >= +1 dB | {gain:+.2f} dB |",
        f"| 1. one-step x0 better than the input | | {counts} of {len(rows)} |",
        f"| 1. {SAMPLE_STEPS}-step sample against input | >= -0.5 dB | {sampled:+.2f} dB |",
        f"| 2. EDICT round trip, worst relative error | < 1e-6 | {max(report['round_trip']):.1e} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all gates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="folder of pristine PNG photographs")
    parser.add_argument("--side", type=int, default=256, help="crop size in pixels")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    backbone = load_backbone("pocket")
    pairs = degraded_pairs(sorted(options.photos.glob("*.png"))[: options.count], options.side)
    report = {
        "machine": machine(),
        "side": options.side,
        "denoising": denoising_gate(backbone, pairs),
        "round_trip": round_trip_gate(backbone, pairs[:4]),
    }
    save_json(options.out / "pocket.json", report)
    (options.out / "pocket.md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
