"""Pictures enhanced one after the other, each written before the next is begun."""

import tempfile
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity
from ..files.pictures import Picture, read_picture, write_image, write_picture
from ..iqa_priors.prior import Prior
from ..map_estimation.comparison import describe_comparison
from ..map_estimation.comparison_sheet import comparison_sheet
from ..map_estimation.enhance import enhance
from ..map_estimation.report import before_after_sheet, describe_run, summarise
from ..map_estimation.restraints import Restraints
from ..map_estimation.result import Cancel, MapResult, MapStep, NonFiniteError
from ..map_estimation.settings import MapSettings
from ..map_estimation.words import what_changed
from ..map_estimation.work import WatchedBackbone
from .enhance_options import Options
from .failures import EXPECTED, FAILED, INTERRUPTED, exit_code, explain, tell
from .interruption import interruptible
from .plan import Job
from .restraints import read_restraints


@dataclass(frozen=True)
class Tools:
    """What the pictures are enhanced with."""

    backbone: Backbone
    prior: Prior
    fidelity: Fidelity
    settings: MapSettings


def enhance_jobs(jobs: list[Job], tools: Tools, options: Options, reports: dict[str, dict]) -> int:
    """Enhance pictures; a failing one is told and passed over.

    Args:
        reports: by the name of the picture; filled as the work goes on.
    Returns: the exit code.
    """
    code = 0
    with interruptible() as stopped:
        for source, target in jobs:
            try:
                _work(source, target, tools, options, stopped, reports)
            except EXPECTED as error:
                reports.setdefault(source.name, {})["error"] = tell(source, error)
                code = FAILED if options.input.is_dir() else exit_code(error)
            if stopped.is_set():
                return INTERRUPTED
    return code


def _work(
    source: Path,
    target: Path,
    tools: Tools,
    options: Options,
    stopped: threading.Event,
    reports: dict[str, dict],
) -> None:
    """Enhance one picture and write all that was asked for, the picture first."""
    picture = read_picture(source)
    before = picture.pixels.to(options.device)
    with torch.no_grad():
        tools.prior(before)  # what the prior cannot score is refused before the inversion
    restraints = read_restraints(options, before)
    calls: list[float] = []
    if options.compare:
        tools = replace(tools, backbone=WatchedBackbone(tools.backbone, calls.append))
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
    if options.compare:
        words = what_changed(before.cpu(), result.picture)
        tqdm.write(f"{target}: {words}")
        sheet = comparison_sheet(before, result.picture, words)
        write_image(options.compare, sheet, picture.profile)
    if options.compare and options.report:
        compared = describe_comparison(before, result.picture, tools.prior, sum(calls))
        reports[source.name]["comparison"] = compared


def _progress(source: Path, settings: MapSettings) -> tqdm:
    # Without a terminal there is no bar: a log gets the summary alone.
    return tqdm(total=settings.iterations, desc=source.name, unit="it", disable=None)


def _run(
    before: Tensor,
    tools: Tools,
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

    (result,) = enhance(
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
