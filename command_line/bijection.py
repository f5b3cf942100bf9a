"""Which bijection a command inverts with."""

from dataclasses import dataclass
from typing import Any

from ..edict.bijections import BIJECTIONS, BijectionOptions, changed, name_of, option_names
from .arguments import option, options_of


@dataclass(frozen=True, kw_only=True)
class BijectionChoice:
    """One of the bijections, and its options; None where not given."""

    bijection: str | None = option(
        "edict calls the network twice a step, the others once; default: the preset's, edict",
        default=None,
        choices=tuple(BIJECTIONS),
    )
    options: dict[str, Any] = options_of(BIJECTIONS.values)

    def of(self, preset: BijectionOptions) -> BijectionOptions:
        """The preset's bijection, or what was given instead.

        Raises: ValueError for an option that the bijection does not have.
        """
        name = self.bijection or name_of(preset)
        for given in self.options.keys() - set(option_names(name)):
            owners = [other for other in BIJECTIONS if given in option_names(other)]
            raise ValueError(
                f"--{given} does not go with the bijection {name}: give --bijection "
                f"{' or '.join(owners)} with it, or leave it out"
            )
        return changed(preset, name, **self.options)
