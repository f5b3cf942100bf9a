"""Weight files of priors and measures: where ComfyUI keeps them, and the mark of a missing one."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import folder_paths

FOLDER = "iqa"  # of ComfyUI's models folder, and of extra_model_paths.yaml
MARK = " (file missing)"

# What is missing of a name, in the folders and the standard ones; nothing if it can be used.
Missing = Callable[[str, Sequence[Path]], str]


def model_folders() -> list[Path]:
    """Where ComfyUI keeps weights of quality models: models/iqa, and what the user added."""
    default = os.path.join(folder_paths.models_dir, FOLDER)
    folder_paths.add_model_folder_path(FOLDER, default)
    return [Path(folder) for folder in folder_paths.get_folder_paths(FOLDER)]


def marked(names: Iterable[str], missing: Missing, folders: Sequence[Path]) -> list[str]:
    """Names for a list of choices; one whose file is missing has the mark."""
    return [name + MARK if missing(name, folders) else name for name in names]


def unmarked(name: str) -> str:
    """A name of the list without its mark."""
    return name.removesuffix(MARK)


def usable(name: str, missing: Missing, folders: Sequence[Path]) -> bool | str:
    """True, or why a name of the list, with or without the mark, cannot be loaded."""
    try:
        return missing(unmarked(name), folders) or True
    except ValueError as error:
        return str(error)
