"""How a picture is inverted: what the user chooses, and how saved states keep it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from .bijections import BIJECTIONS, BijectionOptions, bijection_options, name_of
from .bijections.edict import EdictOptions
from .choices import Spacing
from .schedule import TRAIN_STEPS, kept_steps

# Options of bijections that states of version 0.1 kept beside the others, for all bijections.
_FLAT = {"edict": ("mixing", "order"), "bdia": ("gamma",), "obelm": ()}


@dataclass(frozen=True)
class InversionOptions:
    """How a picture is inverted.

    Attributes:
        steps: diffusion steps T, 1 to 1000.
        spacing: "trailing" (ends at alpha = 1) or "leading" (EDICT's own).
        strength: share of the schedule to invert, in (0, 1]; 1 goes all the way to noise.
        tile: side in pixels of the tiles the networks work on, a multiple of the backbone's; they
            are part of the map. None is the picture as a whole, "auto" the largest tile that fits
            into the free memory. Where memory runs out, tiles get smaller.
        bijection: options of the exact bijection, which choose it. EDICT's couple two latents, with
            two network calls a step and two pictures to decode and score; BDIA and O-BELM need one
            of each: see bijections/.
    """

    steps: int = 20
    spacing: Spacing = "trailing"
    strength: float = 1.0
    tile: int | Literal["auto"] | None = "auto"
    bijection: BijectionOptions = field(default_factory=EdictOptions)

    def __post_init__(self):
        if not 1 <= self.steps <= TRAIN_STEPS:
            raise ValueError(f"{self.steps} diffusion steps: choose from 1 to {TRAIN_STEPS}")
        if self.spacing not in get_args(Spacing):
            raise ValueError(
                f"unknown spacing {self.spacing!r}: choose {' or '.join(get_args(Spacing))}"
            )
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength {self.strength} must lie in (0, 1]")
        if self.tile not in ("auto", None) and not (isinstance(self.tile, int) and self.tile > 0):
            raise ValueError(f"tile {self.tile!r} must be a number of pixels, auto or none")
        if type(self.bijection) not in BIJECTIONS.values():
            raise ValueError(
                f"bijection {self.bijection!r} must be options of one: "
                f"bijection_options(name) with {', '.join(BIJECTIONS)}"
            )
        self.bijection.check(self.steps, kept_steps(self.steps, self.strength))


def describe_options(options: InversionOptions) -> dict[str, Any]:
    """The options as JSON types, for states and reports."""
    bijection = {"name": name_of(options.bijection), **asdict(options.bijection)}
    return {**asdict(options), "bijection": bijection}


def options_from(described: Mapping[str, Any]) -> InversionOptions:
    """The options that `describe_options` described, also those of states of version 0.1.

    Raises: ValueError for what is no such description.
    """
    try:
        given = _nested(dict(described))
        bijection = bijection_options(**given.pop("bijection", {"name": "edict"}))
        return InversionOptions(**given, bijection=bijection)
    except TypeError as error:
        raise ValueError(f"these are no inversion options ({error})") from error


def _nested(given: dict[str, Any]) -> dict[str, Any]:
    """Version 0.1 kept the options of all bijections flat, and its first states had no tiles."""
    if "bijection" in given:
        return given
    name = given.pop("coupling", "edict")
    flat = {option: given.pop(option, None) for options in _FLAT.values() for option in options}
    own = {option: flat[option] for option in _FLAT.get(name, ()) if flat[option] is not None}
    return {"tile": None, **given, "bijection": {"name": name, **own}}
