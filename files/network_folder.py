"""Networks as diffusers and transformers keep them: a folder with config.json and weights."""

from collections.abc import Iterable, Mapping
from pathlib import Path, PureWindowsPath
from typing import Any, NamedTuple

import torch

from .config_rules import TEXT, TEXT_NEEDED
from .json_files import Rule, read_json, table, text
from .reading import FileError
from .stored import Stored
from .weights import find_tensors

_NAMES = table(text())


class Part(NamedTuple):
    """A network on disk: its configuration and its tensors by diffusers' or CLIP's names."""

    config: dict[str, Any]
    tensors: dict[str, Stored]


def find_part(
    folder: Path,
    dtype: torch.dtype,
    classes: Iterable[str],
    rules: Mapping[str, Rule],
    stem: str = "diffusion_pytorch_model",
) -> Part:
    """A network of a diffusers folder: config.json and its weights.

    Args:
        folder: such as CHECKPOINT/unet.
        dtype: chooses between "fp16" and full files where both are there.
        classes: what config.json may call the network.
        rules: what its entries may be.
        stem: beginning of the weight files' names.
    Raises: ValueError if something is missing, damaged, or of another class.
    """
    needed = TEXT_NEEDED if rules is TEXT else ()
    config = read_config(folder / "config.json", rules, needed)
    names = config.get("architectures") or [config.get("_class_name")]
    if not set(names) & set(classes):
        raise ValueError(
            f"{folder} holds {names[0]}, {' or '.join(classes)} is needed: choose an SD 1.5, "
            "SD 2.x or SDXL checkpoint, or the ControlNet of one"
        )
    tensors: dict[str, Stored] = {}
    for file in _weight_files(folder, dtype, stem):
        tensors |= find_tensors(file, f"{folder.name} weights")
    return Part(config, tensors)


def read_config(
    path: Path, rules: Mapping[str, Rule], needed: tuple[str, ...] = ()
) -> dict[str, Any]:
    """One of a folder's JSON files. Raises ValueError if it is missing, damaged, or unfit."""
    if not path.exists():
        raise FileError(f"{path} is missing: the folder is incomplete, fetch it again")
    return read_json(path, "configuration", rules, needed)


def _weight_files(folder: Path, dtype: torch.dtype, stem: str) -> list[Path]:
    """The files of one network: one, or the shards that an index names."""
    variants = ("", ".fp16") if dtype == torch.float32 else (".fp16", "")
    stems = ((stem, "safetensors"), ("pytorch_model" if stem == "model" else stem, "bin"))
    for name, suffix in stems:
        for variant in variants:
            file = folder / f"{name}{variant}.{suffix}"
            if file.exists():
                return [file]
            for index in (f"{name}.{suffix}.index{variant}.json", f"{file.name}.index.json"):
                if (folder / index).exists():
                    return _shards(folder, folder / index)
    raise ValueError(
        f"no weights in {folder}: {stem}.safetensors is wanted (or {stem}.fp16.safetensors); the "
        "folder is incomplete, fetch it again"
    )


def _shards(folder: Path, index: Path) -> list[Path]:
    """The files that an index names, all of them in its folder."""
    content = read_json(index, "index of weights", {"weight_map": _NAMES}, ("weight_map",))
    names = sorted(set(content["weight_map"].values()))
    for name in names:
        if not name or name != PureWindowsPath(name).name or name != Path(name).name:
            raise FileError(
                f"{index} is no usable index of weights (it names {name!r}, which is not in its "
                "folder): fetch it again"
            )
    return [folder / name for name in names]
