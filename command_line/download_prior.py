"""The explicit download of a prior's weights."""

import argparse
from pathlib import Path

from tqdm import tqdm

from ..iqa_priors import PRIORS, download_file
from ..iqa_priors.files import standard_folders


def download_prior(options: argparse.Namespace) -> int:
    """Fetch the files of a prior into a folder where it looks for them. Returns: 0."""
    row = PRIORS.get(options.prior)
    if row is None or not row.files:
        needing = ", ".join(name for name, other in PRIORS.items() if other.files)
        raise ValueError(f"{options.prior!r} needs no file: choose from {needing}")
    folder = Path(options.folder or standard_folders()[0])
    for file in row.files:
        if not file.url:
            raise ValueError(
                f"nobody publishes {file.name}: put your own into {folder} (docs/priors.md)"
            )
        with tqdm(desc=file.name, unit="B", unit_scale=True, disable=None) as bar:

            def show(done: int, total: int, bar: tqdm = bar) -> None:
                bar.total = total or None
                bar.update(done - bar.n)

            print(download_file(file, folder, show))
    return 0
