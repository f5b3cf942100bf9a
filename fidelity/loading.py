"""Loading a measure of the catalogue: its options, its file."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from ..files.catalog import choose_row, missing_files, what_is_missing
from ..files.downloads import fetch_files
from ..files.weight_files import find_files
from ..files.weights import fingerprint
from .catalog import FIDELITIES, REFUSED
from .choices import CHOICES, check_choice
from .fidelity import MeasuredFidelity
from .fidelity_row import FidelityRow


def load_fidelity(
    name: str,
    device: str | torch.device = "cpu",
    path: Path | str | None = None,
    folders: Sequence[Path] = (),
    download: bool = False,
    **options: Any,
) -> MeasuredFidelity:
    """A fidelity term by name.

    Args:
        name: one of FIDELITIES.
        device: where a network's weights go; pictures must be there too.
        path: its weight file, or the folder of it.
        folders: looked in for it before LATENT_MAP_MODELS/iqa and other programs' caches.
        download: fetch a missing file into LATENT_MAP_MODELS/iqa or torchvision's cache; nothing
            is fetched otherwise.
        options: `scale` (4) and `reduction` ("rms") of low_resolution; `sigma` of pamse; `planes`
            of the measures of grey pictures.
    Raises: ValueError for an unknown name, a missing or unusable file, or options it does not have
        or cannot take; OSError when a download fails.
    """
    row = choose_row("fidelity", FIDELITIES, REFUSED, name)
    _check_options(name, row, options)
    if download and path is None and missing_files(row, folders):
        fetch_files(row.files)
    options = {**row.defaults, **options}
    paths = find_files("fidelity", name, row.files, folders, path)
    measure = row.load(device, paths)
    weights = f"of {fingerprint(paths)[:16]}" if paths else ""
    return MeasuredFidelity(name, measure, row.min_side, options, row.known_as, row.unsaid, weights)


def missing_fidelity(name: str, folders: Sequence[Path] = ()) -> str:
    """What a measure lacks, where that was looked for, and the remedy; nothing if it lacks nothing.

    Args:
        name: one of FIDELITIES.
        folders: as for `load_fidelity`.
    Raises: ValueError for an unknown name.
    """
    row = choose_row("fidelity", FIDELITIES, REFUSED, name)
    return what_is_missing("fidelity", name, row, folders)


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
