"""Weight files of priors and measures: where ComfyUI keeps them, and the mark of a missing one."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import folder_paths

from ..files.catalog import CatalogRow, missing_files
from ..files.packages import missing_packages

FOLDER = "iqa"  # of ComfyUI's models folder, and of extra_model_paths.yaml
FILE_MISSING = " (file missing)"

# What is missing of a name, in the folders and the standard ones; nothing if it can be used.
Missing = Callable[[str, Sequence[Path]], str]


def model_folders() -> list[Path]:
    """Where ComfyUI keeps weights of quality models: models/iqa, and what the user added."""
    default = os.path.join(folder_paths.models_dir, FOLDER)
    folder_paths.add_model_folder_path(FOLDER, default)
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]


def marked(rows: Mapping[str, CatalogRow], folders: Sequence[Path]) -> list[str]:
    """Names for a list of choices: first what can be used, then the others, with a mark."""
    marks = {name: _mark(row, folders) for name, row in rows.items()}
    return [name + marks[name] for name in sorted(rows, key=lambda name: bool(marks[name]))]


def _mark(row: CatalogRow, folders: Sequence[Path]) -> str:
    if packages := missing_packages(row.packages):
        return f" (needs {packages[0]})"
    return FILE_MISSING if missing_files(row, folders) else ""


def unmarked(name: str) -> str:
    """A name of the list without its mark."""
    return name.partition(" (")[0]


def usable(name: str, missing: Missing, folders: Sequence[Path]) -> bool | str:
    """True, or why a name of the list, with or without the mark, cannot be loaded."""
    try:
        lacks = missing(unmarked(name), folders)
    except ValueError as error:
        return str(error)
    return f"{lacks}. The node Get Weights fetches files, too" if lacks else True


def facts(name: str, row: CatalogRow, *more: str) -> str:
    """What is known of a model, in a line for the node that has loaded it."""
    files = ", ".join(f"{file.name}, {file.size_mb:.3g} MB" for file in row.files)
    return f"{name}: " + "; ".join((row.summary, row.range, files or "no file", row.licence, *more))
