"""Packages that only some of the models need: what is said where one is not installed."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple


class Package(NamedTuple):
    """A package that is not needed by everybody.

    Attributes:
        about: what it brings along, and its licence.
        requirement: what pip is asked for.
    """

    about: str
    requirement: str


PACKAGES = {
    "pyiqa": Package(
        "1.1 GB with what it needs; licensed for noncommercial use only (PolyForm Noncommercial "
        "1.0.0)",
        "pyiqa>=0.1.13",
    ),
    "diffusers": Package("5 MB; Apache-2.0", "diffusers>=0.31"),
    "timm": Package("3 MB; Apache-2.0", "timm>=1.0"),
}


def missing_packages(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [name for name in names if find_spec(name) is None]


def package_message(what: str, names: Iterable[str]) -> str:
    """What to do where packages are missing; nothing if none is.

    Args:
        what: needs them, as "prior 'dbcnn'".
        names: of PACKAGES.
    """
    missing = missing_packages(names)
    if not missing:
        return ""
    about = "; ".join(f"{name}: {PACKAGES[name].about}" for name in missing)
    wanted = " ".join(f'"{PACKAGES[name].requirement}"' for name in missing)
    return (
        f"{what} runs on {' and '.join(missing)}, not installed here ({about}): run "
        f"`{sys.executable} -m pip install {wanted}` and start again, or choose another"
    )


def need_packages(what: str, *names: str) -> None:
    """Raise ValueError, with the remedy, where packages are missing: see `package_message`."""
    if message := package_message(what, names):
        raise ValueError(message)
