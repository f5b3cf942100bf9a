"""Exact bijections between pictures and noise, one file each."""

import dataclasses
from typing import Any

from .bdia import BdiaOptions
from .bijection import BijectionOptions
from .edict import EdictOptions
from .obelm import OBelmOptions

BIJECTIONS: dict[str, type[BijectionOptions]] = {
    "edict": EdictOptions,
    "bdia": BdiaOptions,
    "obelm": OBelmOptions,
}


def option_names(name: str) -> list[str]:
    """What a bijection leaves to choose. Raises ValueError for an unknown name."""
    if name not in BIJECTIONS:
        raise ValueError(f"unknown bijection {name!r}: choose {', '.join(BIJECTIONS)}")
    return [field.name for field in dataclasses.fields(BIJECTIONS[name])]


def bijection_options(name: str, **options: Any) -> BijectionOptions:
    """The options of a bijection by its name.

    Raises: ValueError for an unknown name or an option that it does not have.
    """
    known = option_names(name)
    if unknown := [option for option in options if option not in known]:
        raise ValueError(
            f"the bijection {name} has no {', '.join(unknown)}: it takes "
            f"{', '.join(known) or 'no options'}"
        )
    return BIJECTIONS[name](**options)


def changed(options: BijectionOptions, name: str | None = None, **given: Any) -> BijectionOptions:
    """Options with some given otherwise; another bijection's if `name` is another.

    Raises: ValueError for an unknown name or an option that the bijection does not have.
    """
    own = name_of(options)
    if name not in (None, own):
        return bijection_options(name, **given)
    return bijection_options(own, **{**dataclasses.asdict(options), **given})


def name_of(options: BijectionOptions) -> str:
    """The name of the bijection that options are for."""
    return next(name for name, kind in BIJECTIONS.items() if type(options) is kind)
