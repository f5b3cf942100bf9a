"""What the commands do: all inputs and outputs are checked before any work begins."""

import argparse
import json
import logging
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..edict.backbones import load_backbone
from ..edict.inversion import (
    InversionOptions,
    check_picture,
    invert_picture,
    reconstruct_picture,
    round_trip_error,
)
from ..edict.latents_file import load_latents, save_latents
from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity
from ..fidelity.loading import load_fidelity
from ..files.pictures import (
    Picture,
    check_output,
    find_pictures,
    read_picture,
    write_image,
    write_picture,
)
from ..files.state_file import check_writable, write_atomically
from ..iqa_priors.loading import load_prior
from ..iqa_priors.prior import CombinedPrior, Prior
from ..map_estimation.enhance import check_prior
from ..map_estimation.enhance import enhance as enhance_picture
from ..map_estimation.report import before_after_sheet, describe_run, summarise
from ..map_estimation.restraints import Restraints
from ..map_estimation.result import Cancel, MapResult, MapStep, NonFiniteError
from ..map_estimation.settings import MapSettings, preset
from .failures import EXPECTED, FAILED, INTERRUPTED, exit_code, explain, tell
from .plan import bijection_options, check_device, check_distinct, choose_backbone, plan
from .restraints import read_restraints

log = logging.getLogger(__name__)
LATENTS_BYTES = 60  # per pixel: a float64 pair and the float32 picture


@dataclass(frozen=True)
class _Tools:
    backbone: Backbone
    prior: Prior
    fidelity: Fidelity
    settings: MapSettings


def enhance(options: argparse.Namespace) -> int:
    """Enhance a picture, or a folder's pictures one after the other; a failing one is passed over.

    Returns: 0, 3 if a picture failed, 2 if a single one could not be worked on, 130 after Ctrl-C.
    """
    settings = _settings(options)
    fidelity = load_fidelity(options.fidelity, options.device)
    prior = _prior(options)
    name, chosen = choose_backbone(options)
    jobs, reports = plan(options, prior)
    code = FAILED if reports else 0
    tools = _Tools(load_backbone(name, options.device, **chosen), prior, fidelity, settings)
    try:
        with _interruptible() as stopped:
            for source, target in jobs:
                try:
                    _work(source, target, tools, options, stopped, reports)
                except EXPECTED as error:
                    reports.setdefault(source.name, {})["error"] = tell(source, error)
                    code = FAILED if options.input.is_dir() else exit_code(error)
                if stopped.is_set():
                    return INTERRUPTED
    finally:
        if options.report:
            write_atomically(options.report, json.dumps(reports, indent=1).encode())
    return code


def score(options: argparse.Namespace) -> int:
    """Print each picture's quality and raw scores; unusable ones are named and passed over."""
    prior, code = _prior(options), 0
    files = [file for path in options.input for file in find_pictures(path)]
    for file in files:
        try:
            pixels = read_picture(file).pixels.to(options.device)
            check_prior(prior, pixels)
            with torch.no_grad():
                parts = [f"{name} {float(s):.4f}" for name, s in prior.scores(pixels).items()]
                print(f"{file}  quality {float(prior(pixels)):.4f}  " + "  ".join(parts))
        except EXPECTED as error:
            tell(file, error)
            code = FAILED if len(files) > 1 else exit_code(error)
    return code


def invert(options: argparse.Namespace) -> int:
    """Write a picture's diffusion noise, with all it takes to come back."""
    chosen = InversionOptions(
        options.steps,
        options.mixing,
        strength=options.strength,
        **{k: v for k, v in bijection_options(options).items() if v is not None},
    )
    check_device(options.device)
    name, backbone_options = choose_backbone(options)
    picture = read_picture(options.input)
    check_picture(picture.pixels)
    check_distinct((options.input, options.output))
    check_writable(options.output, LATENTS_BYTES * picture.pixels[0, 0].numel())
    if picture.alpha is not None or picture.profile:
        log.warning("%s: the state keeps no alpha channel and no colour profile", options.input)
    backbone = load_backbone(name, options.device, **backbone_options)
    latents = invert_picture(backbone, picture.pixels.to(options.device), chosen)
    save_latents(options.output, latents)
    print(f"{options.output}: round trip error {round_trip_error(latents):.1e}")
    return 0


def reconstruct(options: argparse.Namespace) -> int:
    """Write the picture of a state file."""
    check_device(options.device)
    check_distinct((options.input, options.output))
    check_output(options.output)
    latents = load_latents(options.input, options.device)
    count, _, height, width = latents.picture.shape
    if count > 1:
        raise ValueError(f"{options.input} holds {count} pictures: only one can be written")
    check_output(options.output, (width, height))
    write_picture(options.output, Picture(reconstruct_picture(latents).x))
    return 0


def _settings(options: argparse.Namespace) -> MapSettings:
    settings = preset(options.preset)
    chosen = {name: getattr(options, name) for name in ("iterations", "lam", "memory")}
    chosen["check_gradient"] = options.check_gradient
    inversion = {name: getattr(options, name) for name in ("strength", "steps", "tile")}
    inversion |= bijection_options(options)
    inversion = {k: v for k, v in inversion.items() if v is not None}
    if options.tile == "none":
        inversion["tile"] = None
    chosen = {k: v for k, v in chosen.items() if v is not None}
    return replace(settings, inversion=replace(settings.inversion, **inversion), **chosen)


def _prior(options: argparse.Namespace) -> Prior:
    check_device(options.device)
    names = [name.strip() for name in options.prior.split(",")]
    if options.calibration and len(names) > 1:
        raise ValueError("--calibration is for a single prior: give one name with --prior")
    priors = tuple(load_prior(n, options.device, options.calibration) for n in names)
    return priors[0] if len(priors) == 1 else CombinedPrior(priors, (1.0,) * len(priors))


def _work(
    source: Path,
    target: Path,
    tools: _Tools,
    options: argparse.Namespace,
    stopped: threading.Event,
    reports: dict[str, dict],
) -> None:
    """Enhance one picture and write all that was asked for, the picture first."""
    picture = read_picture(source)
    before = picture.pixels.to(options.device)
    with torch.no_grad():
        tools.prior(before)  # what the prior cannot score is refused before the inversion
    restraints = read_restraints(options, before)
    with _progress(source, tools.settings) as bar:
        try:
            result = _run(before, tools, options.state, bar, stopped, restraints)
        except NonFiniteError as error:
            if error.result is not None and error.result.improved:
                _save(target, replace(picture, pixels=error.result.picture))
            raise
        _save(target, replace(picture, pixels=result.picture))
        bar.write(f"{target}: {summarise(result)}")
    reports[source.name] = describe_run(before, result, tools.prior, tools.settings)
    if options.sheet:
        write_image(options.sheet, before_after_sheet(before, result), picture.profile)


def _progress(source: Path, settings: MapSettings) -> tqdm:
    # Without a terminal there is no bar: a log gets the summary alone.
    return tqdm(total=settings.iterations, desc=source.name, unit="it", disable=None)


def _run(
    before: Tensor,
    tools: _Tools,
    state: Path | None,
    bar: tqdm,
    stopped: threading.Event,
    restraints: Restraints,
) -> MapResult:
    def show(step: MapStep) -> None:
        bar.set_postfix(quality=f"{step.row.quality:.4f}", energy=f"{step.row.energy:.5f}")
        bar.update(step.row.iteration - bar.n)
        if stopped.is_set():
            raise Cancel

    (result,) = enhance_picture(
        before,
        tools.backbone,
        tools.prior,
        tools.fidelity,
        tools.settings,
        show,
        state,
        restraints,
    )
    return result


def _save(target: Path, picture: Picture) -> None:
    """Write a result; where that fails, put it among the temporary files rather than lose it."""
    try:
        write_picture(target, picture)
    except (OSError, ValueError) as error:
        try:
            rescue = Path(tempfile.mkdtemp(prefix="latent-map-")) / f"{target.stem}.png"
            write_picture(rescue, picture)
        except (OSError, ValueError):
            raise OSError(explain(error)) from error
        raise OSError(f"{explain(error)}; the result is kept as {rescue}") from error


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Within, the first Ctrl-C sets the event and the second one stops at once."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(*_: object) -> None:
        stopped.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # os.write, because print is not re-entrant: the signal may come in the middle of one.
        text = "\nlatent-map: stopping with the best so far; Ctrl-C again stops at once\n"
        os.write(2, text.encode())

    previous = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, previous)
