"""Packages that only some of the models need: what is said where one is missing or too old."""

import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple


class Package(NamedTuple):
    """A package that is not needed by everybody.

    Attributes:
        about: what it brings along, and its licence.
        least: the oldest version that will do.
    """

    about: str
    least: str


PACKAGES = {
    "pyiqa": Package(
        "1.1 GB with what it needs; licensed for noncommercial use only (PolyForm Noncommercial "
        "1.0.0)",
        "0.1.13",
    ),
    "diffusers": Package("5 MB; Apache-2.0", "0.31"),
    "timm": Package("3 MB; Apache-2.0", "1.0.22"),
}


def missing_packages(names: Iterable[str]) -> list[str]:
    """Those of the packages that are not installed, or too old."""
    return [name for name in names if find_spec(name) is None or _is_too_old(name)]


def requirement(name: str) -> str:
    """What pip is asked for."""
    return f"{name}>={PACKAGES[name].least}"


def _is_too_old(name: str) -> bool:
    installed = _installed(name)
    return installed is not None and _numbers(installed) < _numbers(PACKAGES[name].least)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # importable from a folder of its own: trusted
        return None


def _what_is_here(name: str) -> str:
    if find_spec(name) is None:
        return f"{name}, not installed here"
    return f"{name}, of which {_installed(name)} is too old"


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)[:3]]


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
    wanted = " ".join(f'"{requirement(name)}"' for name in missing)
    return (
        f"{what} runs on {' and '.join(map(_what_is_here, missing))} ({about}): run "
        f"`{sys.executable} -m pip install {wanted}` and start again, or choose another"
    )


def need_packages(what: str, *names: str) -> None:
    """Raise ValueError, with the remedy, where packages are missing: see `package_message`."""
    if message := package_message(what, names):
        raise ValueError(message)
