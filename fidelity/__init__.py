"""D0(x, x_init): how far a picture has moved from its input; 0 when equal, lower is better."""

from .catalog import FIDELITIES, REFUSED, Fidelity, FidelityRow
from .loading import available, load_fidelity, missing_file

__all__ = [
    "FIDELITIES",
    "REFUSED",
    "Fidelity",
    "FidelityRow",
    "available",
    "load_fidelity",
    "missing_file",
]
