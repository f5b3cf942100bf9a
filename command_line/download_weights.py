"""The explicit download of the weights of a prior or of a fidelity measure."""

import argparse
from collections.abc import Mapping, Sequence

from ..fidelity.catalog import FIDELITIES
from ..files.downloads import fetch_files
from ..files.weight_files import WeightFile
from ..iqa_priors.catalog import PRIORS


def download_prior(options: argparse.Namespace) -> int:
    """Fetch the files of a prior to where it looks for them. Returns: 0."""
    return _download(options, {name: row.files for name, row in PRIORS.items()})


def download_fidelity(options: argparse.Namespace) -> int:
    """Fetch the file of a measure to where it looks for it. Returns: 0."""
    return _download(options, {name: (row.file,) for name, row in FIDELITIES.items() if row.file})


def _download(options: argparse.Namespace, files: Mapping[str, Sequence[WeightFile]]) -> int:
    if not files.get(options.name):
        needing = ", ".join(name for name, needed in files.items() if needed)
        raise ValueError(f"{options.name!r} needs no file: choose from {needing}")
    for path, digest in fetch_files(files[options.name], options.folder).items():
        print(f"{path}  sha256 {digest}")
    return 0
