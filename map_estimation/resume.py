"""Runs that can be interrupted: their state is kept in a file, and a later run goes on from it."""

import hashlib
import io
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..edict.backbones import REPLACED
from ..edict.inversion_options import describe_options, options_from
from ..files.state_file import load_state, save_state
from ..files.written import write_atomically
from .enhancer import Enhancer
from .iterate import Iterate
from .kept_runs import StateFile
from .restraints import Restraints
from .result import MapResult, NonFiniteError, Status, TraceRow
from .settings import MapSettings, describe_settings
from .solver import Callback, MapSolver
from .solver_state import best_and_trace, restore, state_of

log = logging.getLogger(__name__)
STATE_KIND = "MAP estimation"
NOISE = "noise"  # given to the run, in a state's description
MADE_OF = "made_of"  # what the model is made of, by parts, in a state's description
KEEP_EVERY = 10.0  # seconds
LONGEST_TOLD = 60  # signs of a value in an error
KEEP_SHARE = 0.05  # of a run's time is spent on writing states, at most
# What a resumed run may have otherwise than the saved one.
FREE_SETTINGS = (
    "iterations",
    "patience",
    "target_quality",
    "memory",
    "check_round_trip",
    "check_gradient",
)


@dataclass(frozen=True)
class SavedRun:
    """A run's state as it was read.

    Attributes:
        path: its file.
        tensors: the solver's state.
        description: of the run, see `describe_run`.
    """

    path: Path
    tensors: dict[str, Tensor]
    description: dict[str, Any]

    @property
    def tile(self) -> int | None:
        """In force when it was saved."""
        return self.description["settings"]["inversion"]["tile"]

    def settle_tile(self, settings: MapSettings) -> MapSettings:
        """The settings on the saved tile, if it is not the user's choice: noise is of one map."""
        if settings.inversion.tile != "auto":
            return settings
        return replace(settings, inversion=replace(settings.inversion, tile=self.tile))


class BestSoFar(NamedTuple):
    """What an interrupted run had reached.

    Attributes:
        picture: the best, (1, 3, H, W).
        trace: all iterates.
        inverted: whether the run was given noise, see noise_ascent.py.
    """

    picture: Tensor
    trace: tuple[TraceRow, ...]
    inverted: bool


def best_of(path: Path) -> BestSoFar:
    """What is in a state file to look at.

    Raises: ValueError for a file that is missing, damaged, or of another kind.
    """
    saved = read_run(path)
    if saved is None:
        raise ValueError(f"no state file {path}")
    best, trace = best_and_trace(saved.tensors)
    if best is None:
        raise ValueError(f"{path} holds no picture: run it to its end")
    return BestSoFar(_picture_of(best), tuple(trace), NOISE in saved.description)


def _picture_of(best: Iterate) -> Tensor:
    return best.images[best.member : best.member + 1].float()


def read_run(path: Path | None) -> SavedRun | None:
    """The state in a file, if there is one.

    Raises: ValueError for a damaged file, or one of another kind.
    """
    if path is None or not path.exists():
        return None
    tensors, description = load_state(path, STATE_KIND, "delete it to start anew")
    try:
        saved = {**asdict(MapSettings()), **description["settings"]}
        saved["inversion"] = describe_options(options_from(saved["inversion"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no state of a run ({error!r}): delete it") from error
    for name in FREE_SETTINGS:
        saved.pop(name, None)
    return SavedRun(path, tensors, {**description, "settings": saved})


def describe_run(
    picture: Tensor, enhancer: Enhancer, restraints: Restraints, tile: int | None
) -> dict[str, Any]:
    """What a resumed run must have in common with the saved one.

    Args:
        picture: the input, (1, 3, H, W).
        enhancer: its models, by what tells them from others, and settings.
        restraints: of the picture.
        tile: in force.
    """
    settings = enhancer.settings
    described = describe_settings(settings)
    for name in FREE_SETTINGS:
        described.pop(name)
    described["inversion"]["tile"] = tile
    return {
        "picture": fingerprint(picture.float()),
        "settings": described,
        "prior": enhancer.prior.identity,
        "fidelity": enhancer.fidelity.identity if settings.use_fidelity else "none",
        "backbone": enhancer.backbone.name if settings.space == "diffusion" else "none",
        "restraints": restraints.describe(),
        "torch": torch.__version__,
    }


def with_tile(description: Mapping[str, Any], tile: int | None) -> dict[str, Any]:
    """The same run on another tile."""
    settings = description["settings"]
    inversion = {**settings["inversion"], "tile": tile}
    return {**description, "settings": {**settings, "inversion": inversion}}


def fingerprint(numbers: Tensor) -> str:
    """Shape and hash of a tensor."""
    values = numbers.cpu().contiguous().numpy()
    return f"{values.shape} {hashlib.sha256(values.tobytes()).hexdigest()}"


def run_kept(
    solver: MapSolver,
    callback: Callback | None,
    file: StateFile,
    description: dict[str, Any],
    saved: SavedRun | None,
) -> MapResult:
    """Run, with the state in a file that is never older than some seconds, however the run ends.

    The file stays: it is to be removed when the result is safe.

    Args:
        file: where the state is kept.
        description: of the run, see `describe_run`.
        saved: the state that was there, to go on from.
    Raises: ValueError if that was another run, or its state is not whole; else as `MapSolver.run`.
    """
    if made_of := dict(file.made_of()):
        description = {**description, MADE_OF: made_of}
    if saved is not None:
        _go_on(solver, saved, description)
        if file.tell is not None:
            file.tell(f"went on from iterate {solver.progress.iteration} of {file.path}")
    kept = _KeptState(solver, file, description)
    try:
        result = solver.run(callback, kept.keep_if_due)
    except NonFiniteError:
        raise  # going on from there would break down again
    except BaseException:
        if kept.keep() and file.tell is not None:
            done = solver.progress.iteration
            file.tell(
                f"stopped after {done} iterates: the best is kept in {file.path}, run again to "
                "go on"
            )
        raise
    if file.at_end or result.status is Status.CANCELLED:
        kept.keep()
    return result


def _go_on(solver: MapSolver, saved: SavedRun, description: dict[str, Any]) -> None:
    """Put a solver where a saved run was. Raises ValueError if that was another run."""
    backbone = saved.description.get("backbone")
    if isinstance(backbone, str) and backbone in REPLACED:
        raise ValueError(
            f"{saved.path} was made with {REPLACED[backbone]}: delete it to start anew, or end the "
            "run with version 0.1"
        )
    if (NOISE in saved.description) != (NOISE in description):
        starts = ("a picture", "inverted noise")[NOISE in saved.description]
        raise ValueError(
            f"{saved.path} belongs to another run, which began with {starts} (Post-Enhance takes "
            "pictures, Latent MAP Optimizer noise): go on with it there, or choose another"
        )
    if differing := _differing(saved.description, description):
        raise ValueError(
            f"{saved.path} belongs to another run (different {', '.join(differing)}): delete it to "
            "start anew, or give the same picture and settings"
        )
    restore(solver, saved.tensors)
    log.info("going on from iteration %d of %s", solver.progress.iteration, saved.path)


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In what two runs differ, whatever the version of torch; short values are told."""
    parts = [part for part in {**now, **before} if part not in ("kind", "torch", MADE_OF)]
    parts = [part for part in parts if before.get(part) != now.get(part)]
    found = [f"{part}{_then_and_now(before.get(part), now.get(part))}" for part in parts]
    old, new = before.get(MADE_OF), now.get(MADE_OF, {})
    if old is None:  # a state of before they were noted, or a model that its name tells
        return found
    return found + [part for part in {**old, **new} if old.get(part) != new.get(part)]


def _then_and_now(before: Any, now: Any) -> str:
    """Two values in words, of tables those that both have; nothing where one is a hash."""
    told = list(_told("", before, now))
    return f": {'; '.join(told)}" if told else ""


def _told(name: str, before: Any, now: Any) -> Iterator[str]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for inner in before:
            if inner in now and before[inner] != now[inner]:
                yield from _told(f"{name}{inner} ", before[inner], now[inner])
    elif max(len(str(before)), len(str(now))) <= LONGEST_TOLD:
        yield f"{name}{before} then, {now} now"


class _KeptState:
    """A run's state in its file, and how long ago that was written."""

    def __init__(self, solver: MapSolver, file: StateFile, description: dict[str, Any]):
        self.solver, self.file, self.description = solver, file, description
        self.written, self.took, self.told = time.monotonic(), 0.0, False

    def keep_if_due(self) -> None:
        """Write where the file has become old; of large pictures less often."""
        pause = max(KEEP_EVERY, self.took / KEEP_SHARE)
        if time.monotonic() - self.written >= pause:
            self.keep()

    def keep(self) -> bool:
        """Save what a later run can go on from; a full disk must not cost the result.

        Returns: whether there was something to save, and it was.
        """
        start, tensors = time.monotonic(), state_of(self.solver)
        saved = bool(tensors)
        try:
            if tensors:
                self._write(tensors)
        except OSError as error:
            saved = False
            if not self.told:
                log.error("the state could not be kept in %s: %s", self.file.path, error)
            self.told = True
        self.written = time.monotonic()
        self.took = self.written - start
        return saved

    def _write(self, tensors: dict[str, Tensor]) -> None:
        # Tiles may have become smaller on the way.
        described = with_tile(self.description, self.solver.space.tile)
        save_state(self.file.path, STATE_KIND, tensors, described)
        self._show(self.solver.progress.best if self.file.preview else None)

    def _show(self, best: Iterate | None) -> None:
        if best is None or self.file.preview is None:
            return
        from ..files.pictures import to_image  # opens Pillow

        buffer = io.BytesIO()
        to_image(_picture_of(best)).save(buffer, "PNG")
        try:
            write_atomically(self.file.preview, buffer.getvalue())
        except OSError as error:
            log.warning("the state is kept, but not the picture beside it: %s", error)
