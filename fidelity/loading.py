"""Loading a measure of the catalogue: its options, its file."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..files.downloads import fetch_files
from ..files.weight_files import find_files
from .catalog import FIDELITIES, REFUSED, Device, FidelityRow
from .choices import CHOICES, check_choice
from .fidelity import Fidelity

MISSING = " (file missing)"


def load_fidelity(
    name: str,
    device: Device = "cpu",
    path: Path | str | None = None,
    folders: Sequence[Path] = (),
    download: bool = False,
    **options: Any,
) -> Fidelity:
    """A fidelity term by name.

    Args:
        name: one of FIDELITIES.
        device: where a network's weights go; pictures must be there too.
        path: its weight file, or the folder of it.
        folders: looked in for it before LATENT_MAP_MODELS/iqa and other programs' caches.
        download: fetch a missing file into LATENT_MAP_MODELS/iqa or torchvision's cache; nothing
            is fetched otherwise.
        options: `scale` and `reduction` of low_resolution; `sigma` of pamse; `planes` of the
            measures of grey pictures.
    Raises: ValueError for an unknown name, a missing or unusable file, or options it does not have
        or cannot take; OSError when a download fails.
    """
    row = _row(name)
    _check_options(name, row, options)
    if row.measure is not None:
        return partial(row.measure, **options)
    if row.load is None or row.file is None:
        raise ValueError(f"fidelity {name!r} has no measure and no file: mend its row")
    if download and path is None and missing_file(name, folders):
        fetch_files([row.file])
    return row.load(device, *find_files("fidelity", name, [row.file], folders, path))


def available(folders: Sequence[Path] = ()) -> list[str]:
    """Names for a list of choices; one whose file is missing ends in " (file missing)"."""
    return [name + (MISSING if missing_file(name, folders) else "") for name in FIDELITIES]


def missing_file(name: str, folders: Sequence[Path] = ()) -> str:
    """What to do about a measure's missing file, or nothing if it can be used.

    Args:
        name: one of FIDELITIES, with or without its note in the list.
        folders: as for `load_fidelity`.
    Raises: ValueError for an unknown name.
    """
    name = name.removesuffix(MISSING)
    row = _row(name)
    if row.file is None:
        return ""
    try:
        find_files("fidelity", name, [row.file], folders)
    except ValueError as error:
        return str(error)
    return ""


def _row(name: str) -> FidelityRow:
    if name in REFUSED:
        raise ValueError(f"fidelity {name!r} is not offered: {REFUSED[name]}; choose another")
    if name not in FIDELITIES:
        raise ValueError(f"unknown fidelity {name!r}: choose from {', '.join(FIDELITIES)}")
    return FIDELITIES[name]


def _check_options(name: str, row: FidelityRow, options: dict[str, Any]) -> None:
    if options and not row.options:
        raise ValueError(f"fidelity {name!r} has no options, got {', '.join(options)}")
    if unknown := options.keys() - set(row.options):
        raise ValueError(
            f"unknown options {', '.join(sorted(unknown))}: choose {', '.join(row.options)}"
        )
    if options.get("scale", 1) < 1:
        raise ValueError(f"fidelity scale {options['scale']} must be 1 or more")
    sigma = options.get("sigma", 1)
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"fidelity sigma {sigma} must be above 0")
    for option, choices in CHOICES.items():
        check_choice(option, options.get(option, choices[0]), choices)
