"""A quarter of an hour on a GPU: the judge made to be climbed, and the denoiser trained on.

    python -m training.quarter_hour pack PHOTOS... --kodak KODAK
    python -m training.quarter_hour train --minutes 12 --out runs/quarter_hour --parts FOLDER
    python -m training.quarter_hour join FOLDER --out runs/joined

`pack` gathers crops in a folder that git ignores, small enough to travel to a rented machine.
`train` is the one command there: a share of the minutes for the judge, the rest for the denoiser,
which goes on from the shipped weights; it leaves a minute for the gates, which it prints. In
FOLDER it puts gates.md and both weights in parts, each as soon as it is there. `join`
puts the parts together again, and checks them.
"""

import argparse
import logging
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from latent_map.edict.backbones.pocket import backbone as pocket_backbone
from latent_map.edict.estimate import noised, seeded_noise, whole_step
from latent_map.iqa_priors.pocket import load_pocket as load_pocket_prior
from PIL import Image
from torch import Tensor

from training import train_pocket_denoiser, train_pocket_judge
from training.degradations import randomly_degrade
from training.file_parts import join_file, split_file
from training.judge_figures import (
    GATES,
    Figures,
    central_crops,
    even_pictures,
    held_out_versions,
    judge_figures,
    markdown,
    read_pictures,
    spread,
)
from training.judge_network import load_judge
from training.photographs import HELD_OUT, load_photographs
from training.unseen_degradations import UNSEEN

log = logging.getLogger("training")
PACK = Path("quarter_hour_pack")  # in .gitignore
MEGABYTES, MOST_MEGABYTES = 25.0, 50.0
HELD_OUT_SHARE = 0.2  # of the pack at most
PART_MEGABYTES = 14.0
JUDGE_SHARE = 0.4  # of the minutes for training
GATE_MINUTES = 1.0
FEWEST_MINUTES = 0.02  # for the denoiser, whatever the judge took
WEIGHTS = ("judge.safetensors", "denoiser.safetensors")


@dataclass(frozen=True)
class Options:
    """What is trained how; see `main`.

    Attributes:
        pack: what `pack` made.
        out: checkpoints and whole weights.
        parts: gates and weights in parts.
        minutes: all together.
        size: crop size in pixels of both trainings.
        judge_batch, denoiser_batch: crops.
        gate_crops: photographs of each set in the gates.
        gate_size: pixels of a photograph in the gates, a multiple of 16.
        compile: the denoiser through torch.compile.
        device: where.
    """

    pack: Path
    out: Path
    parts: Path
    minutes: float
    size: int = 128
    judge_batch: int = 96
    denoiser_batch: int = 256
    gate_crops: int = 8
    gate_size: int = 160
    compile: bool = False
    device: str = "cpu"


def pack(photos: list[Path], kodak: Path, out: Path, megabytes: float, side: int = 192) -> int:
    """Gather crops: training and held-out ones in OUT/photos, Kodak's middles in OUT/kodak.

    Files are copied as they are, from all folders by turns, held-out photographs first.

    Args:
        photos: folders of crops PHOTO_CROP.webp.
        kodak: folder of whole photographs for the gates.
        out: folder; what was there before is replaced.
        megabytes: of everything together, 1e6 bytes each, at most 50.
        side: of Kodak's crops in pixels, lossless WebP.
    Returns: how many bytes it holds.
    Raises: ValueError for too many megabytes.
    """
    if not 0 < megabytes <= MOST_MEGABYTES:
        raise ValueError(f"{megabytes} MB cannot travel: choose up to {MOST_MEGABYTES:g}")
    shutil.rmtree(out, ignore_errors=True)
    for name in ("photos", "kodak"):
        (out / name).mkdir(parents=True)
    for number, crop in enumerate(central_crops(read_pictures(kodak), side)):
        image = Image.fromarray((255 * crop).round().astype(np.uint8))
        image.save(out / "kodak" / f"{number:02d}.webp", lossless=True)
    size = sum(file.stat().st_size for file in (out / "kodak").iterdir())
    files = [(folder, file) for folder in photos for file in folder.glob("*.webp")]
    held_out = [pair for pair in files if pair[1].name[:3] in HELD_OUT]
    trained = [pair for pair in files if pair[1].name[:3] not in HELD_OUT]
    size = _copy(held_out, out / "photos", size, HELD_OUT_SHARE * megabytes * 1e6)
    return _copy(trained, out / "photos", size, megabytes * 1e6)


def _copy(files: list[tuple[Path, Path]], out: Path, size: int, most: float) -> int:
    """Copy files in random order, each folder the same share, until there are so many bytes."""
    rng = np.random.default_rng(0)
    ranks: dict[Path, float] = {}
    for one in sorted({folder for folder, _ in files}):
        same = sorted(file for folder, file in files if folder == one)
        places = (rng.permutation(len(same)) + 0.5) / len(same)
        ranks |= dict(zip(same, places.tolist(), strict=True))
    for file in sorted(ranks, key=lambda file: ranks[file]):
        if size + file.stat().st_size > most:
            break
        shutil.copyfile(file, out / file.name)
        size += file.stat().st_size
    return size


def train(options: Options) -> str:
    """Train both, put parts and gates into `parts`, and return the gates."""
    begun = time.monotonic()
    photos = [options.pack / "photos"]
    if not photos[0].is_dir():
        raise ValueError(f"{options.pack} holds no photos: make it with `pack`, and carry it along")
    options.parts.mkdir(parents=True, exist_ok=True)
    left = max(options.minutes - GATE_MINUTES, 0.5 * options.minutes)
    judge = train_pocket_judge.train(
        train_pocket_judge.Options(
            photos=photos,
            out=options.out / "judge",
            minutes=JUDGE_SHARE * left,
            batch=options.judge_batch,
            size=options.size,
            rate=train_pocket_judge.PEAK_RATE,
            save_seconds=60.0,
            device=options.device,
        )
    )
    split_file(judge, PART_MEGABYTES, options.parts)
    text = judge_gates(judge, options)
    _write_gates(options, text)
    denoiser = options.out / "denoiser" / "denoiser.safetensors"
    train_pocket_denoiser.train(
        train_pocket_denoiser.Options(
            photos=photos,
            out=denoiser.parent,
            minutes=max(left - (time.monotonic() - begun) / 60, FEWEST_MINUTES),
            batch=options.denoiser_batch,
            size=options.size,
            initial=pocket_backbone.WEIGHTS,
            compile=options.compile,
            parts=None,
            device=options.device,
        )
    )
    split_file(denoiser, PART_MEGABYTES, options.parts)
    text += denoiser_gates(denoiser, options)
    _write_gates(options, text)
    return text


def _write_gates(options: Options, text: str) -> None:
    (options.parts / "gates.md").write_text(text, encoding="utf-8")


def gate_sets(options: Options) -> dict[str, list[np.ndarray]]:
    """Crops for the gates, never trained on: held-out photographs, and Kodak's."""
    sets = {
        "held-out photographs": load_photographs(options.pack / "photos", held_out=True),
        "Kodak": read_pictures(options.pack / "kodak"),
    }
    return {
        name: central_crops(spread(pictures, options.gate_crops), options.gate_size)
        for name, pictures in sets.items()
    }


def judge_gates(weights: Path, options: Options) -> str:
    """The judge's figures beside those of the shipped one, and what they say."""
    device = torch.device(options.device)
    judges = {"new": load_judge(weights, device), "shipped": load_pocket_prior(device)}
    text = ""
    for name, crops in gate_sets(options).items():
        versions = held_out_versions(crops)
        figures = {who: judge_figures(judge, versions, device) for who, judge in judges.items()}
        text += f"## Judge, {len(crops)} {name}\n\n"
        text += "".join(f"{who}:\n\n{markdown(rows)}\n\n" for who, rows in figures.items())
        text += _verdict(figures["new"], figures["shipped"])
        middle = torch.cat([v.degraded for v in versions]).split(32)
        scores = torch.cat([judges["new"](x.to(device)) for x in middle])
        even = judges["new"](even_pictures(options.gate_size).to(device))
        worse = float((scores[None] > even[:, None]).float().mean())
        text += f"Black, white and grey score below {worse:.0%} of the degraded pictures.\n\n"
    return text


def _verdict(new: dict[str, Figures], shipped: dict[str, Figures]) -> str:
    nearer = [kind for kind in UNSEEN if new[kind].cosine > shipped[kind].cosine]
    failed = [kind for kind, gate in GATES.items() if (new[kind].srcc or 0) < gate]
    ranks = f"FAIL for {', '.join(failed)}" if failed else "pass"
    return (
        f"Cosine above the shipped judge's in {len(nearer)} of {len(UNSEEN)} unseen kinds; "
        f"rank gates: {ranks}.\n\n"
    )


def denoiser_gates(weights: Path, options: Options) -> str:
    """What the one-step estimate of the new and the shipped denoiser gains, in dB."""
    text = "## Denoiser, PSNR of its one-step estimate\n\n"
    text += "| photographs | weights | degraded, gain in dB | better | clean kept at, dB |\n"
    text += "|---|---|---|---|---|\n"
    for name, crops in gate_sets(options).items():
        clean = torch.from_numpy(np.stack(crops).transpose(0, 3, 1, 2).copy())
        rng = np.random.default_rng(9)
        pixels = [randomly_degrade(crop, rng, clean=0).pixels for crop in crops]
        degraded = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())
        before = decibels(degraded, clean)
        for who, path in (("new", weights), ("shipped", pocket_backbone.WEIGHTS)):
            backbone = pocket_backbone.load_pocket(options.device, path)
            gains = decibels(one_step(backbone, degraded), clean) - before
            kept = decibels(one_step(backbone, clean), clean).mean()
            text += f"| {name} | {who} | {gains.mean():+.2f} | {int((gains > 0).sum())} of "
            text += f"{len(gains)} | {kept:.1f} |\n"
    return text


@torch.no_grad()
def one_step(backbone: pocket_backbone.PocketBackbone, pictures: Tensor) -> Tensor:
    """The backbone's estimates of clean pictures, mean of two noises, on the CPU."""
    denoiser, codec = backbone.bind(pictures.to(backbone.device))
    latent, schedule = codec.encode(pictures.to(backbone.device)), backbone.schedule(20)
    step, estimates = whole_step(schedule), []
    for noise in seeded_noise(latent, 2, 0):
        noisy = noised(latent, noise, step, schedule.prediction)
        estimates.append(step.a * noisy + step.b * denoiser(noisy, step.label))
    return codec.decode(torch.stack(estimates).mean(0)).clamp(0, 1).cpu()


def decibels(image: Tensor, reference: Tensor) -> Tensor:
    """PSNR of each of (B, 3, H, W) pictures in [0, 1]."""
    return -10 * (image - reference).square().mean((1, 2, 3)).clamp_min(1e-12).log10()


def join(folder: Path, out: Path) -> None:
    """Join the weights that came back in parts.

    Raises: ValueError if something is missing or damaged.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in WEIGHTS:
        join_file(folder / name, out / name)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    packing = commands.add_parser("pack")
    packing.add_argument("photos", type=Path, nargs="+", help="folders of square crops, *.webp")
    packing.add_argument("--kodak", type=Path, required=True, help="folder of test photographs")
    packing.add_argument("--out", type=Path, default=PACK)
    packing.add_argument("--megabytes", type=float, default=MEGABYTES)
    training = commands.add_parser("train")
    training.add_argument("--pack", type=Path, default=PACK)
    training.add_argument("--out", type=Path, default=Path("runs/quarter_hour"))
    training.add_argument("--parts", type=Path, required=True, help="what is to come back")
    training.add_argument("--minutes", type=float, default=12, help="all together")
    training.add_argument("--compile", action="store_true", help="the denoiser by torch.compile")
    cuda = "cuda" if torch.cuda.is_available() else "cpu"
    training.add_argument("--device", default=cuda)
    joining = commands.add_parser("join")
    joining.add_argument("folder", type=Path, help="of the parts")
    joining.add_argument("--out", type=Path, default=Path("runs/joined"))
    return parser


def main() -> None:
    """Read the command line; pack, train or join."""
    values = vars(_parser().parse_args())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    command = values.pop("command")
    if command == "pack":
        size = pack(values["photos"], values["kodak"], values["out"], values["megabytes"])
        log.info("%s holds %.1f MB", values["out"], size / 1e6)
    elif command == "join":
        join(**values)
    else:
        sys.stdout.write(train(Options(**values)))


if __name__ == "__main__":
    main()
