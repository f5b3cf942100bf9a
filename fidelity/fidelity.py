"""The fidelity term: a distance of two pictures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor

Measure = Callable[..., Tensor]


class Fidelity(Protocol):
    """D0(x, x_init): how far pictures have moved from their input; 0 when equal, differentiable."""

    @property
    def name(self) -> str:
        """The measure's name, for errors."""
        ...

    @property
    def identity(self) -> str:
        """What measure with what options: a saved run goes on only with the same."""
        ...

    @property
    def min_side(self) -> int:
        """Smallest side in pixels that it takes."""
        ...

    def __call__(self, x: Tensor, x_init: Tensor, /) -> Tensor:
        """Distance of two pictures (B, 3, H, W), RGB in [0, 1]: shape (B,)."""
        ...


@dataclass(frozen=True)
class MeasuredFidelity:
    """A measure with its options.

    Attributes:
        name: the measure's name.
        measure: two pictures (B, 3, H, W) in [0, 1], and options, to distances (B,).
        min_side: smallest side in pixels that it takes.
        options: given to the measure by name.
        known_as: what saved runs call the measure; its name where that is empty.
        unsaid: options that saved runs do not tell.
        weights: its weight files by a hash; empty without such.
    """

    name: str
    measure: Measure
    min_side: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    known_as: str = ""
    unsaid: Mapping[str, Any] = field(default_factory=dict)
    weights: str = ""

    @property
    def identity(self) -> str:
        """As in "low_resolution_distance {'scale': 2}", and which weights."""
        said = {k: v for k, v in self.options.items() if self.unsaid.get(k) != v}
        parts = (self.known_as or self.name, str(said or ""), self.weights)
        return " ".join(part for part in parts if part)

    def __call__(self, x: Tensor, x_init: Tensor, /) -> Tensor:
        """Distances, shape (B,)."""
        return self.measure(x, x_init, **self.options)


def check_fidelity(fidelity: Fidelity, image: Tensor) -> None:
    """Raise ValueError if the picture is too small for the measure."""
    height, width = image.shape[-2:]
    if min(height, width) < fidelity.min_side:
        raise ValueError(
            f"picture is {width}x{height} pixels, fidelity {fidelity.name!r} needs "
            f"{fidelity.min_side} a side: enlarge the picture or choose another fidelity"
        )
