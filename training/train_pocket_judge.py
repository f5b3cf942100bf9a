"""Train the judge made to be climbed: a potential whose gradient leads to the clean picture.

    python -m training.train_pocket_judge PHOTOS... --minutes 5 --out DIR

The gradient is trained by differentiating twice: grad g at a degraded picture, and on the way from
there to the clean one, shall be the picture minus the clean one. Ranks of pictures whose order is
certain are a light second loss; even and black pictures rank below all others.

The result is DIR/judge.safetensors, averaged weights with the constants of Eq. (21). The learning
rate follows a cosine over the training minutes, which are meant for a GPU. Run it again with the
same --out to go on from where it was left.

Source: Hurault, Leclaire, Papadakis, Gradient Step Denoiser, ICLR 2022.
"""

import argparse
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from latent_map.iqa_priors.training.loop import Plan, Training, fit
from latent_map.iqa_priors.training.pairwise_loss import fidelity_loss
from safetensors.torch import save_file
from torch import Tensor, nn

from training.judge_figures import (
    Figures,
    Versions,
    central_crops,
    held_out_versions,
    judge_figures,
    spread,
)
from training.judge_network import GradientStepJudge
from training.judge_pictures import Lesson, lesson
from training.photographs import CropBatches, load_photographs
from training.train_pocket_denoiser import average
from training.unseen_degradations import UNSEEN

log = logging.getLogger("training")
PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 7e-4, 1e-5, 100
BETAS, WEIGHT_DECAY = (0.9, 0.99), 1e-3
RANKING_WEIGHT, TAIL = 0.3, 0.1  # every other step
FLOOR = (1.5 / 255) ** 2  # mean square: fainter degradations weigh less
USUAL_ERROR = 3.0  # larger ones count by their logarithm
DIVERGED = 8.0  # mean loss of the gradient; 1 is no gradient at all
SLOWER = 0.6  # of the rate, after a divergence
MEDIAN_ODDS = 4.0  # q is 0.8 for the median photograph, 0.2 for the median degraded one
WATCHED = (4, 128, (0.3, 0.8))  # held-out photographs, pixels, severities


class DivergedError(Exception):
    """The gradient's loss has grown beyond what a training comes back from."""


@dataclass(frozen=True)
class Options:
    """What is trained on what; see `main`."""

    photos: list[Path]
    out: Path
    minutes: float
    batch: int
    size: int
    rate: float
    save_seconds: float
    device: str


def gradient_error(network: GradientStepJudge, at: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Squared error of the gradient against picture minus clean one, relative to that.

    Returns: the error per picture, (B,), 1 for no gradient at all; the score per picture, (B,).
    """
    x = at.detach().requires_grad_()
    potential = network.potential(x)
    pixels = x[0].numel()
    (gradient,) = torch.autograd.grad(pixels * potential.sum(), x, create_graph=True)
    wanted = at - clean
    error = (gradient - wanted).square().mean((1, 2, 3))
    return error / (wanted.square().mean((1, 2, 3)) + FLOOR), network.score(potential)


def ranking_loss(network: GradientStepJudge, pictures: Lesson, between: Tensor) -> Tensor:
    """Mean loss of pairs of certain order; `between` are scores that are known already."""
    others = (pictures.clean, pictures.degraded, pictures.mild, pictures.severe, pictures.hopeless)
    scores = network(torch.cat(others)).split([len(x) for x in others])
    clean, degraded, mild, severe, hopeless = scores
    few, fewest = clean[: len(mild)], len(hopeless)
    # A clean picture among the degraded ones has no order.
    changed = (pictures.clean != pictures.degraded).flatten(1).any(1)
    pairs = (
        (clean[changed], degraded[changed]),
        (clean[changed], between[changed]),
        (few, mild),
        (mild, severe),
        (degraded[:fewest], hopeless),
        (severe[: min(fewest, len(severe))], hopeless[: len(severe)]),
    )
    losses = [fidelity_loss(better, worse, 1.0, TAIL) for better, worse in pairs]
    return torch.cat(losses).mean()


def losses(network: GradientStepJudge, pictures: Lesson, step: int) -> dict[str, Tensor]:
    """The error of the gradient and, every other step, the light loss of the ranks.

    Raises: DivergedError.
    """
    error, between = gradient_error(network, pictures.between, pictures.clean)
    tail = USUAL_ERROR * (1 + (error / USUAL_ERROR).clamp_min(1).log())
    loss = torch.where(error < USUAL_ERROR, error, tail).mean()
    if step > WARM_UP_STEPS and not loss < DIVERGED:
        raise DivergedError
    terms = {"gradient": loss}
    if step % 2:
        terms["ranking"] = RANKING_WEIGHT * ranking_loss(network, pictures, between)
    return terms


def learning_rate(peak: float) -> Callable[[float, int], float]:
    """A cosine over the training, after a warm-up."""

    def rate(progress: float, step: int) -> float:
        cosine = LAST_RATE + (peak - LAST_RATE) * 0.5 * (1 + math.cos(math.pi * min(1, progress)))
        return cosine * min(1.0, (step + 1) / WARM_UP_STEPS)

    return rate


@torch.no_grad()
def calibrate(network: nn.Module, crops: CropBatches, size: int, batches: int = 8) -> dict:
    """The logistic of Eq. (21), from the medians of the scores of clean and degraded crops."""
    clean, degraded = [], []
    for _ in range(batches):
        pictures = lesson(crops, 24, size)
        clean.append(network(pictures.clean))
        degraded.append(network(pictures.degraded))
    high, low = (float(torch.cat(scores).median()) for scores in (clean, degraded))
    xi4 = max((high - low) / (2 * math.log(MEDIAN_ODDS)), 1e-3)
    log.info("median score of clean crops %.3f, of degraded ones %.3f", high, low)
    return {"xi3": torch.tensor((high + low) / 2), "xi4": torch.tensor(xi4)}


def export(path: Path, network: nn.Module, constants: dict[str, Tensor], crops: int) -> None:
    """Write the averaged weights in half precision with their constants in float32."""
    weights = network.state_dict().items()
    tensors = {f"network.{k}": v.half().cpu().contiguous() for k, v in weights}
    save_file(
        tensors | constants, path, {"format": "latent-map judge 1", "crops": json.dumps(crops)}
    )


def summary(figures: dict[str, Figures]) -> str:
    """The cosines in one line, those of unseen kinds last."""
    cosines = " ".join(f"{kind} {row.cosine:.2f}" for kind, row in figures.items())
    unseen = sum(figures[kind].cosine for kind in UNSEEN) / len(UNSEEN)
    return f"{cosines} | unseen {unseen:.3f}"


def watched_versions(photos: list[Path]) -> list[Versions]:
    """Degraded versions of some held-out photographs of the first folder that has any."""
    count, size, severities = WATCHED
    for folder in photos:
        try:
            photographs = load_photographs(folder, held_out=True)
        except FileNotFoundError:
            continue
        size = min(size, *(side for p in photographs for side in p.shape[:2]))
        return held_out_versions(central_crops(spread(photographs, count), size), severities)
    return []


def train(options: Options) -> Path:
    """Train, going on from the checkpoint in `out` if there is one; returns the weights file."""
    device = torch.device(options.device)
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    photographs = [p for folder in options.photos for p in load_photographs(folder)]
    crops = CropBatches(photographs, device)
    versions = watched_versions(options.photos)
    network = GradientStepJudge().to(device)
    # Half precision loses the second derivatives; TF32 keeps their range.
    training = Training(network, WEIGHT_DECAY, average, 1.0, "fp32", BETAS)
    checkpoint, result = options.out / "checkpoint.pt", options.out / "judge.safetensors"
    if checkpoint.exists():
        training.load(checkpoint)
        torch.manual_seed(training.step)

    def save(training: Training) -> None:
        training.save(checkpoint)
        judge = training.result.requires_grad_(False)
        constants = calibrate(judge, crops, options.size)
        export(result, judge, constants, training.step * options.batch)
        if versions:
            figures = judge_figures(judge, versions, device)
            log.info("step %d held-out cosines: %s", training.step, summary(figures))

    def progress(training: Training) -> float:
        return training.seconds / (60 * options.minutes)

    batches = iter(lambda: lesson(crops, options.batch, options.size), None)
    peak, done = options.rate, False
    while not done:
        plan = Plan(learning_rate(peak), progress, save, options.save_seconds, log_steps=50)
        try:
            done = fit(training, batches, lambda batch, step: losses(network, batch, step), plan)
        except DivergedError:
            peak *= SLOWER
            log.warning("diverged at step %d: back to the average, slower", training.step)
            _restart(training)
    return result


def _restart(training: Training) -> None:
    """Back to the averaged weights, with an optimiser that remembers nothing."""
    training.network.load_state_dict(training.result.state_dict())
    training.optimizer.state.clear()


def main() -> None:
    """Read the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, nargs="+", help="folders of square crops, *.webp")
    parser.add_argument("--out", type=Path, default=Path("runs/judge"))
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--size", type=int, default=128, help="crop size, a multiple of 16 pixels")
    parser.add_argument("--rate", type=float, default=PEAK_RATE, help="peak learning rate")
    parser.add_argument("--save-seconds", type=float, default=240)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    train(Options(**vars(parser.parse_args())))


if __name__ == "__main__":
    main()
