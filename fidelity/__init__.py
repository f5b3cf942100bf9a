"""D0(x, x_init): how far a picture has moved from its input; 0 when equal, lower is better."""

from functools import partial
from typing import Any, Protocol

from torch import Tensor

from .low_resolution import low_resolution_distance
from .pixel import mean_absolute_error, mean_squared_error


class Fidelity(Protocol):
    """A distance of two pictures (B, 3, H, W) in [0, 1], per item (B,), differentiable."""

    def __call__(self, x: Tensor, x_init: Tensor, /) -> Tensor: ...


FIDELITIES = {
    "low_resolution": low_resolution_distance,
    "mse": mean_squared_error,
    "mae": mean_absolute_error,
}


def load_fidelity(name: str, **options: Any) -> Fidelity:
    """A fidelity term by name; `scale` and `reduction` are options of "low_resolution".

    Raises: ValueError for an unknown name, or options it does not have or cannot take.
    """
    if name not in FIDELITIES:
        raise ValueError(f"unknown fidelity {name!r}: choose from {', '.join(FIDELITIES)}")
    if options and name != "low_resolution":
        raise ValueError(f"fidelity {name!r} has no options, got {', '.join(options)}")
    if unknown := options.keys() - {"scale", "reduction"}:
        raise ValueError(f"unknown options {', '.join(sorted(unknown))}: choose scale, reduction")
    if options.get("scale", 1) < 1:
        raise ValueError(f"fidelity scale {options['scale']} must be 1 or more")
    if options.get("reduction", "mse") not in ("mse", "rms", "l2"):
        raise ValueError(f"unknown reduction {options['reduction']!r}: choose mse, rms or l2")
    return partial(FIDELITIES[name], **options)
