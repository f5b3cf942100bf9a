"""Train the pocket prior: pairwise ranking, and gradients that point at the clean photograph.

    python -m training.train_pocket_prior PHOTOS --minutes 25 --out runs/prior

Every photograph comes as a family of pictures whose order is certain. Two terms make the score fit
to be climbed: pictures the current network itself has been climbed to rank below their start, and
the gradient at a degraded picture is turned towards the clean one.

Resumable: run it again with the same --out. The learning rate follows a cosine over the training
minutes. `prior.safetensors` (averaged weights and calibration, Eq. 21) is the result.
"""

import argparse
import json
import logging
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from latent_map.iqa_priors.calibration import calibrate_to_scores
from latent_map.iqa_priors.pocket import build_network
from latent_map.iqa_priors.training.loop import Plan, Training, fit
from latent_map.iqa_priors.training.pairwise_loss import fidelity_loss
from safetensors.torch import save_file
from torch import Tensor

from training.degradations import randomly_degrade
from training.photographs import load_photographs, random_crops
from training.pocket_families import (
    BETWEEN,
    CLEAN,
    INVENTED,
    MILD,
    MIXED,
    ORDER,
    SEVERE,
    Families,
)

log = logging.getLogger("training")
EMA_DECAY = 0.998
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 5e-4, 1e-5, 100
RANKING_STEPS = 400  # the two other terms, too early, keep the score flat
RANKING_WEIGHT, CLIMBING_WEIGHT, GRADIENT_WEIGHT = 2.0, 0.3, 0.2
SAVE_SECONDS = 300
TAIL = 0.05  # of the fidelity loss


def ordered_loss(better: Tensor, worse: Tensor) -> Tensor:
    """Mean loss of pairs of certain order, with a tail that corrects pairs wrong by far."""
    return fidelity_loss(better, worse, 1.0, TAIL).mean()


def ranking_loss(scores: Tensor, severities: Tensor) -> Tensor:
    """Loss of the certain pairs: scores (families, 7), severities (families,)."""
    better, worse = zip(*ORDER, strict=True)
    within = ordered_loss(scores[:, list(better)], scores[:, list(worse)])
    strong = severities.roll(1, 0) > 0.6
    if not strong.any():
        return within
    across = ordered_loss(scores[strong, CLEAN], scores[:, SEVERE].roll(1, 0)[strong])
    return within + 0.2 * across


def climb(network, start: Tensor, steps: int, stride: float) -> Tensor:
    """Ascend the score in pixels, each step `stride` (root mean square) along the gradient."""
    x = start
    for _ in range(steps):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(network(x).sum(), x)
        size = gradient.square().mean((1, 2, 3), keepdim=True).sqrt()
        x = (x + stride * gradient / (size + 1e-12)).clamp(0, 1)
    return x.detach()


def climbing_loss(network, pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures climbed to must not beat their start, unless they came nearer to the clean one."""
    clean = pictures[:, CLEAN]
    start = clean.clone()
    half = len(clean) // 2
    start[:half] = pictures[:half, rng.choice((MILD, SEVERE, MIXED))]
    stride = math.exp(rng.uniform(math.log(0.002), math.log(0.02)))
    reached = climb(network, start, int(rng.integers(1, 6)), stride)
    before, after = network(torch.cat((start, reached))).chunk(2)
    away = (reached - clean).square().mean((1, 2, 3)) >= (start - clean).square().mean((1, 2, 3))
    if not away.any():
        return before.sum() * 0
    return ordered_loss(before[away], after[away]) + 0.2 * F.relu(after - before)[away].mean()


def gradient_loss(network, pictures: Tensor, rng: np.random.Generator) -> Tensor:
    """One minus the cosine between the gradient and the way to the clean photograph.

    At the clean photograph, where there is no way to go, the slope itself is penalised: the change
    of the score for a change of the picture by 1 / 255 (root mean square), hence by at most that.
    """
    clean = pictures[:, CLEAN]
    degraded = pictures[:, rng.choice((MILD, SEVERE, MIXED, MIXED, BETWEEN, INVENTED))]
    x = torch.cat((degraded, clean[:1])).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
    cosine = F.cosine_similarity(gradient[:-1].flatten(1), (clean - degraded).flatten(1), eps=1e-8)
    slope = gradient[-1].square().sum().sqrt() * math.sqrt(x[0].numel()) / 255
    return (1 - cosine).mean() + 0.1 * slope.square()


def learning_rate(progress: float, step: int) -> float:
    cosine = LAST_RATE + (PEAK_RATE - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
    return cosine * min(1.0, (step + 1) / WARM_UP_STEPS)


def losses(network, batch: tuple[Tensor, Tensor], step: int, rng) -> dict[str, Tensor]:
    pictures, severities = batch
    scores = network(pictures.flatten(0, 1)).view(pictures.shape[:2])
    terms = {"ranking": RANKING_WEIGHT * ranking_loss(scores, severities)}
    if step >= RANKING_STEPS and step % 2 == 0:
        terms["gradient"] = GRADIENT_WEIGHT * gradient_loss(network, pictures, rng)
    if step >= RANKING_STEPS and step % 4 == 1:
        terms["climbing"] = CLIMBING_WEIGHT * climbing_loss(network, pictures, rng)
    return terms


@torch.no_grad()
def calibrate(network, photographs: list[np.ndarray], count: int = 200, size: int = 224):
    """Median and logistic scale of the scores of training crops, three in ten clean: Eq. (21)."""
    rng = np.random.default_rng(0)
    scores, clean = [], []
    for _, crop in zip(range(count), random_crops(photographs, size, rng), strict=False):
        pixels, severities = randomly_degrade(crop, rng, clean=0.3)
        picture = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        device = next(network.parameters()).device
        scores.append(network(picture[None].to(device)).item())
        clean.append(not severities)
    found = calibrate_to_scores("pocket", scores, lower_better=False)
    xi3, xi4 = torch.tensor(found.xi3), torch.tensor(found.xi4)
    quality = torch.sigmoid((torch.tensor(scores) - xi3) / xi4)
    shares = quality[torch.tensor(clean)].quantile(torch.tensor((0.1, 0.5, 0.9))).tolist()
    log.info("xi3 %.3f xi4 %.3f; clean crops' 10, 50, 90 %%: %.3f %.3f %.3f", xi3, xi4, *shares)
    return {"xi3": xi3, "xi4": xi4}


def export(path: Path, network, photographs: list[np.ndarray], crops: int) -> None:
    """Write the averaged weights in half precision with their calibration in float32."""
    tensors = {f"network.{k}": v.half().cpu() for k, v in network.state_dict().items()}
    tensors = {k: v.contiguous() for k, v in (tensors | calibrate(network, photographs)).items()}
    save_file(tensors, path, {"format": "latent-map pocket prior 1", "crops": json.dumps(crops)})


def train(photos: Path, out: Path, minutes: float, batch: int, size: int, device: str) -> None:
    """Train for `minutes` of training time in all, resuming from `out` where it was left."""
    out.mkdir(parents=True, exist_ok=True)
    network = build_network().to(device, memory_format=torch.channels_last)
    training = Training(network, weight_decay=1e-3, averaging=EMA_DECAY, clip=1.0)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        training.load(checkpoint)
    photographs, seed = load_photographs(photos), training.step
    families = Families(photographs, size, seed)
    loader = torch.utils.data.DataLoader(families, batch, num_workers=1, prefetch_factor=8)
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 1))

    def terms(pair: tuple[Tensor, Tensor], step: int) -> dict[str, Tensor]:
        pictures, severities = pair
        return losses(network, (pictures.to(device), severities.to(device)), step, rng)

    def save(training: Training) -> None:
        training.save(checkpoint)
        target = out / "prior.safetensors"
        export(target, training.result, photographs, training.step * batch)

    def progress(training: Training) -> float:
        return training.seconds / (60 * minutes)

    fit(training, loader, terms, Plan(learning_rate, progress, save, SAVE_SECONDS, log_steps=50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/prior"))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--batch", type=int, default=4, help="families of seven pictures")
    parser.add_argument("--size", type=int, default=96, help="crop size in pixels")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    train(options.photos, options.out, options.minutes, options.batch, options.size, options.device)


if __name__ == "__main__":
    main()
