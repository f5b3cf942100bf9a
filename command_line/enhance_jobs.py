"""Pictures enhanced one after the other, each written before the next is begun."""

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from ..files.pictures import Picture, read_picture, write_image, write_picture
from ..files.written import discard, is_stream, write_atomically
from ..map_estimation.comparison import describe_comparison
from ..map_estimation.comparison_sheet import comparison_sheet
from ..map_estimation.enhance import UNFINISHED, enhance
from ..map_estimation.enhancer import Enhancer
from ..map_estimation.report import before_after_sheet, describe_run, summarise
from ..map_estimation.restraints import Restraints
from ..map_estimation.result import Cancel, MapResult, MapStep, NonFiniteError, Status
from ..map_estimation.settings import MapSettings
from ..map_estimation.starts import settings_for
from ..map_estimation.words import what_changed
from ..map_estimation.work import WatchedBackbone
from .enhance_options import Options
from .failures import EXPECTED, FAILED, exit_code, explain, tell
from .interruption import Interruption, interruptible
from .plan import Job
from .restraints import read_restraints

log = logging.getLogger(__name__)


def enhance_jobs(
    jobs: list[Job], enhancer: Enhancer, options: Options, reports: dict[str, dict]
) -> int:
    """Enhance pictures; a failing one is told and passed over.

    Args:
        jobs: the pictures, and where they go.
        enhancer: what they are enhanced with.
        options: what else is written.
        reports: by the name of the picture; filled as the work goes on.
    Returns: the exit code.
    """
    code = 0
    with interruptible() as stopped:
        for job in jobs:
            try:
                _work(job, enhancer, options, stopped, reports)
            except EXPECTED as error:
                reports.setdefault(job.name, {})["error"] = tell(job.source, error)
                code = FAILED if options.input.is_dir() else exit_code(error)
            if stopped.is_set():
                return stopped.exit_code
            _write_report_so_far(options, reports)
    return code


def _write_report_so_far(options: Options, reports: dict[str, dict]) -> None:
    """Write the report of what is done; a device or a pipe gets it once, at the end."""
    if options.report is None or is_stream(options.report):
        return
    try:
        write_report(options.report, reports)
    except OSError as error:
        log.warning("%s", error)  # at the end it is tried again


def write_report(path: Path, reports: dict[str, dict]) -> None:
    """Write what is known of each picture as JSON.

    Raises: OSError when it cannot be written.
    """
    write_atomically(path, json.dumps(reports, indent=1).encode())


def _work(
    job: Job,
    enhancer: Enhancer,
    options: Options,
    stopped: Interruption,
    reports: dict[str, dict],
) -> None:
    """Enhance one picture and write all that was asked for, the picture first."""
    source, target = job.source, job.target
    picture = read_picture(source)
    before = picture.pixels.to(options.device)
    with torch.no_grad():
        enhancer.prior(before)  # what the prior cannot score is refused before the inversion
    restraints = read_restraints(options, before)
    calls: list[float] = []

    def called(share: float) -> None:
        calls.append(share)
        if stopped.is_new():  # a start can take longer than iterations
            raise Cancel

    enhancer = replace(enhancer, backbone=WatchedBackbone(enhancer.backbone, called))
    with _progress(source, enhancer.settings) as bar:
        try:
            result = _run(before, enhancer, options.state, bar, stopped, restraints)
        except NonFiniteError as error:
            if error.result is not None and error.result.improved:
                _save(target, replace(picture, pixels=error.result.picture))
            _forget(options.state)  # going on from there would break down again
            raise
        if result.status is Status.CANCELLED and not result.trace:
            reports[job.name] = {"stopped": "before its first result: nothing was written"}
            bar.write(f"{target}: stopped before the first result: nothing was written")
            return
        _save(target, replace(picture, pixels=result.picture))
        if result.status not in UNFINISHED:
            _forget(options.state)
        bar.write(f"{target}: {summarise(result)}")
        if options.state and options.state.exists():
            bar.write(f"{options.state}: the run so far; the same command goes on with it")
    settings = settings_for(enhancer.settings, enhancer.backbone)
    reports[job.name] = describe_run(before, result, replace(enhancer, settings=settings))
    _write_sheets(job, options, before, result, picture.profile)
    if options.compare and options.report:
        compared = describe_comparison(before, result.picture, enhancer.prior, sum(calls))
        reports[job.name]["comparison"] = compared


def _write_sheets(
    job: Job, options: Options, before: Tensor, result: MapResult, profile: bytes | None
) -> None:
    """Write the pictures about a picture that were asked for."""
    if options.sheet:
        write_image(options.sheet, before_after_sheet(before, result), profile)
        tqdm.write(f"{options.sheet}: {job.name} before and after")
    if options.compare:
        words = what_changed(before.cpu(), result.picture)
        tqdm.write(f"{job.target}: {words}")
        write_image(options.compare, comparison_sheet(before, result.picture, words), profile)
        tqdm.write(f"{options.compare}: {job.name} compared with its result")


def _progress(source: Path, settings: MapSettings) -> tqdm:
    # Without a terminal there is no bar: a log gets the summary alone.
    return tqdm(total=settings.iterations, desc=source.name, unit="it", disable=None)


def _run(
    before: Tensor,
    enhancer: Enhancer,
    state: Path | None,
    bar: tqdm,
    stopped: Interruption,
    restraints: Restraints,
) -> MapResult:
    def show(step: MapStep) -> None:
        bar.set_postfix(quality=f"{step.row.quality:.4f}", energy=f"{step.row.energy:.5f}")
        bar.update(step.row.iteration - bar.n)
        if stopped.is_new():
            raise Cancel

    (result,) = enhance(
        before,
        enhancer.backbone,
        enhancer.prior,
        enhancer.fidelity,
        enhancer.settings,
        show,
        state,
        restraints,
        True,
    )
    return result


def _forget(state: Path | None) -> None:
    """Remove a state that is not needed any more, now that the picture is on the disk."""
    if state is not None:
        discard(state)


def _save(target: Path, picture: Picture) -> None:
    """Write a result; where that fails, put it among the temporary files rather than lose it."""
    try:
        write_picture(target, picture)
    except (OSError, ValueError) as error:
        try:
            folder = Path(tempfile.mkdtemp(prefix="latent-map-"))
        except OSError:
            raise OSError(explain(error)) from error
        try:
            write_picture(rescue := folder / f"{target.stem}.png", picture)
        except (OSError, ValueError):
            folder.rmdir()
            raise OSError(explain(error)) from error
        raise OSError(f"{explain(error)}; the result is kept as {rescue}") from error
