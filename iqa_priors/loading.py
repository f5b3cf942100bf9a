"""Loading a prior of the catalogue: its files, its network, its logistic."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ..files.weight_files import WeightFile, find_file, find_files, standard_folders
from ..files.weight_files import missing_message as message_of
from .catalog import PRIORS
from .choices import Crops
from .logistic import Logistic
from .prior import QualityPrior
from .prior_row import Device, PriorRow
from .pyiqa.catalog import REFUSED


def load_prior(
    name: str,
    device: Device = "cpu",
    calibration: Mapping[str, Any] | Path | str | None = None,
    crops: Crops = "cover",
    path: Path | str | None = None,
    folders: Sequence[Path] = (),
) -> QualityPrior:
    """Load a prior by name, with frozen weights.

    Args:
        name: one of PRIORS.
        device: where its weights go; pictures must be there too.
        calibration: constants of Eq. (21) of your own, as read or as the JSON file that the
            calibrate command writes (keys prior, xi3, xi4, lower_better); default built in.
        crops: "cover" has each pixel weigh the same in the quality, "official" follows the
            published choice of crops, which never looks at some borders. Raw scores always do.
        path: its weight file, or the folder of its files.
        folders: looked in for them before LATENT_MAP_MODELS/iqa and other programs' caches.
    Raises: ValueError for an unknown name, a missing or unusable file, or a calibration of
        another prior.
    """
    row = _row(name)
    if crops not in get_args(Crops):
        raise ValueError(f"unknown crops {crops!r}: choose {' or '.join(get_args(Crops))}")
    logistic = _logistic(name, row, calibration)
    paths = find_files("prior", name, row.files, folders, path)
    scorer = row.load(device, paths)
    metric = scorer.official
    if crops == "cover" and scorer.covering is not None:
        metric = scorer.covering
    return QualityPrior(
        name, metric, logistic, row.min_side, scorer.official, scorer.local, row.no_gradient
    )


def missing_files(name: str, folders: Sequence[Path] = ()) -> list[WeightFile]:
    """Files of a prior that are in none of the folders nor the standard ones."""
    looked = (*folders, *standard_folders())
    return [file for file in _row(name).files if find_file(file, looked) is None]


def missing_message(name: str, missing: Sequence[WeightFile], folders: Sequence[Path] = ()) -> str:
    """What a prior lacks, that it is neither in the folders nor the standard ones; the remedy."""
    return message_of("prior", name, missing, (*folders, *standard_folders()))


def _row(name: str) -> PriorRow:
    if name in REFUSED:
        raise ValueError(f"prior {name!r} is not offered: {REFUSED[name]}; choose another prior")
    if name not in PRIORS:
        raise ValueError(f"unknown prior {name!r}: choose from {', '.join(PRIORS)}")
    return PRIORS[name]


def _logistic(
    name: str, row: PriorRow, calibration: Mapping[str, Any] | Path | str | None
) -> Logistic:
    if calibration is None:
        xi3, xi4 = row.constants() if row.constants else (row.xi3, row.xi4)
        if xi3 is None or xi4 is None:
            raise ValueError(f"prior {name!r} has no built-in calibration: give one")
        return Logistic(xi3, xi4, row.lower_better, row.calibrated)
    return _user_logistic(name, row, calibration)


def _user_logistic(
    name: str, row: PriorRow, calibration: Mapping[str, Any] | Path | str
) -> Logistic:
    given = calibration if isinstance(calibration, Mapping) else _read_json(Path(calibration))
    where = "the calibration" if isinstance(calibration, Mapping) else str(calibration)
    try:
        other, xi3, xi4 = given["prior"], float(given["xi3"]), float(given["xi4"])
        lower_better = bool(given.get("lower_better", row.lower_better))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{where} is no calibration ({error!r}): it needs prior, xi3 and xi4; make it again "
            "with the calibrate command"
        ) from error
    if other != name or lower_better != row.lower_better:
        raise ValueError(
            f"{where} is for {other!r} (lower_better {lower_better}), not for {name!r} "
            f"(lower_better {row.lower_better}): choose that prior, or calibrate this one"
        )
    return Logistic(xi3, xi4, lower_better)


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"cannot read the calibration {path} ({error}): make it with the calibrate command"
        ) from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no calibration: make it with the calibrate command")
    return found
