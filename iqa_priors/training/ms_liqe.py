"""Training MS-LIQE on several sets of opinions at once.

Source: Zhang et al., arXiv 2403.06406, Sec. V; where it is silent, LIQE (CVPR 2023) and its code.
"""

import csv
import hashlib
import logging
import math
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from ...files.distinct import check_distinct
from ...files.json_files import FLAG, Rule, check_table, number, text, whole
from ...files.written import check_writable, write_atomically, written_beside
from ..choices import Pooling, Ties
from ..clip.liqe import QUALITY_PROMPTS, Liqe, expected_quality
from ..clip.model import Clip, VisionShape, load_clip
from ..clip.ms_liqe import three_levels
from ..clip.tokens import tokenise
from ..correlation import plcc, srcc
from .loop import PRECISIONS, Plan, Training, fit, told_of_the_disk
from .opinion_data import Batch, Dataset, EpochBatches, load_batches, read_rgb
from .pairwise_loss import mixture_loss

log = logging.getLogger(__name__)
WEIGHTS, CHECKPOINT, LOG = "ms_liqe.safetensors", "checkpoint.pt", "log.csv"
LOGGED = ("epoch", "step", "seconds", "fidelity", "srcc")  # then each dataset's figures
ALIKE = 1e-3  # of qualities from 1 to 5


@dataclass(frozen=True)
class MsLiqeOptions:
    """Options of a training; the defaults are the paper's, and LIQE's where it is silent.

    Attributes:
        epochs: 80 in the paper.
        steps: training steps per epoch; 200 in LIQE's code.
        rate: AdamW's first learning rate; it falls along a cosine to 0 at the end.
        weight_decay: AdamW's, decoupled.
        crops: random crops of a picture per step, from its three scales by turns; 3 in LIQE.
        pooling: of the crops when scoring, see `Liqe`.
        ties: label of equal opinions, see `preference_label`.
        precision: fp32, bf16 or fp16; auto is bf16 on a GPU and fp32 elsewhere.
        clip: largest norm of the gradient; 0 does not clip, as LIQE.
        seed: of crops and order.
        workers: processes that read pictures.
        validate_every: epochs between validations; the last epoch is always validated.
        tensorboard: write TensorBoard's log as well; needs tensorboard.
    """

    epochs: int = 80
    steps: int = 200
    rate: float = 5e-6
    weight_decay: float = 1e-3
    crops: int = 3
    pooling: Pooling = "crops"
    ties: Ties = "half"
    precision: str = "auto"
    clip: float = 0.0
    seed: int = 0
    workers: int = 0
    validate_every: int = 1
    tensorboard: bool = False

    def __post_init__(self):
        check_table(asdict(self), RULES, (), "this training cannot be", "see docs/ms_liqe.md")


RULES: dict[str, Rule] = {
    **{name: whole(1, 1_000_000) for name in ("epochs", "steps", "validate_every")},
    "rate": number(0, 1),
    "weight_decay": number(0, 1e6),
    "crops": whole(1, 1000),
    "pooling": text(*get_args(Pooling)),
    "ties": text(*get_args(Ties)),
    "precision": text("auto", *PRECISIONS),
    "clip": number(0, 1e9),
    "seed": whole(0, 2**63 - 1),
    "workers": whole(0, 256),
    "tensorboard": FLAG,
}
# What may differ when a training goes on: the numbers stay the same, or are looked at more often.
FREE = ("workers", "tensorboard", "validate_every")
OPTION_NAMES = tuple(field.name for field in fields(MsLiqeOptions))


def cosine_rate(first: float) -> Any:
    """A learning rate that falls from `first` to 0 along half a cosine."""
    return lambda progress, _: first * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def predicted_qualities(clip: Clip, tokens: Tensor, crops: Tensor) -> Tensor:
    """Qualities (B,) of pictures from their crops (B, U, 3, side, side), Eqs. (22) to (24)."""
    features = clip.encode_image(crops.flatten(0, 1)).float().unflatten(0, crops.shape[:2]).mean(1)
    text = clip.encode_text(tokens).float()
    with torch.autocast(crops.device.type, enabled=False):
        return expected_quality(clip.logit_scale.exp() * features @ text.T)


def train_ms_liqe(
    initial: Path,
    datasets: tuple[Dataset, ...],
    out: Path,
    options: MsLiqeOptions,
    device: str | torch.device = "cpu",
) -> Path:
    """Finetune a CLIP to rank pictures; run again with the same `out`, it goes on where it was.

    An epoch that was interrupted is begun again, so that the result is the same.

    Args:
        initial: a CLIP with a transformer as image tower (the paper: OpenAI's ViT-B/32), in any
            layout that `load_clip` takes.
        datasets: pictures are compared within each; each counts the same, whatever its batch.
        out: folder of the weights of the best epoch, the checkpoint and the log.
        options: the defaults are the paper's.
        device: where to train.
    Returns: the weights file, which the prior ms_liqe takes.
    Raises: ValueError for what cannot be used, naming it.
    """
    _check_files(initial, datasets, out)
    clip = load_clip(initial).to(device)
    if not isinstance(clip.shape.image, VisionShape):
        raise ValueError(f"{initial}: MS-LIQE needs a CLIP with a transformer as image tower")
    side = clip.shape.image.side
    # As in LIQE: everything is finetuned but the temperature.
    clip.requires_grad_(True).logit_scale.requires_grad_(False)
    precision = _precision(options.precision, clip.logit_scale.device)
    training = Training(clip, options.weight_decay, clip=options.clip or None, precision=precision)
    _check_room(out, clip)
    run = _described(options, datasets)
    epoch, best = _go_on(training, out / CHECKPOINT, run)
    _trim_log(out / LOG, epoch)
    tokens = tokenise(QUALITY_PROMPTS).to(training.device)
    pyramid = three_levels(side)
    total = options.epochs * options.steps
    plan = Plan(cosine_rate(options.rate), lambda t: t.step / total, log_steps=50)

    def losses(batch: Batch, _: int) -> dict[str, Tensor]:
        crops, opinions = batch.crops.to(training.device), batch.opinions.to(training.device)
        scores = predicted_qualities(clip, tokens, crops)
        counts = list(batch.counts)
        parts = list(scores.split(counts)), list(opinions.split(counts))
        return {"fidelity": mixture_loss(*parts, options.ties)}

    if epoch == 0 and not (out / LOG).exists():
        figures = validate(clip, tokens, datasets, options.pooling)
        _write_row(out, datasets, {"epoch": 0, "step": 0, **figures}, options.tensorboard)
    for done in range(epoch, options.epochs):
        seed = (options.seed, done)
        batches = EpochBatches(datasets, options.steps, pyramid, options.crops, side, seed)
        clip.train()
        fit(training, load_batches(batches, options.workers), losses, plan)
        if (done + 1) % options.validate_every == 0 or done + 1 == options.epochs:
            figures = validate(clip, tokens, datasets, options.pooling)
            row = {"epoch": done + 1, "step": training.step, "seconds": training.seconds}
            _write_row(out, datasets, row | training.running | figures, options.tensorboard)
            if figures["srcc"] > best:
                best = figures["srcc"]
                save_ms_liqe(out / WEIGHTS, clip, {"epoch": done + 1, **figures})
        training.save(out / CHECKPOINT, epoch=done + 1, best=best, run=run)
    return out / WEIGHTS


@torch.no_grad()
def validate(
    clip: Clip, tokens: Tensor, datasets: tuple[Dataset, ...], pooling: Pooling = "crops"
) -> dict[str, float]:
    """Correlations with the opinions of each dataset's validation pictures.

    A dataset whose pictures all score alike is warned of: its pairs have hardly any gradient.

    Returns: {"srcc": mean over the datasets, "srcc NAME": ..., "plcc NAME": ...}; a network that
        scores all pictures the same correlates by 0.
    """
    clip.eval()
    assert isinstance(clip.shape.image, VisionShape)
    side = clip.shape.image.side
    metric = Liqe(clip, clip.encode_text(tokens), three_levels(side), pooling, side)
    figures = {}
    for dataset in datasets:
        scores = [
            float(metric.official(read_rgb(opinion.path).to(tokens.device)))
            for opinion in dataset.validation
        ]
        if max(scores) - min(scores) < ALIKE:
            log.warning(
                "all %d validation pictures of %s score %.3f: the network does not tell them "
                "apart; begin anew with a lower rate",
                *(len(scores), dataset.name, scores[0]),
            )
        opinions = [opinion.score for opinion in dataset.validation]
        for name, correlation in (("srcc", srcc), ("plcc", plcc)):
            value = correlation(scores, opinions)
            figures[f"{name} {dataset.name}"] = 0.0 if math.isnan(value) else value
    mean = sum(figures[f"srcc {dataset.name}"] for dataset in datasets) / len(datasets)
    return {"srcc": mean, **figures}


def save_ms_liqe(path: Path, clip: Clip, metadata: dict[str, Any]) -> None:
    """Write weights in transformers' layout, which the prior ms_liqe and other programs read."""
    from safetensors.torch import save_file

    names = {n: n.removeprefix("text.").removeprefix("visual.") for n in clip.state_dict()}
    tensors = {names[n]: t.detach().cpu().contiguous() for n, t in clip.state_dict().items()}
    texts = {name: str(value) for name, value in metadata.items()}
    with told_of_the_disk(path), written_beside(path) as part:
        save_file(tensors, part, {"format": "pt", "model": "MS-LIQE", **texts})


def _check_files(initial: Path, datasets: tuple[Dataset, ...], out: Path) -> None:
    """Raise ValueError if what will be written is read, or was made by others."""
    parts = [part for dataset in datasets for part in (dataset.train, dataset.validation)]
    pictures = {opinion.path for part in parts for opinion in part}
    check_distinct(written_files(out), (initial, *pictures))
    if (out / CHECKPOINT).exists() or _is_log(out / LOG):
        return
    for path in (out / WEIGHTS, out / LOG):
        if os.path.lexists(path):
            raise ValueError(
                f"{path}, which would be replaced, is of no training: move it away, or choose "
                "another folder as out"
            )


def written_files(out: Path) -> tuple[Path, ...]:
    """What a training writes into its folder."""
    return out / WEIGHTS, out / CHECKPOINT, out / LOG


def _is_log(path: Path) -> bool:
    """Whether a file is the log of a training, which may have been stopped in its first epoch."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.readline(200).decode("utf-8", "replace").startswith(",".join(LOGGED))


def _precision(chosen: str, device: torch.device) -> Any:
    if chosen != "auto":
        return chosen
    return "bf16" if device.type == "cuda" else "fp32"


def _check_room(out: Path, clip: Clip) -> None:
    """Raise ValueError if the folder cannot be made, or has no room for what will be written."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"{out} cannot be the folder of a training ({error.strerror}): choose another"
        ) from error
    weights = sum(tensor.nbytes for tensor in clip.state_dict().values())
    # The checkpoint holds them and Adam's two moments, and is written beside the last one.
    there = sum(p.stat().st_size for p in (out / CHECKPOINT, out / WEIGHTS) if p.is_file())
    check_writable(out / CHECKPOINT, max(4 * weights, 8 * weights - there))
    check_writable(out / LOG)


def _described(options: MsLiqeOptions, datasets: tuple[Dataset, ...]) -> dict[str, Any]:
    """What a checkpoint is of: it goes on with nothing else."""
    chosen = {name: value for name, value in asdict(options).items() if name not in FREE}
    for dataset in datasets:
        scores = [(opinion.path.name, opinion.score) for opinion in dataset.train]
        digest = hashlib.sha256(repr(scores).encode()).hexdigest()[:16]
        chosen[f"dataset {dataset.name}"] = (
            f"{len(scores)} pictures {digest}, {dataset.batch} a step"
        )
    return chosen


def _trim_log(log_file: Path, epoch: int) -> None:
    """Drop what a stopped run logged of epochs that are trained again, and a line cut off."""
    if not log_file.exists():
        return
    lines = log_file.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
    numbers = [line.partition(",")[0] for line in lines]
    kept = [
        line
        for index, (line, number) in enumerate(zip(lines, numbers, strict=True))
        if index == 0 or (number.isdecimal() and int(number) <= epoch and line.endswith("\n"))
    ]
    if len(kept) < 2:  # no epoch is left, the one before training neither
        log_file.unlink()
    elif kept != lines:
        write_atomically(log_file, "".join(kept).encode())


def _go_on(training: Training, checkpoint: Path, run: dict[str, Any]) -> tuple[int, float]:
    """The epoch to go on with, and the best SRCC so far.

    Raises: ValueError if the checkpoint is damaged, or of other options or opinions.
    """
    if not checkpoint.exists():
        return 0, -math.inf
    state = training.load(checkpoint, ("epoch", "best"))
    before = state.get("run", run)  # those of earlier versions do not say
    for name in sorted(before.keys() | run.keys()):
        if before.get(name) != run.get(name):
            raise ValueError(
                f"{checkpoint} was begun with {name} {before.get(name)}, now it is "
                f"{run.get(name)}: give what it was begun with, or another folder as out"
            )
    log.info("going on from epoch %d of %s", state["epoch"], checkpoint)
    return state["epoch"], state["best"]


def _write_row(
    out: Path, datasets: tuple[Dataset, ...], row: dict[str, Any], tensorboard: bool
) -> None:
    """Add a line to the CSV log, and to TensorBoard's if it is wanted."""
    pairs = [f"{figure} {d.name}" for d in datasets for figure in ("srcc", "plcc")]
    columns = [*LOGGED, *pairs]
    fresh = not (out / LOG).exists()
    with told_of_the_disk(out / LOG), (out / LOG).open("a", newline="") as file:
        writer = csv.DictWriter(file, columns)
        if fresh:
            writer.writeheader()
        shown = {k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()}
        writer.writerow(shown)
    log.info("epoch %d SRCC %.4f (%s)", row["epoch"], row["srcc"], _by_dataset(row, datasets))
    if tensorboard:
        from torch.utils.tensorboard import SummaryWriter

        with SummaryWriter(out) as writer:
            for name in columns[2:]:
                if name in row:
                    writer.add_scalar(name.replace(" ", "/"), row[name], row["epoch"])


def _by_dataset(row: dict[str, Any], datasets: tuple[Dataset, ...]) -> str:
    return ", ".join(f"{d.name} {row[f'srcc {d.name}']:.3f}" for d in datasets)
