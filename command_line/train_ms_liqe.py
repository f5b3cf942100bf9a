"""latent-map train-ms-liqe: the paper's quality model, from a TOML or JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .arguments import argument
from .device import check_device, device_option

if TYPE_CHECKING:
    from ..iqa_priors.training.opinion_data import Dataset

KEYS = {"clip", "out", "training", "datasets"}
DATASET_KEYS = {"name", "images", "train", "validation", "batch"}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the configuration is."""

    config: Path = argument("TOML or JSON file, see docs/ms_liqe.md")
    device: str = device_option()


def run(options: Options) -> int:
    """Train, or go on, as the configuration says; all files are checked first.

    Returns: 0. Raises: ValueError for what cannot be used.
    """
    from ..iqa_priors.training.ms_liqe import OPTION_NAMES, MsLiqeOptions, train_ms_liqe

    check_device(options.device)
    config = read_config(options.config)
    _check_keys(config, KEYS, {"training"}, str(options.config))
    folder = options.config.parent
    settings = config.get("training", {})
    _check_keys(settings, set(OPTION_NAMES), set(OPTION_NAMES), f"training in {options.config}")
    try:
        chosen = MsLiqeOptions(**settings)
    except TypeError as error:
        raise ValueError(f"training in {options.config}: {error}") from None
    datasets = tuple(_dataset(entry, options.config) for entry in config["datasets"])
    names = [dataset.name for dataset in datasets]
    if not datasets or len(set(names)) < len(names):
        raise ValueError(f"{options.config} needs datasets, each of another name; found {names}")
    clip, out = folder / config["clip"], folder / config["out"]
    print(train_ms_liqe(clip, datasets, out, chosen, options.device))
    return 0


def read_config(path: Path) -> dict[str, Any]:
    """A TOML or JSON file's table.

    Raises: ValueError if it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            table = json.loads(text)
        else:
            import tomllib

            table = tomllib.loads(text)
    except ModuleNotFoundError:
        raise ValueError(f"{path}: TOML needs Python 3.11: write the same as JSON") from None
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path} ({error}): give a TOML or JSON file") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} holds no table: see docs/ms_liqe.md")
    return table


def _dataset(entry: dict[str, Any], config: Path) -> Dataset:
    from ..iqa_priors.training.opinion_data import Dataset, read_opinions

    where = f"dataset {entry.get('name', '')!r} in {config}"
    _check_keys(entry, DATASET_KEYS | {"falling"}, {"falling"}, where)
    batch, folder = entry["batch"], config.parent
    images, falling = folder / entry["images"], bool(entry.get("falling", False))
    lists = [read_opinions(folder / entry[k], images, falling) for k in ("train", "validation")]
    if not isinstance(batch, int) or not 2 <= batch <= len(lists[0]):
        raise ValueError(f"{where}: batch {batch} must be from 2 to its {len(lists[0])} pictures")
    train, validation = lists
    return Dataset(str(entry["name"]), train, validation, batch)


def _check_keys(given: dict[str, Any], known: set[str], optional: set[str], where: str) -> None:
    for problem, names in (
        ("does not know", given.keys() - known),
        ("lacks", known - optional - given.keys()),
    ):
        if names:
            allowed = ", ".join(sorted(known))
            raise ValueError(f"{where} {problem} {', '.join(sorted(names))}: it takes {allowed}")
