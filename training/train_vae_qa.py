"""Train a VAE-QA-style head on pairs with opinions; an interrupted run is taken up again.

    python -m training.train_vae_qa --pairs train.csv --validation test.csv --vae VAE \\
        --output head.safetensors --mos-range 1 5

The lists are CSV files with the columns reference, distorted, mos; paths are relative to the list.
Opinions are brought to [0, 1] by `--mos-range WORST BEST` (for DMOS the first number is the larger
one). The state is in OUTPUT.state until the last epoch is done.

The paper leaves loss, optimiser, crops and schedule open. Here: mean squared error, AdamW with a
cosine, one random crop per pair and epoch; validation averages the crops that cover the picture.
"""

import argparse
import csv
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from latent_map.fidelity.vae_features import VaeEncoder, load_vae_encoder
from latent_map.fidelity.vae_qa import VaeQaHead, VaeQaOptions, even_crops, save_head
from latent_map.files.distinct import check_distinct
from latent_map.files.pictures import read_picture
from latent_map.files.state_file import load_state, save_state
from latent_map.iqa_priors.correlation import plcc, srcc
from torch import Tensor

log = logging.getLogger(__name__)
STATE_KIND = "vae_qa training"


class Pair(NamedTuple):
    """Two pictures and an opinion in [0, 1], higher is better."""

    reference: Path
    distorted: Path
    quality: float


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        epochs: passes over the pairs.
        batch: pairs per step.
        learning_rate: of AdamW, falling by a cosine to zero.
        weight_decay: of AdamW.
        seed: of initialisation, order and crops.
    """

    epochs: int = 50
    batch: int = 8
    learning_rate: float = 1e-4
    weight_decay: float = 1e-4
    seed: int = 0


def read_pairs(path: Path, worst: float, best: float) -> list[Pair]:
    """A list of pairs.

    Raises: ValueError naming the line if columns, files or numbers are wrong.
    """
    pairs = []
    with path.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                quality = (float(row["mos"]) - worst) / (best - worst)
                reference, distorted = (path.parent / row[k] for k in ("reference", "distorted"))
            except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
                raise ValueError(
                    f"{path}, line {number}: {error!r}; the columns are reference, distorted, mos"
                ) from error
            if not 0 <= quality <= 1:
                raise ValueError(f"{path}, line {number}: mos {row['mos']} is outside --mos-range")
            for picture in (reference, distorted):
                if not picture.is_file():
                    raise ValueError(f"{path}, line {number}: no picture {picture}")
            pairs.append(Pair(reference, distorted, quality))
    if not pairs:
        raise ValueError(f"{path} has no pairs")
    return pairs


def train(
    pairs: list[Pair],
    encoder: VaeEncoder,
    options: VaeQaOptions,
    training: Training,
    state: Path,
    device: str = "cpu",
) -> tuple[VaeQaHead, list[float]]:
    """Train a head, saving after each epoch; a state of the same run is continued.

    Returns: the head, and the mean loss of each epoch.
    Raises: ValueError if the state belongs to another run.
    """
    torch.manual_seed(training.seed)
    head = VaeQaHead(encoder.channels, options).to(device)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=training.learning_rate, weight_decay=training.weight_decay
    )
    run = repr((options, training, len(pairs)))
    losses = _resume(state, run, head, optimizer)
    for epoch in range(len(losses), training.epochs):
        for group in optimizer.param_groups:
            cosine = (1 + math.cos(math.pi * epoch / training.epochs)) / 2
            group["lr"] = training.learning_rate * cosine
        # Everything random of an epoch follows from its number, so that a resumed run is the same.
        generator = torch.Generator().manual_seed(1000 * training.seed + epoch)
        losses.append(_epoch(pairs, encoder, head, optimizer, training.batch, generator, device))
        log.info("epoch %d of %d: loss %.5f", epoch + 1, training.epochs, losses[-1])
        _save(state, run, head, optimizer, losses)
    return head.eval(), losses


def evaluate(
    pairs: list[Pair], encoder: VaeEncoder, head: VaeQaHead, device: str = "cpu"
) -> tuple[float, float]:
    """SRCC and PLCC of the head's qualities with the opinions."""
    scores = []
    for pair in pairs:
        reference, distorted = (read_picture(p).pixels.to(device) for p in pair[:2])
        crops = even_crops(*reference.shape[-2:], head.options.crop)
        with torch.no_grad():
            values = [
                head(encoder(reference[..., r, c]), encoder(distorted[..., r, c])) for r, c in crops
            ]
        scores.append(float(torch.stack(values).mean()))
    opinions = [pair.quality for pair in pairs]
    return srcc(scores, opinions), plcc(scores, opinions)


def _epoch(
    pairs: list[Pair],
    encoder: VaeEncoder,
    head: VaeQaHead,
    optimizer: torch.optim.Optimizer,
    batch: int,
    generator: torch.Generator,
    device: str,
) -> float:
    order = torch.randperm(len(pairs), generator=generator).tolist()
    total = 0.0
    for start in range(0, len(order), batch):
        chosen = [pairs[i] for i in order[start : start + batch]]
        crops = [_random_crop(pair, head.options.crop, generator) for pair in chosen]
        references, distorted = (torch.cat(part).to(device) for part in zip(*crops, strict=True))
        wanted = torch.tensor([pair.quality for pair in chosen], device=device)
        with torch.no_grad():
            maps = [[m.float() for m in encoder(image)] for image in (references, distorted)]
        loss = (head(*maps) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += float(loss.detach()) * len(chosen)
    return total / len(pairs)


def _random_crop(pair: Pair, crop: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    reference, distorted = (read_picture(path).pixels for path in pair[:2])
    height, width = reference.shape[-2:]
    if distorted.shape != reference.shape or min(height, width) < crop:
        raise ValueError(
            f"{pair.distorted} and its reference must be of one size, {crop} or more a side: "
            "choose a smaller --crop"
        )
    top, left = (
        int(torch.randint(side - crop + 1, (), generator=generator)) for side in (height, width)
    )
    window = (..., slice(top, top + crop), slice(left, left + crop))
    return reference[window], distorted[window]


def _save(
    path: Path,
    run: str,
    head: VaeQaHead,
    optimizer: torch.optim.Optimizer,
    losses: list[float],
) -> None:
    tensors = {f"head.{name}": tensor for name, tensor in head.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": tensor for name, tensor in slots.items()}
    save_state(path, STATE_KIND, tensors, {"run": run, "losses": losses})


def _resume(path: Path, run: str, head: VaeQaHead, optimizer: torch.optim.Optimizer) -> list[float]:
    if not path.is_file():
        return []
    tensors, about = load_state(path, STATE_KIND)
    if about["run"] != run:
        raise ValueError(
            f"{path} belongs to another run: delete it to start anew, or give the same settings"
        )
    head.load_state_dict({k[5:]: v for k, v in tensors.items() if k.startswith("head.")})
    slots: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("adam."):
            _, index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
    log.info("continuing after epoch %d", len(about["losses"]))
    return list(about["losses"])


def main() -> None:
    """Train and write the head."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--validation", type=Path)
    parser.add_argument("--vae", type=Path, required=True, help="VAE file or diffusers folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--mos-range", type=float, nargs=2, required=True)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    state = options.output.with_name(options.output.name + ".state")
    pairs = read_pairs(options.pairs, *options.mos_range)
    pictures = (path for pair in pairs for path in (pair.reference, pair.distorted))
    read = (options.pairs, options.validation, options.vae, *pictures)
    check_distinct((options.output, state), read)
    encoder = load_vae_encoder(options.vae, options.device)
    training = Training(options.epochs, options.batch, options.learning_rate, seed=options.seed)
    chosen = VaeQaOptions(crop=options.crop)
    head, losses = train(pairs, encoder, chosen, training, state, options.device)
    facts: dict = {"pairs": len(pairs), "final_loss": losses[-1]}
    if options.validation:
        held_out = read_pairs(options.validation, *options.mos_range)
        facts["srcc"], facts["plcc"] = evaluate(held_out, encoder, head, options.device)
        log.info("held out: SRCC %.4f, PLCC %.4f", facts["srcc"], facts["plcc"])
    save_head(options.output, head, encoder.channels, facts)
    state.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
