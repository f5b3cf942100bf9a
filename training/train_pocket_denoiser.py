"""Train the pocket denoiser: v-prediction of corrections, conditioned on the degraded picture.

    python -m training.train_pocket_denoiser PHOTOS... --minutes 3.6 --out DIR

The result is DIR/denoiser.safetensors, with averaged weights. The learning rate follows a cosine
over the training minutes, which are meant for a GPU. Run it again with the same --out to go on from
where it was left, or give --initial to start from trained weights.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from latent_map.edict.backbones.pocket.backbone import CONSTANTS
from latent_map.edict.backbones.pocket.haar import haar
from latent_map.edict.backbones.pocket.network import PocketNetwork
from latent_map.edict.schedule import scaled_linear_alphas
from latent_map.files.distinct import check_distinct
from latent_map.files.weights import load_module, read_tensors
from latent_map.iqa_priors.training.loop import Plan, Training, fit
from safetensors.torch import save_file
from torch import Tensor, nn

from training.batch_degradations import degrade_batch
from training.file_parts import split_file
from training.photographs import CropBatches, load_photographs, vary_colours

log = logging.getLogger("training")
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 8e-4, 5e-6, 400
BETAS, WEIGHT_DECAY = (0.9, 0.98), 1e-3
KEPT_WEIGHTS = 0.9997  # by the average, per step
MARGIN = 16  # pixels around a crop, for what blur wraps around and to leave JPEG's grid
SAVE_SECONDS = 240
MEASURED_PAIRS = 3072  # for the constants

Scales = dict[str, Tensor]


@dataclass(frozen=True)
class Options:
    """What is trained on what; see `main`."""

    photos: list[Path]
    out: Path
    minutes: float
    batch: int
    size: int
    initial: Path | None
    compile: bool
    parts: float | None
    device: str


class Example(NamedTuple):
    """What the network sees of a batch, and what it should say.

    Attributes:
        noisy, condition: as for `PocketNetwork`.
        labels: (B,).
        velocity: (B, 48, h, w).
        weight: of each item's squared error, (B,).
    """

    noisy: Tensor
    condition: Tensor
    labels: Tensor
    velocity: Tensor
    weight: Tensor


@torch.no_grad()
def pair(crops: CropBatches, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Photographs and what degradations make of them, (count, 3, size, size) each, in [0, 1]."""
    clean = vary_colours(crops.varied(count, size + 2 * MARGIN))
    degraded = degrade_batch(clean)
    top, left = torch.randint(MARGIN - 8, MARGIN + 8, (2,)).tolist()
    window = (..., slice(top, top + size), slice(left, left + size))
    return clean[window].contiguous(), (255 * degraded[window]).round() / 255


def measure_scales(pairs: Iterator[tuple[Tensor, Tensor]], batches: int) -> Scales:
    """Measure the correction's one scale, and mean and deviation of each band of the condition."""
    corrections, conditions = [], []
    for _, (clean, degraded) in zip(range(batches), pairs, strict=False):
        corrections.append(haar(clean - degraded))
        conditions.append(haar(degraded))
    condition = torch.cat(conditions)
    return {
        "correction_scale": torch.cat(corrections).square().mean().sqrt(),
        "condition_mean": condition.mean((0, 2, 3)),
        "condition_deviation": condition.std((0, 2, 3)),
    }


def draw_labels(count: int, device: torch.device) -> Tensor:
    """Uniform time labels, a third of them from the noisiest 6 %, where the correction starts."""
    early = torch.rand(count, device=device) < 0.35
    uniform = torch.randint(0, 1000, (count,), device=device)
    return torch.where(early, torch.randint(940, 1000, (count,), device=device), uniform)


def example(clean: Tensor, degraded: Tensor, scales: Scales, alphas: Tensor) -> Example:
    """Noise a batch's corrections; weak and strong ones count about the same."""
    correction = haar(clean - degraded) / scales["correction_scale"]
    mean, deviation = scales["condition_mean"], scales["condition_deviation"]
    condition = (haar(degraded) - mean[:, None, None]) / deviation[:, None, None]
    labels = draw_labels(len(clean), clean.device)
    alpha = alphas[labels][:, None, None, None]
    noise = torch.randn_like(correction)
    noisy = alpha.sqrt() * correction + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * correction
    weight = 1 / (0.2 + correction.square().mean((1, 2, 3)))
    noisy, condition = (x.to(memory_format=torch.channels_last) for x in (noisy, condition))
    return Example(noisy, condition, labels, velocity, weight)


def v_loss(network: PocketNetwork, compiled: bool) -> Callable[[Example, int], dict[str, Tensor]]:
    """The weighed squared error of the predicted velocity."""

    def predict(noisy: Tensor, condition: Tensor, labels: Tensor) -> Tensor:
        return network(noisy, condition, labels, network.embed(condition))

    if compiled:
        predict = torch.compile(predict)

    def loss(batch: Example, _step: int) -> dict[str, Tensor]:
        predicted = predict(batch.noisy, batch.condition, batch.labels).float()
        error = (predicted - batch.velocity).square().mean((1, 2, 3))
        return {"v": (batch.weight * error).mean()}

    return loss


def learning_rate(progress: float, step: int) -> float:
    """A cosine over the training, after a warm-up."""
    cosine = LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
    return cosine * min(1.0, (step + 1) / WARM_UP_STEPS)


@torch.no_grad()
def average(averaged: list[Tensor], current: list[Tensor], steps: Tensor | int) -> None:
    """Move averaged weights towards the current ones, at first quickly."""
    kept = min(KEPT_WEIGHTS, (1 + int(steps)) / (10 + int(steps)))
    torch._foreach_lerp_(averaged, current, 1 - kept)


def starting_point(
    options: Options, pairs: Iterator[tuple[Tensor, Tensor]]
) -> tuple[PocketNetwork, Scales]:
    """The network and its constants: those of --initial, or new and measured ones."""
    network = PocketNetwork()
    if options.initial is None:
        return network, measure_scales(pairs, max(1, MEASURED_PAIRS // options.batch))
    tensors = read_tensors(options.initial, "pocket denoiser")
    load_module(network, tensors, "network.", options.initial)
    scales = {name: tensors[name].to(options.device) for name in CONSTANTS}
    return network.train().requires_grad_(True), scales


def export(path: Path, network: nn.Module, scales: Scales, crops: int) -> None:
    """Write the averaged weights in half precision; the constants stay float32."""
    weights = network.state_dict().items()
    tensors = {f"network.{k}": v.half().cpu().contiguous() for k, v in weights}
    tensors |= {k: v.cpu().contiguous() for k, v in scales.items()}
    save_file(tensors, path, {"format": "latent-map pocket denoiser 3", "crops": json.dumps(crops)})


def train(options: Options) -> None:
    """Train, going on from the checkpoint in `out` if there is one."""
    device = torch.device(options.device)
    checkpoint, result = options.out / "checkpoint.pt", options.out / "denoiser.safetensors"
    check_distinct((checkpoint, result), (options.initial,))
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    photographs = [p for folder in options.photos for p in load_photographs(folder)]
    crops = CropBatches(photographs, device)
    pairs = iter(lambda: pair(crops, options.batch, options.size), None)
    going_on = checkpoint.exists()
    network, scales = (PocketNetwork(), {}) if going_on else starting_point(options, pairs)
    network = network.to(device, memory_format=torch.channels_last)
    precision = "bf16" if device.type == "cuda" else "fp32"
    training = Training(network, WEIGHT_DECAY, average, 1.0, precision, BETAS)
    if going_on:
        saved = training.load(checkpoint)["scales"]
        scales = {name: torch.tensor(value, device=device) for name, value in saved.items()}
        torch.manual_seed(training.step)
    alphas = scaled_linear_alphas().float().to(device)

    def save(training: Training) -> None:
        training.save(checkpoint, scales={name: v.tolist() for name, v in scales.items()})
        export(result, training.result, scales, training.step * options.batch)
        if options.parts is not None:
            split_file(result, options.parts)

    def progress(training: Training) -> float:
        return training.seconds / (60 * options.minutes)

    batches = (example(*pictures, scales, alphas) for pictures in pairs)
    plan = Plan(learning_rate, progress, save, SAVE_SECONDS, log_steps=100)
    fit(training, batches, v_loss(network, options.compile), plan)


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of square crops, *.webp")
    parser.add_argument("--out", type=Path, default=Path("runs/denoiser"))
    parser.add_argument("--minutes", type=float, default=3.6)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--size", type=int, default=128, help="crop size, a multiple of 16 pixels")
    parser.add_argument("--initial", type=Path, help="exported weights to start from")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--parts", type=float, metavar="MB", help="also split the result file")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    train(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
