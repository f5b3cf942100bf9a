"""Loading a prior of the catalogue: its files, its network, its logistic."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from ..files.catalog import choose_row, what_is_missing
from ..files.json_files import FLAG, check_table, nonzero, number, parse_json, text
from ..files.packages import need_packages
from ..files.weight_files import find_files
from ..files.weights import fingerprint
from .catalog import PRIORS
from .choices import Crops
from .logistic import Logistic
from .prior import QualityPrior
from .prior_row import PriorRow
from .pyiqa.catalog import REFUSED
from .views import check_views

MAKE_ONE = "it needs prior, xi3 and xi4; make it with the calibrate command"
CALIBRATION = {
    "prior": text(),
    "xi3": number(-1e9, 1e9),
    "xi4": nonzero(number(-1e9, 1e9)),
    "lower_better": FLAG,
}

NEEDED = ("prior", "xi3", "xi4")


def read_calibration(path: Path) -> dict[str, Any]:
    """What the calibrate command wrote, checked. Raises ValueError if it is none."""
    content = parse_json(path, "calibration", MAKE_ONE)
    check_table(content, CALIBRATION, NEEDED, f"{path} is no calibration", MAKE_ONE)
    return content


def load_prior(
    name: str,
    device: str | torch.device = "cpu",
    calibration: Mapping[str, Any] | Path | str | None = None,
    crops: Crops = "cover",
    path: Path | str | None = None,
    folders: Sequence[Path] = (),
    views: int = 1,
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
        views: how many views of a picture it judges by, 1 to 4; see views.py.
    Raises: ValueError for an unknown name, a missing package, a missing or unusable file, a number
        of views that there is not, or a calibration of another prior.
    """
    row = choose_row("prior", PRIORS, REFUSED, name)
    if crops not in get_args(Crops):
        raise ValueError(f"unknown crops {crops!r}: choose {' or '.join(get_args(Crops))}")
    check_views(views)
    logistic = _logistic(name, row, calibration)
    need_packages(f"prior {name!r}", *row.packages)
    paths = find_files("prior", name, row.files, folders, path)
    scorer = row.load(device, paths)
    metric = scorer.official
    variant = [f"of {fingerprint(paths)[:16]}"] if paths else []
    if calibration is not None:
        variant.append(f"calibrated at {logistic.xi3!r}, {logistic.xi4!r}")
    if crops == "official" and scorer.covering is not None:
        variant.append("by official crops")
    if crops == "cover" and scorer.covering is not None:
        metric = scorer.covering
    return QualityPrior(
        name,
        metric,
        logistic,
        min_side=row.min_side,
        official=scorer.official,
        local=scorer.local,
        no_gradient=row.no_gradient,
        range=row.range,
        views=views,
        variant=" ".join(variant),
        capturable=row.capturable,
    )


def missing_prior(name: str, folders: Sequence[Path] = ()) -> str:
    """What a prior lacks, where that was looked for, and the remedy; nothing if it lacks nothing.

    Args:
        name: one of PRIORS.
        folders: as for `load_prior`.
    Raises: ValueError for an unknown name.
    """
    return what_is_missing("prior", name, choose_row("prior", PRIORS, REFUSED, name), folders)


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
    if isinstance(calibration, Mapping):
        where, given = "the calibration", calibration
        check_table(given, CALIBRATION, NEEDED, f"{where} is no calibration", MAKE_ONE)
    else:
        where, given = str(calibration), read_calibration(Path(calibration))
    other, xi3, xi4 = given["prior"], float(given["xi3"]), float(given["xi4"])
    lower_better = given.get("lower_better", row.lower_better)
    if other != name or lower_better != row.lower_better:
        raise ValueError(
            f"{where} is for {other!r} (lower_better {lower_better}), not for {name!r} "
            f"(lower_better {row.lower_better}): choose that prior, or calibrate this one"
        )
    return Logistic(xi3, xi4, lower_better)
