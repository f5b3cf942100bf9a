"""latent-map calibrate: constants of Eq. (21) from opinion scores or from photographs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.distinct import check_distinct
from .arguments import option
from .device import check_device, device_option
from .failures import EXPECTED, tell

if TYPE_CHECKING:
    from ..iqa_priors.calibration import Calibration

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which prior, and what it is fitted to."""

    prior: str = option("name of the prior")
    scores: Path | None = option(
        "CSV file with the columns score and mos", default=None, one_of="data"
    )
    folder: Path | None = option(
        "photographs: median and spread, no opinions", default=None, one_of="data"
    )
    scale: tuple[float, float] | None = option(
        "ends of the opinions' scale (100 0 for DMOS); default: the extremes in the file",
        default=None,
        metavar=("WORST", "BEST"),
    )
    output: Path = option("JSON file", "-o", "--output")
    device: str = device_option()


def run(options: Options) -> int:
    """Fit xi3 and xi4 of one prior and write them as JSON.

    Returns: 0. Raises: ValueError for what cannot be calibrated.
    """
    from ..files.pictures import check_no_picture, find_pictures
    from ..files.written import check_writable
    from ..iqa_priors.calibration import FEWEST, save_calibration
    from ..iqa_priors.catalog import PRIORS

    if options.prior not in PRIORS:
        raise ValueError(f"unknown prior {options.prior!r}: choose from {', '.join(PRIORS)}")
    if options.folder and options.scale:
        raise ValueError("--scale is the opinions': it goes with --scores")
    if options.folder and not options.folder.is_dir():
        raise ValueError(f"there is no folder {options.folder}: give one of photographs")
    read = find_pictures(options.folder) if options.folder else [options.scores]
    check_distinct((options.output,), read)
    check_no_picture(options.output, "a calibration", ".json")
    check_writable(options.output, streams=True)
    if options.folder and len(read) < FEWEST:
        raise ValueError(
            f"{options.folder} holds {len(read)} pictures, too few to calibrate: give at least "
            f"{FEWEST}"
        )
    calibration = _fitted(options, PRIORS[options.prior].lower_better)
    save_calibration(options.output, calibration)
    print(f"{options.output}: {_described(calibration)}")
    return 0


def _fitted(options: Options, lower_better: bool) -> Calibration:
    from ..iqa_priors.calibration import calibrate_to_opinions, calibrate_to_scores, read_scores

    prior, file, folder = options.prior, options.scores, options.folder
    if folder is not None:
        scores = _scores_of(folder, prior, options.device)
        return calibrate_to_scores(prior, scores, lower_better, folder.name)
    if file is None:
        raise ValueError("there is nothing to fit to: give --scores or --folder")
    scores, opinions = read_scores(file)
    return calibrate_to_opinions(prior, scores, opinions, lower_better, options.scale, file.name)


def _scores_of(folder: Path, name: str, device: str) -> list[float]:
    """Raw scores of a folder's pictures by the published rule; unusable ones are passed over."""
    import torch

    from ..files.image_values import even_remarks
    from ..files.pictures import find_pictures, left_out, read_picture
    from ..iqa_priors.loading import load_prior
    from ..iqa_priors.prior import check_prior

    check_device(device)
    prior, scores = load_prior(name, device), []
    if missed := left_out(folder).partition(" (--rec")[0]:
        log.warning("%s: left out %s", folder, missed)
    for file in find_pictures(folder):
        try:
            pixels = read_picture(file).pixels.to(device)
            check_prior(prior, pixels)
            for remark in even_remarks(pixels):
                raise ValueError(f"left out, since the {remark}")
            with torch.no_grad():
                scores.append(float(prior.scores(pixels)[name]))
        except EXPECTED as error:
            tell(file, error)
    return scores


def _described(fit: Calibration) -> str:
    text = f"{fit.prior} xi3 {fit.xi3:.5g} xi4 {fit.xi4:.5g}, {fit.n} scores"
    if fit.plcc is None:
        return f"{text}, median and spread (no opinions)"
    return f"{text}, PLCC {fit.plcc:.4f} SRCC {fit.srcc:.4f} RMSE {fit.rmse:.4f}"
