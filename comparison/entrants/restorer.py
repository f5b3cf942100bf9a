"""Latent MAP with one prior: the entrant whose results say what the prior takes for better."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...edict.backbones import BACKBONES, chosen_acceleration
from ...edict.bijections import BIJECTIONS, changed
from ...edict.choices import Acceleration
from ...edict.inversion_options import InversionOptions
from ...fidelity.loading import load_fidelity, missing_fidelity
from ...files.json_files import parse_text
from ...files.weight_files import find_file, standard_folders
from ...iqa_priors.catalog import PRIORS
from ...iqa_priors.loading import load_prior, missing_prior, read_calibration
from ...iqa_priors.prior import CombinedPrior, Prior
from ...map_estimation.settings import MapSettings, describe_settings, preset
from ..hashing import file_hash, folder_hash
from ..toml_tables import read_fields, read_table
from .entrant import Made

if TYPE_CHECKING:
    from torch import Tensor

    from ...edict.protocols import Backbone
    from ...fidelity.fidelity import Fidelity

Chosen = dict  # of options by name; TOML's tables


@dataclass(frozen=True)
class RestorerTable:
    """What a study file says of it.

    Attributes:
        name: its name in tables.
        prior: of docs/priors.md, or several with commas for their mean.
        calibration: JSON file of the calibrate command.
        fidelity: of docs/fidelity.md.
        preset: what `settings` and `inversion` start from.
        settings: of `MapSettings`.
        inversion: of `InversionOptions`; its table `bijection` has a name and options.
        backbone: a type of backbone.
        backbone_options: of that type, as path.
        acceleration: how its networks are called, see `load_backbone`.
        compile: another word for the acceleration "compile".
    """

    name: str
    prior: str
    calibration: Path | None = None
    fidelity: str = "low_resolution"
    preset: str = "fast"
    settings: Chosen = field(default_factory=Chosen)
    inversion: Chosen = field(default_factory=Chosen)
    backbone: str = "pocket"
    backbone_options: Chosen = field(default_factory=Chosen)
    acceleration: Acceleration = "auto"
    compile: bool = False


@dataclass(frozen=True)
class Restorer:
    """Latent MAP with its models by name, so that it travels between processes.

    Attributes:
        name: its name in tables.
        priors: at least one; of several the mean.
        calibration: of a single prior, as read.
        fidelity: a measure.
        settings: of the ascent.
        backbone: a type of backbone.
        backbone_options: of that type.
        acceleration: how its networks are called.
        reads: files and folders that were named.
    """

    name: str
    priors: tuple[str, ...]
    calibration: Mapping[str, Any] | None
    fidelity: str
    settings: MapSettings
    backbone: str
    backbone_options: Mapping[str, Any]
    acceleration: Acceleration
    reads: tuple[Path, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        """Its backbone first, which takes longest to load."""
        options = json.dumps(self.backbone_options, sort_keys=True)
        return (self.backbone, options, self.fidelity, *self.priors)

    def check(self, sizes: Mapping[str, tuple[int, int]]) -> None:
        """Raise ValueError for missing weights, or pictures too small for a prior."""
        for missing in (*map(missing_prior, self.priors), self._missing_fidelity()):
            if missing:
                raise ValueError(f"entrant {self.name!r}: {missing}")
        for prior in self.priors:
            for picture, size in sizes.items():
                if min(size) < PRIORS[prior].min_side:
                    raise ValueError(
                        f"entrant {self.name!r}: prior {prior!r} needs {PRIORS[prior].min_side} "
                        f"pixels a side, {picture} is {size[0]}x{size[1]}: exclude it"
                    )

    def _missing_fidelity(self) -> str:
        return missing_fidelity(self.fidelity) if self.settings.use_fidelity else ""

    def describe(self, picture: str) -> dict[str, Any]:  # noqa: ARG002 - the same for all
        """Names, settings, and the content of all weight files that are not the pack's own."""
        return _described(self.name, json.dumps(self._description(), sort_keys=True))

    def _description(self) -> dict[str, Any]:
        return {
            "kind": "restorer",
            "priors": self.priors,
            "calibration": self.calibration,
            "fidelity": self.fidelity if self.settings.use_fidelity else "none",
            "settings": describe_settings(self.settings),
            "backbone": self.backbone,
            "backbone_options": dict(self.backbone_options),
        }

    def make(self, picture: str, pixels: Tensor, device: str) -> Made:  # noqa: ARG002
        """The picture enhanced; the record has energies, scores, calls and seconds.

        Raises: ValueError, RuntimeError as `enhance`.
        """
        from ...map_estimation.enhance import enhance
        from ...map_estimation.enhancer import Enhancer
        from ...map_estimation.report import describe_run
        from ...map_estimation.work import WatchedBackbone

        calls: list[float] = []
        backbone = WatchedBackbone(self._backbone(device), calls.append)
        prior, fidelity = self._prior(device), _fidelity(self.fidelity, device)
        before, start = pixels.to(device), time.perf_counter()
        (result,) = enhance(before, backbone, prior, fidelity, self.settings)
        seconds = time.perf_counter() - start
        done_by = Enhancer(backbone, prior, fidelity, self.settings)
        record = describe_run(before, result, done_by)
        return Made(result.picture, {**record, "calls": sum(calls), "enhance_seconds": seconds})

    def _backbone(self, device: str) -> Backbone:
        options = json.dumps(dict(self.backbone_options), sort_keys=True)
        return _backbone(self.backbone, options, self.acceleration, device)

    def _prior(self, device: str) -> Prior:
        graphs = self.acceleration == "graph"
        return _prior(self.priors, json.dumps(self.calibration), device, graphs)


# One of each is kept in a process: jobs come sorted by what they need.


@functools.lru_cache(maxsize=1)
def _backbone(name: str, options: str, acceleration: Acceleration, device: str) -> Backbone:
    from ...edict.backbones import load_backbone

    return load_backbone(name, device, acceleration=acceleration, **parse_text(options, "options"))


@functools.lru_cache(maxsize=1)
def _prior(names: tuple[str, ...], calibration: str, device: str, graphs: bool) -> Prior:
    from ...map_estimation.graphed_judge import graphed_judge

    given = parse_text(calibration, "calibration")
    priors = tuple(load_prior(name, device, given) for name in names)
    prior = priors[0] if len(priors) == 1 else CombinedPrior(priors, (1.0,) * len(priors))
    return graphed_judge(prior) if graphs else prior


@functools.lru_cache(maxsize=1)
def _fidelity(name: str, device: str) -> Fidelity:
    return load_fidelity(name, device)


@functools.cache
def _described(name: str, text: str) -> dict[str, Any]:  # noqa: ARG001 - of the cache
    """A description with the hashes of the files that it names, which is hashed but once."""
    description = parse_text(text, "description")
    needed = [file for prior in description["priors"] for file in PRIORS[prior].files]
    found = [find_file(file, standard_folders()) for file in needed]
    files = {path.name: file_hash(path) for path in found if path is not None}
    kind = BACKBONES[description["backbone"]].options
    for each in fields(kind):
        value = description["backbone_options"].get(each.name)
        if each.metadata.get("kind") == "path" and value:
            files[each.name] = folder_hash(Path(value))
            description["backbone_options"][each.name] = ""  # wherever it lies
    return {**description, "files": files}


def read_restorer(table: Mapping[str, Any], where: str, root: Path) -> Restorer:
    """From its table in a study file.

    Raises: ValueError for names that there are not, settings out of range, files that are missing.
    """
    given = read_table(RestorerTable, table, where)
    try:
        priors = tuple(name.strip() for name in given.prior.split(","))
        for name in priors:
            missing_prior(name)  # refuses what is no name
            if PRIORS[name].no_gradient:
                raise ValueError(f"prior {name!r} cannot be climbed: {PRIORS[name].no_gradient}")
        missing_fidelity(given.fidelity)
        options = _backbone_options(given, where, root)
        return Restorer(
            given.name,
            priors,
            _calibration(given, root, priors),
            given.fidelity,
            _settings(given, where),
            given.backbone,
            options,
            chosen_acceleration(given.compile, given.acceleration),
            tuple(_named(given, options, root)),
        )
    except ValueError as error:
        text = str(error)
        raise ValueError(text if text.startswith(where) else f"{where}: {text}") from error


def _named(given: RestorerTable, options: Mapping[str, Any], root: Path) -> Iterator[Path]:
    """The files and folders that its table names."""
    if given.calibration is not None:
        yield root / given.calibration
    for each in fields(BACKBONES[given.backbone].options):
        if each.metadata.get("kind") == "path" and options.get(each.name):
            yield Path(options[each.name])


def _calibration(
    given: RestorerTable, root: Path, priors: tuple[str, ...]
) -> Mapping[str, Any] | None:
    if given.calibration is None:
        return None
    if len(priors) != 1:
        raise ValueError("calibration is for a single prior: leave it out")
    path = root / given.calibration
    calibration = read_calibration(path)
    if calibration["prior"] != priors[0]:
        raise ValueError(f"{path} is for prior {calibration['prior']!r}, not for {priors[0]!r}")
    return calibration


def _settings(given: RestorerTable, where: str) -> MapSettings:
    settings = preset(given.preset)
    chosen = read_fields(MapSettings, given.settings, f"{where}: settings", ("inversion",))
    inversion = dict(given.inversion)
    bijection = inversion.pop("bijection", {})
    tile = inversion.pop("tile", "auto")
    options = read_fields(InversionOptions, inversion, f"{where}: inversion", ("bijection", "tile"))
    if tile not in ("auto", "none") and (not isinstance(tile, int) or isinstance(tile, bool)):
        raise ValueError(f"{where}: inversion: tile is {tile!r}: give pixels, 'auto' or 'none'")
    options["tile"] = None if tile == "none" else tile
    options["bijection"] = _bijection(settings, bijection, f"{where}: bijection")
    return replace(settings, inversion=replace(settings.inversion, **options), **chosen)


def _bijection(settings: MapSettings, table: object, where: str) -> Any:
    if not isinstance(table, dict):
        raise ValueError(f"{where} is {table!r}: make it a table with a name")
    options = dict(table)
    own = next(n for n, kind in BIJECTIONS.items() if type(settings.inversion.bijection) is kind)
    name = options.pop("name", own)
    if not isinstance(name, str) or name not in BIJECTIONS:
        raise ValueError(f"{where}: unknown name {name!r}: choose {', '.join(BIJECTIONS)}")
    return changed(
        settings.inversion.bijection, name, **read_fields(BIJECTIONS[name], options, where)
    )


def _backbone_options(given: RestorerTable, where: str, root: Path) -> dict[str, Any]:
    if given.backbone not in BACKBONES:
        raise ValueError(f"unknown backbone {given.backbone!r}: choose {', '.join(BACKBONES)}")
    kind = BACKBONES[given.backbone].options
    where = f"{where}: backbone_options"
    options = read_fields(kind, given.backbone_options, where)
    for each in fields(kind):
        if each.metadata.get("kind") == "path" and options.get(each.name):
            path = root / Path(options[each.name]).expanduser()
            if not path.exists():
                raise ValueError(f"{where}: {each.name}: there is no {path}: check the name")
            options[each.name] = str(path)
    read_table(kind, options, where)  # what it lacks or cannot be
    return options
