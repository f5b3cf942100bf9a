"""Which files a command reads and writes, all checked before any work begins."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from ..edict.inversion import check_picture
from ..files.pictures import check_output, find_pictures, read_picture
from ..files.state_file import check_writable, load_state
from ..iqa_priors.prior import Prior
from ..map_estimation.enhance import STATE_KIND, check_prior
from ..map_estimation.report import sheet_size
from .failures import EXPECTED, tell

# A saved run is a dozen float64 pairs as large as the picture.
RUN_BYTES = 300  # per pixel
_TEXT_OPTIONS = ("control_strength", "prompt", "negative", "cfg", "dtype")
BACKBONE_OPTIONS = {
    "pocket": (),
    "diffusers": ("controlnet", "prediction", *_TEXT_OPTIONS),
    "seesr": ("base", "without_dape", *_TEXT_OPTIONS),
}
_PATHS = ("path", "controlnet", "base")


def check_device(name: str) -> None:
    """Raise ValueError unless PyTorch can use the device here."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"unknown device {name!r}: choose cpu, cuda, cuda:1 or mps") from None
    counts = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }
    if (device.index or 0) >= counts.get(device.type, 0):
        raise ValueError(f"there is no device {name!r} that PyTorch can use: choose --device cpu")


def choose_backbone(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    """Which backbone `--backbone` and its companions ask for.

    Returns: the name and the options of `load_backbone`.
    Raises: ValueError for a path that does not exist, or options that go with another backbone.
    """
    kind, _, path = options.backbone.partition(":")
    if kind not in BACKBONE_OPTIONS:
        kind, path = "diffusers", options.backbone  # a path, which on Windows may have a colon
    known = dict.fromkeys(name for names in BACKBONE_OPTIONS.values() for name in names)
    chosen = {name: getattr(options, name) for name in known}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    for name in chosen:
        if name not in BACKBONE_OPTIONS[kind]:
            raise ValueError(
                f"--{name.replace('_', '-')} does not go with --backbone {options.backbone}: leave "
                "it out, or choose another backbone"
            )
    extra = {"compile": True} if options.compile else {}
    if kind == "pocket":
        return kind, extra
    chosen |= {"path": path, **extra}
    for name in _PATHS:
        if name in chosen and not Path(chosen[name]).exists():
            raise ValueError(
                f"there is no {chosen[name]!r}: give a file or folder, or --backbone pocket"
            )
    return kind, chosen


def bijection_options(options: argparse.Namespace) -> dict[str, Any]:
    """The `InversionOptions` that `--bijection` and `--gamma` ask for; None where not given.

    Raises: ValueError for a gamma without BDIA.
    """
    if options.gamma is not None and options.bijection != "bdia":
        raise ValueError("--gamma is BDIA's: give --bijection bdia with it, or leave it out")
    return {"coupling": options.bijection, "gamma": options.gamma}


def plan(
    options: argparse.Namespace, prior: Prior
) -> tuple[list[tuple[Path, Path]], dict[str, dict]]:
    """What `enhance` will do.

    Returns: (input, output) files that can be worked on, and {name: {"error": why}} of those of a
        folder that cannot, each told on stderr.
    Raises: ValueError if no picture can be worked on, or an output cannot be written.
    """
    files, folder = find_pictures(options.input), options.input.is_dir()
    targets = _folder_targets(files, options) if folder else [options.output]
    extras = [path for path in (options.report, options.sheet, options.state) if path is not None]
    check_distinct((*files, *targets, *extras))
    for extra in extras:
        check_writable(extra)
    if not folder:
        _check_job(files[0], targets[0], options, prior)
        return [(files[0], targets[0])], {}
    try:
        options.output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot make the folder {options.output} ({error.strerror}): choose another"
        ) from error
    jobs, reports = [], {}
    for source, target in zip(files, targets, strict=True):
        try:
            _check_job(source, target, options, prior)
            jobs.append((source, target))
        except EXPECTED as error:
            reports[source.name] = {"error": tell(source, error)}
    if not jobs:
        raise ValueError(f"none of the pictures in {options.input} can be worked on: see above")
    return jobs, reports


def _folder_targets(files: list[Path], options: argparse.Namespace) -> list[Path]:
    if options.sheet or options.state:
        raise ValueError("--sheet and --state go with one picture, not with a folder")
    if options.output.resolve() == options.input.resolve():
        raise ValueError("the output folder is the input folder: choose another")
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"{options.output} is a file: choose a folder for a folder's pictures")
    named: dict[str, Path] = {}
    for file in files:
        other = named.setdefault(file.stem.casefold(), file)
        if other is not file:
            raise ValueError(
                f"{other.name} and {file.name} would both be written as {file.stem}.png: "
                "rename one of them"
            )
    return [options.output / f"{file.stem}.png" for file in files]


def _check_job(source: Path, target: Path, options: argparse.Namespace, prior: Prior) -> None:
    """Raise ValueError for what would fail after minutes of work."""
    picture = read_picture(source)
    check_picture(picture.pixels)
    check_prior(prior, picture.pixels)
    height, width = picture.pixels.shape[-2:]
    check_output(target, (width, height), picture.alpha is not None)
    if options.sheet:
        check_output(options.sheet, sheet_size(width, height))
    if options.state:
        check_writable(options.state, RUN_BYTES * width * height)
        if options.state.exists():
            load_state(options.state, STATE_KIND)


def check_distinct(paths: Iterable[Path]) -> None:
    """Raise ValueError if an output would overwrite an input or another output."""
    seen = set()
    for path in paths:
        try:
            status = path.stat()
            key = (status.st_dev, status.st_ino)
        except OSError:
            key = path.resolve()
        if key in seen:
            raise ValueError(f"{path} is an input or named twice: choose another file to write")
        seen.add(key)
