"""Several metrics' opinions of pictures: a table, a number, and a map of where the quality is."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..files.image_values import checked_image, even_remarks
from .prior import CombinedPrior, Prior, QualityPrior

LOW, MIDDLE, HIGH = (0.84, 0.15, 0.16), (1.0, 0.87, 0.35), (0.10, 0.60, 0.31)  # red, yellow, green
PICTURE_SHARE = 0.35  # of the picture's grey in the map, so that places can be recognised


class ScoreReport(NamedTuple):
    """What metrics say of pictures.

    Attributes:
        quality: calibrated quality in [0, 1], mean over pictures and priors.
        table: a line per picture and metric, with the raw scores; then the means.
        heat_map: (B, 3, H, W) RGB in [0, 1]: red is bad, green is good; None where no metric has
            local scores.
    """

    quality: float
    table: str
    heat_map: Tensor | None


@torch.no_grad()
def score_pictures(
    image: Tensor, priors: Sequence[Prior], device: str | torch.device | None = None
) -> ScoreReport:
    """Score pictures by the metrics' published rules.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W).
        priors: at least one; combinations are shown with their parts.
        device: where each picture is brought to be scored; default: where it is.
    Returns: the scores; the heat map is where the pictures are.
    Raises: ValueError without priors, or if a metric refuses the pictures.
    """
    if not priors:
        raise ValueError("no prior to score with: connect one")
    image = checked_image(image)
    rows, qualities, known = [], [], set()
    for prior in (given.as_published() for given in priors):
        for part in parts(prior):
            if part not in known:
                rows += _of_prior(part, image, device)
                known.add(part)
        combined = _one_by_one(prior, image, device)
        qualities.append(combined)
        if isinstance(prior, CombinedPrior):
            rows.append((prior.name, None, combined))
    quality = float(torch.stack(qualities).mean())
    table = "\n".join([_table(rows), *even_remarks(image)])
    return ScoreReport(quality, table, heat_map(image, priors, device))


def parts(prior: Prior) -> list[Prior]:
    """The single priors of a combination, in order; the prior itself if it is one."""
    if isinstance(prior, CombinedPrior):
        return [single for part in prior.priors for single in parts(part)]
    return [prior]


def _in_turn(image: Tensor, device: str | torch.device | None) -> Iterator[Tensor]:
    """One picture after the other, each on the device while it is looked at."""
    return (item if device is None else item.to(device) for item in image.split(1))


def _one_by_one(
    function: Callable[[Tensor], Tensor], image: Tensor, device: str | torch.device | None
) -> Tensor:
    """Its values of each picture, where the pictures are.

    Raises: ValueError that names the picture which is refused.
    """
    values = []
    for number, item in enumerate(_in_turn(image, device), 1):
        try:
            values.append(function(item).to(image.device))
        except ValueError as error:
            if len(image) == 1:
                raise
            raise ValueError(f"picture {number} of {len(image)}: {error}") from error
    return torch.cat(values)


def _of_prior(
    prior: Prior, image: Tensor, device: str | torch.device | None
) -> list[tuple[str, Tensor, Tensor]]:
    if isinstance(prior, QualityPrior):
        raw = _one_by_one(prior.metric, image, device)
        return [(prior.name, raw, prior.logistic(raw))]
    quality = _one_by_one(prior, image, device)
    scored = [prior.scores(item) for item in _in_turn(image, device)]
    raws = {
        name: torch.cat([scores[name].to(image.device) for scores in scored]) for name in scored[0]
    }
    return [(name, raw, quality) for name, raw in raws.items()]


def _table(rows: Sequence[tuple[str, Tensor | None, Tensor]]) -> str:
    width = max(len("metric"), *(len(name) for name, *_ in rows))
    count = len(rows[0][2])
    lines = [f"{'picture':<8} {'metric':<{width}} {'quality':>8} {'raw score':>12}"]
    for index in [*range(count), *([None] if count > 1 else [])]:
        for name, raw, quality in rows:
            picture = "mean" if index is None else str(index + 1)
            values = [f"{_pick(quality, index):8.4f}"]
            values += [f"{_pick(raw, index):12.4f}"] if raw is not None else [" " * 12]
            lines.append(f"{picture:<8} {name:<{width}} {' '.join(values)}".rstrip())
    return "\n".join(lines)


def _pick(values: Tensor, index: int | None) -> float:
    return float(values.mean() if index is None else values[index])


@torch.no_grad()
def heat_map(
    image: Tensor, priors: Sequence[Prior], device: str | torch.device | None = None
) -> Tensor | None:
    """Where the first metric that has local scores sees quality.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W).
        priors: asked in order, combinations by their parts.
        device: where each picture is brought for it; default: where it is.
    Returns: (B, 3, H, W) in [0, 1]: calibrated local quality from red over yellow to green, over
        the picture's grey; None if no metric has local scores.
    """
    for prior in [single for given in priors for single in parts(given)]:
        if isinstance(prior, QualityPrior) and prior.local is not None:
            local = _one_by_one(prior.local, image, device)
            return _coloured(image, prior.logistic(local))
    return None


def _coloured(image: Tensor, quality: Tensor) -> Tensor:
    size = image.shape[-2:]
    quality = F.interpolate(quality[:, None], size, mode="bilinear").to(image)
    low, middle, high = (image.new_tensor(c).view(1, 3, 1, 1) for c in (LOW, MIDDLE, HIGH))
    upper = (2 * quality - 1).clamp(0, 1)
    lower = (2 * quality).clamp(0, 1)
    colour = torch.where(
        quality < 0.5, low + (middle - low) * lower, middle + (high - middle) * upper
    )
    grey = image.clamp(0, 1).mean(1, keepdim=True)
    return (1 - PICTURE_SHARE) * colour + PICTURE_SHARE * grey
