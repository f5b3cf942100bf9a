"""How far a result is from its input, and what judges think of it that it was not made for."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..fidelity.catalog import FIDELITIES
from ..fidelity.fidelity import check_fidelity
from ..fidelity.loading import load_fidelity
from ..iqa_priors.catalog import PRIORS
from ..iqa_priors.loading import load_prior
from ..iqa_priors.prior import Prior, check_prior
from .words import in_words, measure_changes

JUDGES = 3  # at most
LARGE = 2048 * 2048  # pixels; on more, measures that look at neighbourhoods take minutes


class _Distance(NamedTuple):
    """A measure with options, under a name of its own."""

    measure: str
    options: dict[str, Any]


DISTANCES: dict[str, _Distance] = {
    "low_resolution_rms": _Distance("low_resolution", {"reduction": "rms"}),
    "low_resolution_mse": _Distance("low_resolution", {"reduction": "mse"}),
    **{
        name: _Distance(name, {})
        for name, row in FIDELITIES.items()
        if not row.files and name != "low_resolution"
    },
}


@torch.no_grad()
def describe_comparison(
    before: Tensor, after: Tensor, prior: Prior, network_calls: float
) -> dict[str, object]:
    """Two pictures compared, for JSON; measured on the CPU, where every measure works.

    Args:
        before, after: RGB in [0, 1], (1, 3, H, W).
        prior: what was climbed; it and its parts are no judges.
        network_calls: how many were made for `after`.
    Returns: "distances" of `after` from `before` by name; "judges", raw scores of both by name;
        "left_out", those of both kinds that could not tell, and why; "changes" with their "words";
        "network_calls".
    """
    before, after = (image.detach().float().cpu().clamp(0, 1) for image in (before, after))
    left_out: dict[str, str] = {}
    distances = _told({name: _distance(name, before, after) for name in DISTANCES}, left_out)
    judges = _told({name: _judge(name, before, after) for name in judges_of(prior)}, left_out)
    changes = measure_changes(before, after)
    return {
        "distances": {name: distance for name, (distance,) in distances.items()},
        "judges": {
            name: {"before": scores[0], "after": scores[1], "range": PRIORS[name].range}
            for name, scores in judges.items()
        },
        "left_out": left_out,
        "changes": {**changes._asdict(), "words": in_words(changes)},
        "network_calls": round(network_calls),
    }


def judges_of(prior: Prior) -> list[str]:
    """Priors that need no file, and that are not part of the one climbed; at most three."""
    free = (name for name, row in PRIORS.items() if not row.files and not row.no_gradient)
    return [name for name in free if name not in prior.ranges][:JUDGES]


def _distance(name: str, before: Tensor, after: Tensor) -> Callable[[], list[float]]:
    def measured() -> list[float]:
        measure, options = DISTANCES[name]
        if FIDELITIES[measure].min_side > 1 and before[0, 0].numel() > LARGE:
            raise ValueError(f"it takes minutes on more than {LARGE} pixels")
        fidelity = load_fidelity(measure, **options)
        check_fidelity(fidelity, before)
        return [float(fidelity(after, before))]

    return measured


def _judge(name: str, before: Tensor, after: Tensor) -> Callable[[], list[float]]:
    def scored() -> list[float]:
        judge = load_prior(name)
        check_prior(judge, before)
        return [float(judge.scores(image)[name]) for image in (before, after)]

    return scored


def _told(
    asked: dict[str, Callable[[], list[float]]], left_out: dict[str, str]
) -> dict[str, list[float]]:
    """The numbers of those that can tell; why not of the others goes to `left_out`."""
    told = {}
    for name, ask in asked.items():
        try:
            numbers = ask()
        except ValueError as error:  # how a measure refuses a picture, e.g. one too small or even
            left_out[name] = str(error)
            continue
        if all(math.isfinite(number) for number in numbers):
            told[name] = numbers
        else:
            left_out[name] = f"it is {numbers}"
    return told
