"""Train the pocket denoiser's restorer: first the sharpener alone, then its gate with it.

    python -m training.train_pocket_restorer PHOTOS --initial DENOISER --out DIR

Alone, the sharpener sees blurred and downscaled pictures and learns the whole correction. Together,
both see all degradations and learn what the U-Net's one-step estimate leaves. Learned from mixtures
at once, sharpening did not begin within 70,000 crops. The loss is the mean logarithm of the error,
so that a decibel counts the same in every picture.
"""

import argparse
import logging
import time
from pathlib import Path

import torch
from latent_map.edict.backbones.pocket.haar import haar
from latent_map.edict.backbones.pocket.network import build_network, build_restorer
from latent_map.edict.schedule import scaled_linear_alphas
from safetensors.torch import save_file
from torch import Tensor

from training.degradations import degrade
from training.photographs import load_photographs
from training.train_pocket_denoiser import Pairs, learning_rate, load_exported, load_restorer

log = logging.getLogger("training")
ALPHA = float(scaled_linear_alphas()[-1])
FLOOR = 1e-5  # mean squared error of 50 dB, beyond which better is no better


class Blurred(Pairs):
    """Endless (photograph, blurred or downscaled photograph) crops."""

    def degrade(self, crop, rng):
        """One of the two kinds, or both."""
        kinds = (("blur",), ("downscale",), ("blur", "downscale"))
        chosen = kinds[rng.choice(3, p=(0.45, 0.35, 0.2))]
        return degrade(crop, {kind: float(rng.random() ** 1.3) for kind in chosen}, rng)


def whitened(picture: Tensor, scales: dict[str, Tensor]) -> Tensor:
    """The networks' condition."""
    mean, deviation = scales["condition_mean"], scales["condition_deviation"]
    return (haar(picture) - mean[:, None, None]) / deviation[:, None, None]


def one_step(network, condition: Tensor) -> Tensor:
    """The U-Net's x_0 from the noisiest level, alpha = ALPHA."""
    noise = torch.randn_like(condition)
    with torch.no_grad():
        velocity = network(torch.cat((noise, condition), 1), 999).sample
    return ALPHA**0.5 * noise - (1 - ALPHA) ** 0.5 * velocity


def decibels(error: Tensor) -> Tensor:
    """Mean size of errors in decibels."""
    return 10 * (error.square().mean((1, 2, 3)) + FLOOR).log10().mean()


def train_stage(restorer, network, loader, scales: dict[str, Tensor], minutes: float) -> None:
    """Train in place: the sharpener alone without a network, all of it with one."""
    optimizer = torch.optim.AdamW(restorer.parameters(), weight_decay=1e-4)
    scale, gain, start = scales["correction_scale"], 0.0, time.monotonic()
    for step, (clean, degraded) in enumerate(loader):
        progress = (time.monotonic() - start) / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        condition, wanted = whitened(degraded, scales), haar(clean - degraded)
        if network is None:
            found = restorer.sharpen(condition)
        else:
            wanted = wanted - scale * one_step(network, condition)
            found = restorer(condition)
        before, after = decibels(wanted), decibels(wanted - scale * found)
        optimizer.zero_grad()
        after.backward()
        torch.nn.utils.clip_grad_norm_(restorer.parameters(), 1.0)
        optimizer.step()
        gain = 0.99 * gain + 0.01 * float((before - after).detach())
        if step % 100 == 99:
            shown = gain / (1 - 0.99 ** (step + 1))
            log.info("step %d gain %.3f dB progress %.2f", step + 1, shown, progress)
        if progress >= 1:
            return


def train(
    photos: Path,
    initial: Path,
    out: Path,
    minutes: list[float],
    batch: int,
    size: int,
    start: Path | None,
) -> None:
    """Both stages; writes restorer.safetensors after each."""
    out.mkdir(parents=True, exist_ok=True)
    photographs, network = load_photographs(photos), build_network()
    scales = load_exported(initial, network)
    network.eval().requires_grad_(False)
    restorer = load_restorer(start) if start else build_restorer()
    restorer.requires_grad_(True)
    stages = ((None, Blurred(photographs, size, 1)), (network, Pairs(photographs, size, 2)))
    for (helper, pairs), duration in zip(stages, minutes, strict=True):
        if duration == 0:
            continue
        loader = torch.utils.data.DataLoader(pairs, batch, num_workers=1, prefetch_factor=8)
        train_stage(restorer, helper, loader, scales, duration)
        tensors = {f"restorer.{k}": v.contiguous() for k, v in restorer.state_dict().items()}
        save_file(tensors, out / "restorer.safetensors")


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--initial", type=Path, required=True, help="exported denoiser")
    parser.add_argument("--start", type=Path, help="restorer to go on from")
    parser.add_argument("--out", type=Path, default=Path("runs/restorer"))
    parser.add_argument("--minutes", type=float, nargs=2, default=[12, 8], help="per stage")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=64, help="crop size in pixels")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
