"""Train the pocket denoiser: v-prediction of corrections, conditioned on the degraded picture.

    python -m training.train_pocket_denoiser PHOTOS --restorer FILE --minutes 180 --out DIR

Resumable: run it again with the same --out. The learning rate follows a cosine over the training
minutes. The last line of the log and `denoiser.safetensors` (averaged weights) are the result.
The restorer (training/train_pocket_restorer.py) is frozen and goes into the same file.
"""

import argparse
import json
import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from latent_map.edict.backbones.pocket.haar import haar
from latent_map.edict.backbones.pocket.network import build_network, build_restorer, restorer_share
from latent_map.edict.schedule import scaled_linear_alphas
from safetensors.torch import load_file, save_file
from torch import Tensor

from training.degradations import randomly_degrade
from training.photographs import RandomCrops, load_photographs

log = logging.getLogger("training")
EMA_DECAY = 0.999
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 6e-4, 1e-5, 200
SAVE_SECONDS = 240


class Pairs(RandomCrops):
    """Endless (photograph, degraded photograph) crops, float32 (3, size, size) in [0, 1]."""

    def item(self, crop: np.ndarray, rng: np.random.Generator) -> tuple[Tensor, ...]:
        """A crop and what `degrade` makes of it."""
        pair = (crop, self.degrade(crop, rng))
        return tuple(torch.from_numpy(np.ascontiguousarray(p.transpose(2, 0, 1))) for p in pair)

    def degrade(self, crop: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random mixture of all degradations."""
        return randomly_degrade(crop, rng).pixels


def measure_scales(pairs: torch.utils.data.DataLoader, batches: int) -> dict[str, Tensor]:
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


def draw_labels(count: int) -> Tensor:
    """Uniform time labels, one in three from the noisiest 5 %, where the correction starts."""
    uniform = torch.randint(0, 1000, (count,))
    return torch.where(torch.rand(count) < 0.33, torch.randint(950, 1000, (count,)), uniform)


def v_loss(
    network,
    restorer,
    batch: tuple[Tensor, Tensor],
    scales: dict[str, Tensor],
    alphas: Tensor,
) -> Tensor:
    """Squared error of the predicted velocity, balanced between weak and strong corrections."""
    clean, degraded = batch
    correction = haar(clean - degraded) / scales["correction_scale"]
    mean, deviation = scales["condition_mean"], scales["condition_deviation"]
    condition = (haar(degraded) - mean[:, None, None]) / deviation[:, None, None]
    labels = draw_labels(len(clean)).to(clean.device)
    alpha = alphas[labels][:, None, None, None]
    noise = torch.randn_like(correction)
    noisy = alpha.sqrt() * correction + (1 - alpha).sqrt() * noise
    velocity = alpha.sqrt() * noise - (1 - alpha).sqrt() * correction
    predicted = network(torch.cat((noisy, condition), 1), labels).sample
    with torch.no_grad():
        expected = restorer(condition)
    predicted = predicted - restorer_share(alpha) * expected / (1 - alpha).sqrt()
    error = (predicted - velocity).square().mean((1, 2, 3))
    energy = correction.square().mean((1, 2, 3))
    return (error / (0.3 + energy)).mean()


def learning_rate(progress: float, step: int) -> float:
    cosine = LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
    return cosine * min(1.0, (step + 1) / WARM_UP_STEPS)


def save(path: Path, state: dict) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(
    photos: Path,
    out: Path,
    minutes: float,
    batch: int,
    size: int,
    device: str,
    initial: Path | None,
    restorer: Path,
) -> None:
    """Train for `minutes` of training time in all, resuming from `out` where it was left."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    pairs = Pairs(load_photographs(photos), size, seed=state["step"] if state else 0)
    loader = torch.utils.data.DataLoader(pairs, batch, num_workers=1, prefetch_factor=8)
    torch.manual_seed(state["step"] if state else 0)
    network = build_network().to(device)
    expected = load_restorer(restorer).to(device)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY)
    )
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=1e-4)
    step, trained = 0, 0.0
    if state:
        network.load_state_dict(state["network"])
        averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        scales, step, trained = state["scales"], state["step"], state["seconds"]
    elif initial is not None:
        scales = load_exported(initial, network)
        averaged.module.load_state_dict(network.state_dict())
    else:
        scales = {k: v.to(device) for k, v in measure_scales(loader, 40).items()}
    alphas = scaled_linear_alphas().float().to(device)
    running, last_save, clock = None, trained, time.monotonic()
    for pair in loader:
        progress = trained / (60 * minutes)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress, step)
        loss = v_loss(network, expected, tuple(p.to(device) for p in pair), scales, alphas)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(network)
        running = loss.item() if running is None else 0.99 * running + 0.01 * loss.item()
        step += 1
        now = time.monotonic()
        trained, clock = trained + now - clock, now
        if step % 100 == 0:
            log.info(
                "step %d crops %d loss %.4f minutes %.1f", step, step * batch, running, trained / 60
            )
        if trained - last_save > SAVE_SECONDS or trained >= 60 * minutes:
            last_save = trained
            parts = {"network": network, "averaged": averaged, "optimizer": optimizer}
            weights = {k: v.state_dict() for k, v in parts.items()}
            save(checkpoint, weights | {"scales": scales, "step": step, "seconds": trained})
            constants = scales | {f"restorer.{k}": v for k, v in expected.state_dict().items()}
            export(out / "denoiser.safetensors", averaged.module, constants, step * batch)
        if trained >= 60 * minutes:
            return


def load_exported(path: Path, network) -> dict[str, Tensor]:
    """Put exported weights into the network; returns their constants."""
    tensors = load_file(path)
    weights = {
        k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")
    }
    network.load_state_dict({k: v.float() for k, v in weights.items()})
    device = next(network.parameters()).device
    return {k: v.to(device) for k, v in tensors.items() if "." not in k}


def load_restorer(path: Path):
    """A trained restorer, frozen, from its own or from a denoiser's file."""
    prefix = "restorer."
    weights = {k.removeprefix(prefix): v for k, v in load_file(path).items() if prefix in k}
    restorer = build_restorer()
    restorer.load_state_dict(weights)
    return restorer.requires_grad_(False)


def export(path: Path, network, scales: dict[str, Tensor], crops: int) -> None:
    """Write the averaged weights in half precision; the scales stay float32."""
    tensors = {f"network.{k}": v.half().cpu() for k, v in network.state_dict().items()}
    tensors |= {k: v.cpu().contiguous() for k, v in scales.items()}
    save_file(tensors, path, {"format": "latent-map pocket denoiser 2", "crops": json.dumps(crops)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/denoiser"))
    parser.add_argument("--minutes", type=float, default=180)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=128, help="crop size in pixels")
    parser.add_argument("--initial", type=Path, help="exported weights to start from")
    parser.add_argument("--restorer", type=Path, required=True, help="its trained restorer")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(**vars(options))


if __name__ == "__main__":
    main()
