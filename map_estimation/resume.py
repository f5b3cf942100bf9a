"""Runs that can be interrupted: their state is kept in a file, and a later run goes on from it."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..edict.backbones import REPLACED
from ..edict.inversion_options import describe_options, options_from
from ..files.state_file import load_state, save_state
from .result import MapResult, NonFiniteError, Status, TraceRow
from .settings import MapSettings, describe_settings
from .solver import Callback, MapSolver
from .solver_state import best_and_trace, restore, state_of

log = logging.getLogger(__name__)
STATE_KIND = "MAP estimation"
KEEP_EVERY = 10.0  # seconds
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

    def settle_tile(self, settings: MapSettings) -> MapSettings:
        """The settings on the saved tile, if it is not the user's choice: noise is of one map."""
        if settings.inversion.tile != "auto":
            return settings
        tile = self.description["settings"]["inversion"]["tile"]
        return replace(settings, inversion=replace(settings.inversion, tile=tile))


def _untold(what: str) -> None:
    """Nobody asks."""


@dataclass(frozen=True)
class KeptRuns:
    """Where the states of interrupted runs are kept: a file a picture, named by its content.

    Attributes:
        folder: of the files.
        go_on: whether to go on from a file that is there; else the run starts anew.
        lineage: what tells the backbone from others of its name; "" where its name does.
        tell: is told in words that a run goes on, or was kept.
    """

    folder: Path
    go_on: bool = True
    lineage: str = ""
    tell: Callable[[str], None] = _untold

    def path(self, description: Mapping[str, Any]) -> Path:
        """The file of a run, whatever its tile and the version of torch."""
        said = {name: part for name, part in description.items() if name != "torch"}
        inversion = {**said["settings"]["inversion"], "tile": None}
        said["settings"] = {**said["settings"], "inversion": inversion}
        text = json.dumps([said, self.lineage], sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.state"

    def prepare(self, path: Path) -> None:
        """Make the folder; forget what is there where the run is to start anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.go_on:
            path.unlink(missing_ok=True)


def best_of(path: Path) -> tuple[Tensor, tuple[TraceRow, ...]]:
    """The best picture of an interrupted run, (1, 3, H, W), and its trace.

    Raises: ValueError for a file that is missing, damaged, or of another kind.
    """
    saved = read_run(path)
    if saved is None:
        raise ValueError(f"no state file {path}")
    best, trace = best_and_trace(saved.tensors)
    if best is None:
        raise ValueError(f"{path} holds no picture: run it to its end")
    return best.images[best.member : best.member + 1].float(), tuple(trace)


def read_run(path: Path | None) -> SavedRun | None:
    """The state in a file, if there is one.

    Raises: ValueError for a damaged file, or one of another kind.
    """
    if path is None or not path.exists():
        return None
    tensors, description = load_state(path, STATE_KIND)
    try:
        saved = {**asdict(MapSettings()), **description["settings"]}
        saved["inversion"] = describe_options(options_from(saved["inversion"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no state of a run ({error!r}): delete it") from error
    for name in FREE_SETTINGS:
        saved.pop(name, None)
    return SavedRun(path, tensors, {**description, "settings": saved})


def describe_run(
    picture: Tensor, parts: Mapping[str, str], settings: MapSettings, tile: int | None
) -> dict[str, Any]:
    """What a resumed run must have in common with the saved one.

    Args:
        picture: the input, (1, 3, H, W).
        parts: prior, fidelity, backbone and restraints, in words that tell them from others.
        settings: of the run.
        tile: in force.
    """
    described = describe_settings(settings)
    for name in FREE_SETTINGS:
        described.pop(name)
    described["inversion"]["tile"] = tile
    pixels = picture.float().cpu().contiguous().numpy()
    return {
        "picture": f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}",
        "settings": described,
        **parts,
        "torch": torch.__version__,
    }


def go_on(solver: MapSolver, saved: SavedRun, description: dict[str, Any]) -> None:
    """Put a solver where a saved run was.

    Raises: ValueError if that was another run, or its state is not whole.
    """
    backbone = saved.description.get("backbone")
    if isinstance(backbone, str) and backbone in REPLACED:
        raise ValueError(
            f"{saved.path} was made with {REPLACED[backbone]}: delete it to start anew, or end the "
            "run with version 0.1"
        )
    differing = [
        key
        for key, value in description.items()
        if key != "torch" and saved.description.get(key) != value
    ]
    if differing:
        raise ValueError(
            f"{saved.path} belongs to another run (different {', '.join(differing)}): delete it to "
            "start anew, or give the same picture and settings"
        )
    restore(solver, saved.tensors)
    log.info("going on from iteration %d of %s", solver.progress.iteration, saved.path)


def run_and_keep(
    solver: MapSolver,
    callback: Callback | None,
    path: Path,
    description: dict[str, Any],
    tell: Callable[[str], None] | None = None,
    finished: bool = False,
) -> MapResult:
    """Run, with the state in a file that is never older than some seconds, however the run ends.

    The file stays: it is to be removed when the result is safe.

    Args:
        tell: is told where it was kept.
        finished: write it where the run does end, too: others of its batch may not.
    Raises: as `MapSolver.run`.
    """
    kept = _KeptState(solver, path, description)
    try:
        result = solver.run(callback, kept.keep_if_due)
    except NonFiniteError:
        raise  # going on from there would break down again
    except BaseException:
        if kept.keep() and tell is not None:
            done = solver.progress.iteration
            tell(f"stopped after {done} iterates: the best is kept in {path}, run again to go on")
        raise
    if finished or result.status is Status.CANCELLED:
        kept.keep()
    return result


class _KeptState:
    """A run's state in its file, and how long ago that was written."""

    def __init__(self, solver: MapSolver, path: Path, description: dict[str, Any]):
        self.solver, self.path, self.description = solver, path, description
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
        start, solver = time.monotonic(), self.solver
        # Tiles may have become smaller on the way.
        inversion = {**self.description["settings"]["inversion"], "tile": solver.space.tile}
        settings = {**self.description["settings"], "inversion": inversion}
        tensors = state_of(solver)
        saved = bool(tensors)
        try:
            if tensors:
                described = {**self.description, "settings": settings}
                save_state(self.path, STATE_KIND, tensors, described)
        except OSError as error:
            saved = False
            if not self.told:
                log.error("the state could not be kept in %s: %s", self.path, error)
            self.told = True
        self.written = time.monotonic()
        self.took = self.written - start
        return saved
