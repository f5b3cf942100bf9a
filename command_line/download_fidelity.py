"""latent-map download-fidelity: the weights of a fidelity measure."""

from dataclasses import dataclass

from .arguments import argument
from .download_weights import Destination, download_weights


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which measure, and where its weights go."""

    name: str = argument("one of docs/fidelity.md")
    destination: Destination


def run(options: Options) -> int:
    """Fetch the file of a measure to where it looks for it."""
    from ..fidelity.catalog import FIDELITIES

    files = {name: row.files for name, row in FIDELITIES.items()}
    return download_weights(options.name, files, options.destination)
