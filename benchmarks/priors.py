"""Properties of every prior's gradient, measured offline; docs/priors.md shows the table.

    python -m benchmarks.priors [NAME ...] [--write docs/priors.md] [--golden FOLDER]
    python -m benchmarks.priors --memory hyperiqa --side 1024

Networks of pyiqa have random weights, so scores mean nothing here, but architecture, crops and
gradients are those of the real ones. What is measured is kept in benchmarks/results/priors.json,
also without --write; --kept writes the page of it. --golden compares with the scores that pyiqa
publishes, on the pictures of its ResultsCalibra folder.
"""

import argparse
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from latent_map.iqa_priors.arniqa import FEATURES, arniqa, build_encoder
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.pocket import build_network
from latent_map.iqa_priors.prior import Scorer
from latent_map.iqa_priors.pyiqa.networks import NETWORKS, random_network, scorer_of
from torch import Tensor

from .meters import now, peak_mib, reset_peak
from .pairs import machine, save_json
from .photographs import as_tensor, read_photograph

SEED = 0
STEP = 1e-4  # Euclidean length of the finite difference's step
SINGLE_STEP = 1e-2  # the same in float32, whose rounding is larger
STEPS = {"brisque-cpp": 1e-6}  # its score divides by counts, and jumps where these change
SINGLE = {"pocket", "maniqa"}  # computed in float32: by its own rule, and to save an hour
SIZES = {"niqe": (192, 288), "maniqa": (224, 224)}
CROPPED = (224, 232)  # two crops of 224, or of 299 after shrinking
WHOLE = (160, 176)
SMALL = (16, 40)
DOUBLE = {"niqe", "brisque-cpp"}  # compute in float64 whatever they are given
MIRRORED = {"niqe"}  # covers the picture by mirroring its borders, not by crops
FIXED = {"topiq_nr-flive"}  # brings every picture to one size first
MARKS = ("<!-- table -->", "<!-- end of table -->")
MEMORY_MARKS = ("<!-- memory -->", "<!-- end of memory -->")
RESULTS = Path(__file__).with_name("results") / "priors.json"


def picture(height: int, width: int, batch: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Smooth shapes with fine noise, inside (0, 1) so that nothing is clamped."""
    generator = torch.Generator().manual_seed(SEED)
    coarse = torch.rand(batch, 3, 12, 12, generator=generator, dtype=torch.float64)
    noise = torch.rand(batch, 3, height, width, generator=generator, dtype=torch.float64)
    smooth = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return (0.15 + 0.6 * smooth.clamp(0, 1) + 0.1 * noise).to(dtype)


def scorer(name: str, dtype: torch.dtype) -> tuple[Scorer, int]:
    """A prior's scorer, with random weights for pyiqa's networks, and its parameter count."""
    if name in NETWORKS:
        network = random_network(name).to(dtype)
        return scorer_of(name, network), sum(p.numel() for p in network.parameters())
    if name == "arniqa":
        return random_arniqa(dtype)
    parameters = 0
    if name == "pocket":
        parameters = sum(p.numel() for p in build_network().parameters())
    return PRIORS[name].load("cpu", ()), parameters


def random_arniqa(dtype: torch.dtype) -> tuple[Scorer, int]:
    """ARNIQA with random weights."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        encoder = build_encoder().to(dtype).eval().requires_grad_(False)
        slope = torch.randn(2 * FEATURES, dtype=dtype)
    parameters = sum(p.numel() for p in encoder.parameters())
    return arniqa(encoder, slope, slope.new_zeros(()), (-1, 1)), parameters


def gradient(metric: Callable[[Tensor], Tensor], image: Tensor) -> tuple[Tensor, Tensor]:
    """Score and its gradient."""
    moving = image.clone().requires_grad_(True)
    score = metric(moving)
    (slope,) = torch.autograd.grad(score.sum(), moving)
    return score.detach(), slope


@torch.no_grad()
def finite_difference(
    metric: Callable[[Tensor], Tensor], image: Tensor, slope: Tensor, step: float
) -> float:
    """Central difference along the gradient, divided by what the gradient promises."""
    direction = slope / slope.norm()
    difference = metric(image + step * direction) - metric(image - step * direction)
    return float(difference / (2 * step) / slope.norm())


def unseen(slope: Tensor) -> float:
    """Share of pixels without any gradient."""
    return float((slope.abs().amax(1) == 0).double().mean())


def kept_bytes(metric: Callable[[Tensor], Tensor], image: Tensor) -> int:
    """Bytes of the tensors that the graph keeps for the backward pass, weights not counted."""
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    moving = image.clone().requires_grad_(True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        score = metric(moving)
    del score
    return sum(storages.values())


def measure(name: str) -> dict:
    """The row of one prior."""
    dtype = torch.float32 if name in SINGLE else torch.float64
    scored, parameters = scorer(name, dtype)
    metric = scored.covering or scored.official
    cropped = scored.covering is not None and name not in MIRRORED
    size = SIZES.get(name, CROPPED if cropped else WHOLE)
    image = picture(*size, dtype=dtype)
    step = STEPS.get(name, SINGLE_STEP if dtype == torch.float32 else STEP)
    start = time.perf_counter()
    score, slope = gradient(metric, image)
    row = {
        "parameters_m": round(parameters / 1e6, 1),
        "dtype": str(dtype).removeprefix("torch."),
        "size": f"{size[1]}x{size[0]}",
        "crops": "cover" if cropped else "whole",
        "seconds": round(time.perf_counter() - start, 1),
        "finite_difference": finite_difference(metric, image, slope, step),
        "unseen": unseen(slope),
    }
    if not cropped:
        row["kb_per_pixel"] = round(kept_bytes(metric, image) / size[0] / size[1] / 1e3, 2)
        row["kb_per_pixel"] /= 2 if dtype == torch.float64 and name not in DOUBLE else 1
    row |= repeatability(metric, image, score, slope)
    del metric, scored
    return row | edges(name)


def repeatability(metric, image: Tensor, score: Tensor, slope: Tensor) -> dict:
    """The same bits twice; a batch as its pictures; the clamp of out-of-range pixels."""
    again, slope_again = gradient(metric, image)
    other = image.flip(-1)
    with torch.no_grad():
        both = metric(torch.cat([image, other]))
        singles = torch.cat([score, metric(other)])
        stretched = 1.6 * image - 0.3
        outside = metric(stretched) - metric(stretched.clamp(0, 1))
    return {
        "same_bits": bool(torch.equal(score, again) and torch.equal(slope, slope_again)),
        "batch_error": float(((both - singles) / singles.abs().clamp_min(1e-9)).abs().max()),
        "clamped": bool((outside == 0).all()),
    }


@torch.no_grad()
def edges(name: str) -> dict:
    """What happens at 16 pixels."""
    scored, _ = scorer(name, torch.float32)
    try:
        score = (scored.covering or scored.official)(picture(*SMALL, dtype=torch.float32))
        answer = "scored" if score.isfinite().all() else "NaN"
    except ValueError:
        answer = "refused"
    return {"small": answer}


def table(rows: dict[str, dict]) -> list[str]:
    """Markdown."""
    head = (
        "prior | parameters, M | measured on | s | finite difference / gradient | pixels without "
        "gradient | graph, kB a pixel | same bits twice | batch - singles, relative | beyond "
        "[0, 1] | 40 x 16 px"
    )
    lines = [f"| {head} |", "|" + "---|" * (head.count(" | ") + 1)]
    for name, row in rows.items():
        cells = (
            name,
            row["parameters_m"] or "-",
            f"{row['size']}, {row['dtype']}, {row['crops']}",
            row["seconds"],
            f"{row['finite_difference']:.4f}",
            f"{100 * row['unseen']:.1f} %",
            _graph(name, row),
            "yes" if row["same_bits"] else "no",
            f"{row['batch_error']:.0e}",
            "as clamped" if row["clamped"] else "not clamped",
            row["small"],
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def _graph(name: str, row: dict) -> str:
    if "kb_per_pixel" not in row:
        return "a few crops"
    if name in FIXED:
        width, height = map(int, row["size"].split("x"))
        return f"{row['kb_per_pixel'] * width * height / 1e3:.0f} MB in all"
    return f"{row['kb_per_pixel']:.1f}"


def golden(folder: Path, names: tuple[str, ...] = ("niqe", "entropy", "piqe")) -> list[str]:
    """Scores beside those that pyiqa publishes; Markdown."""
    with (folder / "calibration_summary.csv").open() as file:
        published = {line["Method"]: line for line in csv.DictReader(file)}
    files = sorted((folder / "dist_dir").iterdir())
    lines = [f"| metric | from | {' | '.join(f.stem for f in files)} |", "|" + "---|" * 7]
    for name in names:
        metric = load_prior(name)
        ours = []
        for file in files:
            image = as_tensor(read_photograph(file))
            ours.append(f"{float(metric.scores(image)[name]):.4f}")
        theirs = published[f"{name}(ours)"]
        rows = {"pyiqa's table": [theirs[f.name] for f in files], "here": ours}
        original = published.get(name)
        if original:
            rows = {"original authors": [original[f.name] for f in files], **rows}
        lines += [f"| {name} | {source} | {' | '.join(v)} |" for source, v in rows.items()]
    return lines


def memory(name: str, side: int) -> dict:
    """Peak resident memory and processor time of a score, and of a score with its gradient."""
    scored, _ = scorer(name, torch.float32)
    metric, image = scored.covering or scored.official, picture(side, side, dtype=torch.float32)
    metric(picture(*CROPPED, dtype=torch.float32))  # what the first call alone takes
    row: dict = {}
    for what in ("score", "gradient"):
        before, start = reset_peak("cpu"), now("cpu")
        if what == "score":
            with torch.no_grad():
                metric(image)
        else:
            row["unseen"] = unseen(gradient(metric, image)[1])
        row[f"{what}_s"] = round(now("cpu") - start, 1)
        row[f"{what}_mib"] = round(peak_mib("cpu") - before)
    return row


def memory_table(rows: dict[str, dict]) -> list[str]:
    """Markdown."""
    head = "prior | picture | score, MB | s | score and gradient, MB | s | pixels without gradient"
    lines = [f"| {head} |", "|" + "---|" * (head.count(" | ") + 1)]
    for name, row in sorted(rows.items()):
        prior, side = name.rsplit(" ", 1)
        cells = (
            *(prior, f"{side} x {side}", row["score_mib"], row["score_s"]),
            *(row["gradient_mib"], row["gradient_s"], f"{100 * row['unseen']:.2f} %"),
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines


def replace_between(page: Path, marks: tuple[str, str], lines: list[str]) -> None:
    """Put lines in the place of those between two marks of a page."""
    text = page.read_text(encoding="utf-8")
    before, after = text.split(marks[0])[0], text.split(marks[1])[1]
    content = "\n".join((marks[0], *lines, marks[1]))
    page.write_text(before + content + after, encoding="utf-8")


def main() -> None:
    """Measure, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    known = ["pocket", "niqe", "brisque-cpp", "arniqa", *NETWORKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default all: {', '.join(known)}")
    parser.add_argument("--write", type=Path, help="page whose table is replaced")
    parser.add_argument("--kept", action="store_true", help="measure nothing, use what is kept")
    parser.add_argument("--golden", type=Path, help="pyiqa's ResultsCalibra folder")
    parser.add_argument("--memory", choices=known)
    parser.add_argument("--side", type=int, default=1024)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.golden:
        print("\n".join(golden(options.golden)))
        return
    if options.memory:
        key = f"{options.memory} {options.side}"
        row = memory(options.memory, options.side)
        keep("memory", key, row)
        print(memory_table({key: row})[-1])
    for name in [] if options.kept or options.memory else options.names or known:
        row = measure(name)
        keep("rows", name, row)
        print(table({name: row})[-1], flush=True)
    if options.write:
        kept = json.loads(RESULTS.read_text())
        rows = {name: kept["rows"][name] for name in known if name in kept["rows"]}
        replace_between(options.write, MARKS, table(rows))
        replace_between(options.write, MEMORY_MARKS, memory_table(kept["memory"]))


def keep(part: str, key: str, row: dict) -> None:
    """Put one row into the results, read anew because others may have written meanwhile."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept = {"machine": machine(), "rows": {}, "memory": {}} | kept
    kept[part][key] = row
    save_json(RESULTS, kept | {"machine": machine()})


if __name__ == "__main__":
    main()
