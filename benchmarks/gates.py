"""What the default enhancement makes of photographs it has never seen, and what MAP's own share is.

    python -m benchmarks.gates FOLDER [FOLDER ...] [--side 192] [--preset fast] [--out NAME]

Every photograph is degraded (benchmarks.pairs) and enhanced; the input, the start of the ascent and
the result are measured against the pristine photograph. The pristine photographs are enhanced, too:
what needs no help must stay as it is. LPIPS and DISTS need networks that are downloads, and are
left out.
"""

import argparse
import statistics
from dataclasses import replace
from pathlib import Path

import torch
from latent_map import enhance, load_backbone, load_fidelity, load_prior, preset
from latent_map.fidelity.pixel import psnr
from latent_map.map_estimation.result import MapStep
from torch import Tensor

from .pairs import MEASURES, Pair, degraded_pairs, machine, measures, save_json

SIGNS = {"psnr": 1, **MEASURES}
BAD = 30  # dB: below, the input is clearly degraded
SUFFIXES = (".png", ".webp")


def measured(image: Tensor, clean: Tensor) -> dict[str, float]:
    """All measures of a picture."""
    return {"psnr": psnr(image, clean), **measures(image, clean)}


def run(pair: Pair, parts: tuple, settings) -> dict:
    """Input, start and result of one enhancement, measured."""
    starts = []

    def keep_start(step: MapStep) -> None:
        if step.row.iteration == 0:
            starts.append(step.preview().float())

    (result,) = enhance(pair.degraded, *parts, settings, keep_start)
    clean = pair.clean
    return {
        "name": pair.name,
        "severities": pair.severities,
        "improved": result.improved,
        "input": measured(pair.degraded, clean),
        "start": measured(starts[0], clean),
        "result": measured(result.picture, clean),
        "itself": psnr(result.picture, pair.degraded),
        "quality": [row.quality for row in (result.before, result.trace[-1]) if row is not None],
    }


def gains(rows: list[dict], after: str, before: str, name: str) -> list[float]:
    """By how much a measure is better, per picture; positive is better."""
    return [SIGNS[name] * (r[after][name] - r[before][name]) for r in rows]


def p_value(differences: list[float]) -> float:
    """Of a paired Wilcoxon signed-rank test that the median is 0, two-sided; 1 if all are 0."""
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences)[1]) if any(differences) else 1.0  # pyright: ignore


def _shares(rows: list[dict]) -> str:
    """In how many pictures the result is better than the start, and p, for every measure."""
    cells = []
    for name in SIGNS:
        shares = gains(rows, "result", "start", name)
        cells.append(f"{sum(g > 0 for g in shares)} of {len(rows)} ({p_value(shares):.3f})")
    return " | ".join(cells)


def markdown(report: dict) -> str:
    """The gates as tables."""
    lines = [
        f"Machine: {report['machine']}. Preset {report['preset']}, {report['side']} px crops.",
        "",
        "| photographs | input | mean PSNR gain, inputs below 30 dB | better in PSNR | VIF | VSI | "
        "GMSD | not bettered: input returned |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, rows in report["degraded"].items():
        bad = [r for r in rows if r["input"]["psnr"] < BAD]
        gain = statistics.fmean(gains(bad, "result", "input", "psnr")) if bad else float("nan")
        counts = [sum(g > 0 for g in gains(rows, "result", "input", m)) for m in SIGNS]
        mean = statistics.fmean(r["input"]["psnr"] for r in rows)
        returned = sum(not r["improved"] for r in rows)
        cells = " | ".join(f"{count} of {len(rows)}" for count in counts)
        lines.append(
            f"| {name} ({len(rows)}) | {mean:.1f} dB | {gain:+.2f} dB ({len(bad)}) | {cells} | "
            f"{returned} |"
        )
    lines += [
        "",
        "After the start, the ascent and the choice between result and input; over all pictures, p "
        "of a paired Wilcoxon test of the whole against the estimate alone.",
        "",
        "| photographs | estimate alone, mean PSNR gain | whole | "
        + " | ".join(f"better than it in {m} (p)" for m in SIGNS)
        + " |",
        "|---|---|---|" + "---|" * len(SIGNS),
    ]
    for name, rows in report["degraded"].items():
        alone, whole = (
            statistics.fmean(gains(rows, place, "input", "psnr")) for place in ("start", "result")
        )
        lines.append(f"| {name} | {alone:+.2f} dB | {whole:+.2f} dB | {_shares(rows)} |")
    lines += [
        "",
        "Of the ascent by itself, only where the result is not the input, that is chosen by it.",
        "",
        "| photographs | " + " | ".join(f"better in {m} (p)" for m in SIGNS) + " |",
        "|---|" + "---|" * len(SIGNS),
    ]
    for name, rows in report["degraded"].items():
        moved = [r for r in rows if r["improved"]]
        lines.append(f"| {name} ({len(moved)}) | {_shares(moved)} |")
    lines += [
        "",
        "| pristine, against themselves | input returned | the others, mean PSNR | worst |",
        "|---|---|---|---|",
    ]
    for name, rows in report["pristine"].items():
        kept = [r["itself"] for r in rows if r["improved"]]
        worst = f"{statistics.fmean(kept):.1f} dB | {min(kept):.1f} dB" if kept else "- | -"
        lines.append(f"| {name} ({len(rows)}) | {len(rows) - len(kept)} | {worst} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Enhance all photographs and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of pristine photographs")
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gates"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    parts = load_backbone("pocket"), load_prior("pocket"), load_fidelity("low_resolution")
    settings = replace(preset(options.preset), check_gradient=False, check_round_trip=False)
    report = {"machine": machine(), "preset": options.preset, "side": options.side}
    report |= {"degraded": {}, "pristine": {}}
    for folder in options.folders:
        files = sorted(f for f in folder.iterdir() if f.suffix in SUFFIXES)
        pairs = degraded_pairs(files, options.side)
        report["degraded"][folder.name] = [run(pair, parts, settings) for pair in pairs]
        untouched = [pair._replace(degraded=pair.clean, severities={}) for pair in pairs]
        report["pristine"][folder.name] = [run(pair, parts, settings) for pair in untouched]
        save_json(options.out.with_suffix(".json"), report)
        options.out.with_suffix(".md").write_text(markdown(report))
    print(markdown(report))


if __name__ == "__main__":
    main()
