"""latent-map download-prior: the weights of a prior."""

from dataclasses import dataclass

from .arguments import argument
from .download_weights import Destination, download_weights


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which prior, and where its weights go."""

    name: str = argument("one of docs/priors.md")
    destination: Destination


def run(options: Options) -> int:
    """Fetch the files of a prior to where it looks for them."""
    from ..iqa_priors.catalog import PRIORS

    files = {name: row.files for name, row in PRIORS.items()}
    return download_weights(options.name, files, options.destination)
