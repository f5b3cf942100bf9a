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
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from latent_map.iqa_priors.pocket import build_network
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from scipy.ndimage import gaussian_filter, median_filter
from torch import Tensor

from training.degradations import DEGRADATIONS, KINDS, degrade, randomly_degrade
from training.photographs import load_photographs, random_crops

log = logging.getLogger("training")
EMA_DECAY = 0.998
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 5e-4, 1e-5, 100
RANKING_STEPS = 400  # the two other terms, too early, keep the score flat
RANKING_WEIGHT, CLIMBING_WEIGHT, GRADIENT_WEIGHT = 2.0, 0.3, 0.2
SAVE_SECONDS = 300
GRID_SHIFT = 8  # pixels: families are cut off the grid of their own JPEG blocks

KIND_SHARES = (0.2, 0.2, 0.15, 0.45)  # JPEG is by far the last to be learnt

CLEAN, MILD, SEVERE, FURTHER, INVENTED, MIXED, BETWEEN = range(7)
# (better, worse) within a family; INVENTED is made from CLEAN.
ORDER = (
    (CLEAN, MILD),
    (MILD, SEVERE),
    (CLEAN, SEVERE),
    (MILD, FURTHER),
    (CLEAN, FURTHER),
    (CLEAN, INVENTED),
    (CLEAN, MIXED),
    (CLEAN, BETWEEN),
    (BETWEEN, MIXED),
)
# What makes a picture worse beyond doubt: blurring noise, say, may please.
WORSENS = {
    "blur": ("downscale", "noise", "jpeg"),
    "downscale": ("noise", "jpeg"),
    "noise": ("jpeg",),
    "jpeg": ("downscale", "noise"),
}


def over_sharpen(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    radius = rng.uniform(0.6, 2.5)
    detail = pixels - gaussian_filter(pixels, (radius, radius, 0), mode="reflect")
    return pixels + rng.uniform(1, 4) * detail


def wrong_contrast(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor = rng.uniform(1.3, 2.2) if rng.random() < 0.7 else rng.uniform(0.4, 0.75)
    mean = pixels.mean()
    return mean + factor * (pixels - mean)


def over_saturate(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    grey = pixels.mean(-1, keepdims=True)
    # A grey photograph has no colour to exaggerate: the small cast keeps the order certain.
    return grey + rng.uniform(1.6, 3) * (pixels - grey) + rng.uniform(-0.03, 0.03, 3)


def colour_cast(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cast = rng.normal(size=3)
    cast -= cast.mean()
    return pixels + rng.uniform(0.06, 0.25) * cast / np.linalg.norm(cast)


def ringing(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Keep the low frequencies with a hard edge and exaggerate the band below the edge."""
    spectrum = np.fft.rfft2(pixels, axes=(0, 1))
    rows, columns = pixels.shape[:2]
    radius = np.hypot(np.fft.fftfreq(rows)[:, None], np.fft.rfftfreq(columns)[None])
    edge = rng.uniform(0.12, 0.35)
    gain = np.where(radius < edge, 1 + rng.uniform(0.3, 1.5) * (radius > 0.7 * edge), 0)
    return np.fft.irfft2(spectrum * gain[..., None], s=(rows, columns), axes=(0, 1))


def texture(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add a sinusoid or a checkerboard, grey or coloured, everywhere or in patches."""
    rows, columns = np.indices(pixels.shape[:2], dtype=np.float32)
    if rng.random() < 0.4:
        period = rng.choice((1, 2, 4))
        wave = 1 - 2 * ((rows // period + columns // period) % 2)
    else:
        angle, period = rng.uniform(0, math.pi), math.exp(rng.uniform(math.log(2), math.log(24)))
        across = math.cos(angle) * rows + math.sin(angle) * columns
        wave = np.sin(2 * math.pi * across / period)
    colour = np.ones(3) if rng.random() < 0.5 else rng.normal(size=3)
    if rng.random() < 0.5:
        wave = wave * (gaussian_filter(rng.normal(size=wave.shape), 12) > 0)
    return pixels + rng.uniform(0.02, 0.12) * wave[..., None] * colour


def smooth_away(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take the texture away and keep the edges: median, bilateral-like, or posterised."""
    kind = rng.integers(3)
    if kind == 0:
        return median_filter(pixels, size=(rng.choice((3, 5, 7)),) * 2 + (1,), mode="reflect")
    if kind == 1:
        image = Image.fromarray((pixels.clip(0, 1) * 255 + 0.5).astype(np.uint8))
        image = image.filter(ImageFilter.ModeFilter(int(rng.choice((3, 5, 7)))))
        return np.asarray(image, dtype=np.float32) / 255
    levels = rng.integers(5, 16)
    return np.round(gaussian_filter(pixels, (1, 1, 0), mode="reflect") * levels) / levels


INVENTIONS = (
    over_sharpen,
    over_sharpen,
    wrong_contrast,
    over_saturate,
    colour_cast,
    ringing,
    texture,
    smooth_away,
)


def family(photograph: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """One photograph in the versions CLEAN ... BETWEEN, and how severely SEVERE is degraded.

    Returns: float32 (7, H, W, 3) in [0, 1]; the severity in [0, 1].
    """
    kind = str(rng.choice(KINDS, p=KIND_SHARES))
    mild, severe = rng.uniform(0, 0.75), rng.uniform(0.15, 1)
    severe = min(1.0, max(severe, mild + 0.15))
    other = str(rng.choice(WORSENS[kind]))
    first = degrade(photograph, {kind: mild}, rng)
    invented = INVENTIONS[rng.integers(len(INVENTIONS))](photograph, rng)
    mixed = randomly_degrade(photograph, rng, clean=0).pixels
    share = rng.uniform(0.3, 0.8)
    pictures = (
        photograph,
        first,
        degrade(photograph, {kind: severe}, rng),
        DEGRADATIONS[other](first, rng.uniform(0.3, 1), rng),
        invented,
        mixed,
        share * photograph + (1 - share) * mixed,
    )
    return np.stack(pictures).clip(0, 1).astype(np.float32), severe


class Families(torch.utils.data.IterableDataset):
    """Endless families, float32 (7, 3, size, size) in [0, 1], with the severity of SEVERE."""

    def __init__(self, photographs: list[np.ndarray], size: int, seed: int):
        self.photographs, self.size, self.seed = photographs, size, seed

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        torch.set_num_threads(1)
        rng = np.random.default_rng((self.seed, worker.id if worker else 0))
        for crop in random_crops(self.photographs, self.size + GRID_SHIFT, rng):
            pictures, severity = family(np.ascontiguousarray(crop), rng)
            top, left = rng.integers(GRID_SHIFT, size=2)
            pictures = pictures[:, top : top + self.size, left : left + self.size]
            yield torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2))), severity


def fidelity_loss(better: Tensor, worse: Tensor, target: float = 1.0, eps: float = 1e-8) -> Tensor:
    """Fidelity loss under Thurstone's model, Eqs. (25) to (27), with a linear tail.

    Phi is flat to machine precision five units down, where a pair ordered wrongly would never be
    corrected; a small softplus of the difference keeps it moving.
    """
    p = 0.5 * torch.erfc(-(better - worse) / 2)  # Phi(difference / sqrt 2)
    loss = 1 - (p * target + eps).sqrt() - ((1 - p) * (1 - target) + eps).sqrt()
    return (loss + 0.05 * F.softplus(worse - better)).mean()


def ranking_loss(scores: Tensor, severities: Tensor) -> Tensor:
    """Loss of the certain pairs: scores (families, 7), severities (families,)."""
    better, worse = zip(*ORDER, strict=True)
    within = fidelity_loss(scores[:, list(better)], scores[:, list(worse)])
    strong = severities.roll(1, 0) > 0.6
    if not strong.any():
        return within
    across = fidelity_loss(scores[strong, CLEAN], scores[:, SEVERE].roll(1, 0)[strong])
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
    return fidelity_loss(before[away], after[away]) + 0.2 * F.relu(after - before)[away].mean()


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
    scores = torch.tensor(scores)
    xi3, xi4 = scores.median(), scores.std() * math.sqrt(3) / math.pi
    quality = torch.sigmoid((scores - xi3) / xi4)
    shares = quality[torch.tensor(clean)].quantile(torch.tensor((0.1, 0.5, 0.9))).tolist()
    log.info("xi3 %.3f xi4 %.3f; clean crops' 10, 50, 90 %%: %.3f %.3f %.3f", xi3, xi4, *shares)
    return {"xi3": xi3, "xi4": xi4}


def export(path: Path, network, photographs: list[np.ndarray], crops: int) -> None:
    """Write the averaged weights in half precision with their calibration in float32."""
    tensors = {f"network.{k}": v.half().cpu() for k, v in network.state_dict().items()}
    tensors = {k: v.contiguous() for k, v in (tensors | calibrate(network, photographs)).items()}
    save_file(tensors, path, {"format": "latent-map pocket prior 1", "crops": json.dumps(crops)})


def save(path: Path, state: dict) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)


def train(photos: Path, out: Path, minutes: float, batch: int, size: int, device: str) -> None:
    """Train for `minutes` of training time in all, resuming from `out` where it was left."""
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    state = torch.load(checkpoint, weights_only=True) if checkpoint.exists() else None
    photographs = load_photographs(photos)
    seed = state["step"] if state else 0
    families = Families(photographs, size, seed)
    loader = torch.utils.data.DataLoader(families, batch, num_workers=1, prefetch_factor=8)
    torch.manual_seed(seed)
    rng = np.random.default_rng((seed, 1))
    network = build_network().to(device, memory_format=torch.channels_last)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(EMA_DECAY)
    )
    optimizer = torch.optim.AdamW(network.parameters(), PEAK_RATE, weight_decay=1e-3)
    parts = {"network": network, "averaged": averaged, "optimizer": optimizer}
    step, trained = 0, 0.0
    if state:
        for name, part in parts.items():
            part.load_state_dict(state[name])
        step, trained = state["step"], state["seconds"]
    running, last_save, clock = {}, trained, time.monotonic()
    for pictures, severities in loader:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(trained / (60 * minutes), step)
        terms = losses(network, (pictures.to(device), severities.to(device)), step, rng)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        averaged.update_parameters(network)
        for name, term in terms.items():
            running[name] = 0.98 * running.get(name, term.item()) + 0.02 * term.item()
        step += 1
        now = time.monotonic()
        trained, clock = trained + now - clock, now
        if step % 50 == 0:
            shown = " ".join(f"{name} {value:.4f}" for name, value in running.items())
            log.info("step %d %s minutes %.1f", step, shown, trained / 60)
        if trained - last_save > SAVE_SECONDS or trained >= 60 * minutes:
            last_save = trained
            weights = {name: part.state_dict() for name, part in parts.items()}
            save(checkpoint, weights | {"step": step, "seconds": trained})
            export(out / "prior.safetensors", averaged.module, photographs, step * batch)
        if trained >= 60 * minutes:
            return


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
