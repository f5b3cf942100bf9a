"""Which bijection a command inverts with."""

from dataclasses import dataclass
from typing import Any, Literal

from .arguments import option


@dataclass(frozen=True, kw_only=True)
class BijectionChoice:
    """One of the bijections, and its options; None where not given."""

    bijection: Literal["edict", "bdia", "obelm"] | None = option(
        "edict calls the network twice a step, the others once; default: the preset's",
        default=None,
    )
    gamma: float | None = option("of bdia, in (0, 1]; default 1", default=None)

    def given(self) -> dict[str, Any]:
        """The `InversionOptions` that were given.

        Raises: ValueError for a gamma without BDIA.
        """
        if self.gamma is not None and self.bijection != "bdia":
            raise ValueError("--gamma is BDIA's: give --bijection bdia with it, or leave it out")
        chosen = {"coupling": self.bijection, "gamma": self.gamma}
        return {name: value for name, value in chosen.items() if value is not None}
