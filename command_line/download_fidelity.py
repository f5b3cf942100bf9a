"""The explicit download of a fidelity measure's weights."""

import argparse

from ..fidelity import FIDELITIES
from ..fidelity.files import download_file


def download_fidelity(options: argparse.Namespace) -> int:
    """Fetch the file into torchvision's cache or a folder, checked. Returns: 0."""
    row = FIDELITIES.get(options.measure)
    if row is None or row.file is None:
        needing = ", ".join(name for name, other in FIDELITIES.items() if other.file)
        raise ValueError(f"{options.measure!r} needs no file: choose from {needing}")
    print(download_file(row.file, options.folder))
    return 0
