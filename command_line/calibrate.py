"""latent-map calibrate: constants of Eq. (21) from opinion scores or from photographs."""

import argparse
import logging
from pathlib import Path

import torch

from ..files.pictures import find_pictures, read_picture
from ..files.state_file import check_writable
from ..iqa_priors.calibration import (
    Calibration,
    calibrate_to_opinions,
    calibrate_to_scores,
    read_scores,
    save_calibration,
)
from ..iqa_priors.catalog import PRIORS
from ..iqa_priors.loading import load_prior
from ..map_estimation.enhance import check_prior
from .failures import EXPECTED, tell
from .plan import check_device, check_distinct

log = logging.getLogger(__name__)


def calibrate(options: argparse.Namespace) -> int:
    """Fit xi3 and xi4 of one prior and write them as JSON.

    Returns: 0. Raises: ValueError for what cannot be calibrated.
    """
    if options.prior not in PRIORS:
        raise ValueError(f"unknown prior {options.prior!r}: choose from {', '.join(PRIORS)}")
    check_writable(options.output)
    lower_better = PRIORS[options.prior].lower_better
    if options.scores is not None:
        check_distinct((options.scores, options.output))
        scores, opinions = read_scores(options.scores)
        limits = tuple(options.scale) if options.scale else None
        found = calibrate_to_opinions(
            options.prior, scores, opinions, lower_better, limits, options.scores.name
        )
    elif options.scale:
        raise ValueError("--scale is the opinions': it goes with --scores")
    else:
        scores = _scores_of(options.folder, options.prior, options.device)
        found = calibrate_to_scores(options.prior, scores, lower_better, options.folder.name)
    save_calibration(options.output, found)
    print(f"{options.output}: {_described(found)}")
    return 0


def _scores_of(folder: Path, name: str, device: str) -> list[float]:
    """Raw scores of a folder's pictures by the published rule; unusable ones are passed over."""
    check_device(device)
    prior, scores = load_prior(name, device), []
    for file in find_pictures(folder):
        try:
            pixels = read_picture(file).pixels.to(device)
            check_prior(prior, pixels)
            with torch.no_grad():
                scores.append(float(prior.scores(pixels)[name]))
        except EXPECTED as error:
            tell(file, error)
    return scores


def _described(found: Calibration) -> str:
    text = f"{found.prior} xi3 {found.xi3:.5g} xi4 {found.xi4:.5g}, {found.n} scores"
    if found.plcc is None:
        return f"{text}, median and spread (no opinions)"
    return f"{text}, PLCC {found.plcc:.4f} SRCC {found.srcc:.4f} RMSE {found.rmse:.4f}"
