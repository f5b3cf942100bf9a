"""Which pictures are enhanced into which files, all checked before any work begins."""

import logging
from pathlib import Path
from typing import NamedTuple

from ..edict.inversion import check_picture
from ..fidelity.fidelity import Fidelity, check_fidelity
from ..files.distinct import check_distinct
from ..files.image_values import even_remarks
from ..files.pictures import (
    SUFFIXES,
    check_no_picture,
    check_output,
    find_pictures,
    left_out,
    read_picture,
)
from ..files.state_file import load_state
from ..files.written import check_writable
from ..iqa_priors.prior import Prior, check_prior
from ..map_estimation.comparison_sheet import comparison_size
from ..map_estimation.report import sheet_size
from ..map_estimation.resume import STATE_KIND
from .enhance_options import Options
from .failures import EXPECTED, tell
from .restraints import read_restraints

log = logging.getLogger(__name__)
# A saved run is a dozen float64 pairs as large as the picture.
RUN_BYTES = 300  # per pixel


class Job(NamedTuple):
    """A picture file, and the file that its enhanced picture is written to."""

    source: Path
    target: Path
    name: str  # in reports


def plan(
    options: Options, prior: Prior, fidelity: Fidelity | None
) -> tuple[list[Job], dict[str, dict]]:
    """What `enhance` will do.

    Returns: what can be worked on, and of those of a folder that are not, {name: {"error": why}},
        each told on stderr, or {"skipped": why} where the result is there already.
    Raises: ValueError if no picture can be worked on, or an output cannot be written.
    """
    files, folder = _pictures(options), options.input.is_dir()
    targets = _folder_targets(files, options) if folder else [options.output]
    _check_extras(options, files, targets)
    if not folder:
        job = Job(files[0], targets[0], files[0].name)
        _check_job(job, options, prior, fidelity)
        return [job], {}
    try:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"cannot make the folder {options.output} ({error.strerror}): choose another"
        ) from error
    jobs, reports = [], {}
    names = (file.relative_to(options.input).as_posix() for file in files)
    for job in map(Job, files, targets, names):
        if job.target.exists() and not options.force:
            reports[job.name] = {"skipped": f"{job.target} is there already"}
            continue
        try:
            _check_job(job, options, prior, fidelity)
            jobs.append(job)
        except EXPECTED as error:
            reports[job.name] = {"error": tell(job.source, error)}
    _tell_skipped(sum("skipped" in report for report in reports.values()), len(files), options)
    if not jobs:
        raise ValueError(f"none of the pictures in {options.input} can be worked on: see above")
    return jobs, reports


def _check_extras(options: Options, files: list[Path], targets: list[Path]) -> None:
    """Raise ValueError if what is written besides pictures could not be, or not there."""
    asked = (options.report, options.sheet, options.compare, options.state)
    extras = [path for path in asked if path is not None]
    read = (options.mask, options.guard, options.prior.calibration, *options.backbone.files())
    check_distinct((*targets, *extras), (*files, *read))
    if options.report:
        check_no_picture(options.report, "a report", ".json")
    if options.state:
        check_no_picture(options.state, "a state", ".state")
    for extra in extras:
        check_writable(extra, streams=extra is options.report)


def _tell_skipped(skipped: int, count: int, options: Options) -> None:
    """Say which results are there already. Raises ValueError if all are."""
    if skipped == count:
        raise ValueError(
            f"all {count} pictures are in {options.output} already: choose another folder, or make "
            "them anew with --force"
        )
    if skipped:
        log.warning(
            "%d of %d pictures are in %s already and are left as they are: --force makes them anew",
            *(skipped, count, options.output),
        )


def _pictures(options: Options) -> list[Path]:
    """The pictures to work on; what a folder has besides is told in one line."""
    files = find_pictures(options.input, options.recursive)
    if missed := left_out(options.input, options.recursive):
        log.warning("%s: left out %s", options.input, missed)
    if not options.recursive:
        return files
    # A second run must not take the first one's results for pictures.
    own, given = options.output.resolve(), options.input.resolve()
    if own in given.parents:
        among = (f for f in files if given in (own / f.relative_to(options.input)).parents)
        if file := next(among, None):
            raise ValueError(
                f"what {file} becomes would be among the pictures: choose another output folder"
            )
        return files
    files = [file for file in files if own not in file.resolve().parents]
    if not files:
        raise ValueError(
            f"all pictures in {options.input} are in the output folder: choose another"
        )
    return files


def _folder_targets(files: list[Path], options: Options) -> list[Path]:
    if options.sheet or options.compare or options.state:
        raise ValueError("--sheet, --compare and --state go with one picture, not with a folder")
    if options.output.resolve() == options.input.resolve():
        raise ValueError("the output folder is the input folder: choose another")
    if options.output.suffix.lower() in SUFFIXES and not options.output.exists():
        raise ValueError(
            f"{options.output} is the name of a picture, but {options.input} is a folder: choose a "
            "folder's name"
        )
    if options.output.exists() and not options.output.is_dir():
        raise ValueError(f"{options.output} is a file: choose a folder for a folder's pictures")
    named: dict[str, Path] = {}
    targets = []
    for file in files:
        target = file.relative_to(options.input).with_suffix(".png")
        other = named.setdefault(str(target).casefold(), file)
        if other is not file:
            raise ValueError(
                f"{other.name} and {file.name} would both be written as {file.stem}.png: "
                "rename one of them"
            )
        targets.append(options.output / target)
    return targets


def _check_job(job: Job, options: Options, prior: Prior, fidelity: Fidelity | None) -> None:
    """Raise ValueError for what would fail after minutes of work."""
    picture = read_picture(job.source)
    check_picture(picture.pixels)
    check_prior(prior, picture.pixels)
    read_restraints(options, picture.pixels, tell=True)
    for remark in even_remarks(picture.pixels):
        log.warning("%s: the %s", job.source, remark)
    if fidelity is not None:
        check_fidelity(fidelity, picture.pixels)
    height, width = picture.pixels.shape[-2:]
    check_output(job.target, (width, height), picture.alpha is not None)
    if options.sheet:
        check_output(options.sheet, sheet_size(width, height))
    if options.compare:
        check_output(options.compare, comparison_size(width, height))
    if options.state:
        check_writable(options.state, RUN_BYTES * width * height)
        if options.state.exists():
            load_state(options.state, STATE_KIND)
