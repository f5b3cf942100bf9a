"""latent-map train-ms-liqe: the paper's quality model, from a TOML or JSON file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files.distinct import check_distinct
from ..files.json_files import (
    FLAG,
    NAME,
    TABLE,
    check_table,
    parse_json,
    sequence,
    whole,
)
from ..files.toml_files import parse_toml
from .arguments import argument
from .device import check_device, device_option

if TYPE_CHECKING:
    from ..iqa_priors.training.opinion_data import Dataset

REMEDY = "see docs/ms_liqe.md"
CONFIG = {
    "clip": NAME,
    "out": NAME,
    "training": TABLE,
    "datasets": sequence(TABLE, 0, 1000),
}
DATASET = {
    **dict.fromkeys(("name", "images", "train", "validation"), NAME),
    "batch": whole(2, 1_000_000),
    "falling": FLAG,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """Where the configuration is."""

    config: Path = argument("TOML or JSON file, see docs/ms_liqe.md")
    device: str = device_option()


def run(options: Options) -> int:
    """Train, or go on, as the configuration says; all files are checked first.

    Returns: 0. Raises: ValueError for what cannot be used.
    """
    from ..iqa_priors.training.ms_liqe import (
        OPTION_NAMES,
        RULES,
        MsLiqeOptions,
        train_ms_liqe,
        written_files,
    )

    check_device(options.device)
    config = read_config(options.config)
    _check_keys(config, set(CONFIG), {"training"}, str(options.config))
    check_table(config, CONFIG, (), str(options.config), REMEDY)
    folder = options.config.parent
    settings = config.get("training", {})
    _check_keys(settings, set(OPTION_NAMES), set(OPTION_NAMES), f"training in {options.config}")
    check_table(settings, RULES, (), f"training in {options.config}", REMEDY)
    chosen = MsLiqeOptions(**settings)
    datasets = tuple(_dataset(entry, options.config) for entry in config["datasets"])
    names = [dataset.name for dataset in datasets]
    if not datasets or len(set(names)) < len(names):
        raise ValueError(f"{options.config} needs datasets, each of another name; found {names}")
    clip, out = folder / config["clip"], folder / config["out"]
    lists = [
        folder / entry[part] for entry in config["datasets"] for part in ("train", "validation")
    ]
    check_distinct(written_files(out), (options.config, clip, *lists))
    train_ms_liqe(clip, datasets, out, chosen, options.device)
    weights, checkpoint, log = written_files(out)
    print(
        f"{weights}: the weights of the best epoch; {log}: every epoch; {checkpoint}: what more "
        "epochs go on from"
    )
    return 0


def read_config(path: Path) -> dict[str, Any]:
    """A TOML or JSON file's table.

    Raises: ValueError if it cannot be read.
    """
    if path.suffix.lower() == ".json":
        table = parse_json(path, "configuration", "give a TOML or JSON file")
    else:
        table = parse_toml(path, "configuration", "give a TOML or JSON file")
    if not isinstance(table, dict):
        raise ValueError(f"{path} holds no table: see docs/ms_liqe.md")
    return table


def _dataset(entry: dict[str, Any], config: Path) -> Dataset:
    from ..iqa_priors.training.opinion_data import Dataset, read_opinions

    where = f"dataset {entry.get('name', '')!r} in {config}"
    _check_keys(entry, set(DATASET), {"falling"}, where)
    check_table(entry, DATASET, (), where, REMEDY)
    batch, folder = entry["batch"], config.parent
    images, falling = folder / entry["images"], entry.get("falling", False)
    lists = [read_opinions(folder / entry[k], images, falling) for k in ("train", "validation")]
    if batch > len(lists[0]):
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
