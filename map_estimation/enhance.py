"""Post-enhancement of whole pictures: any size, any batch, never worse than the input."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..edict.inversion import UnlikeError
from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity
from ..files.written import discard
from ..iqa_priors.prior import Prior
from .enhancer import Enhancer
from .kept_runs import KeptRuns, StateFile, check_state
from .restraints import FREE, Restraints, is_grey
from .result import MapResult, NonFiniteError, Status, TraceRow
from .resume import describe_run, read_run, run_kept
from .settings import MapSettings
from .solver import Callback, MapSolver

log = logging.getLogger(__name__)
UNFINISHED = (Status.CANCELLED, Status.NOTHING_TO_DO)  # a state, if there is one, stays


def enhance(
    image: Tensor,
    backbone: Backbone,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
    state: Path | None = None,
    restraints: Restraints = FREE,
    keep_state: bool = False,
) -> list[MapResult]:
    """Enhance a batch of pictures, one after the other.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W), any size from 16 pixels a side.
        backbone, prior, fidelity, settings: see `Enhancer`.
        callback: sees each evaluated iterate; may raise `Cancel`: the pictures not yet begun come
            back as they are.
        state: file that the optimiser's state is kept in while a run goes on (one picture only);
            a run that finds it goes on from there.
        restraints: masks, and whether colours are held.
        keep_state: leave that file at the end, too; the caller removes it when the result is safe.
    Returns: one result per picture; its picture is never worse than the input by the objective,
        and the very input where nothing better was found.
    Raises: ValueError for input or settings that cannot work, before anything is computed;
        UnlikeError for a single picture that the model loses, NonFiniteError when its energy
        breaks down (in a batch that picture's status is FAILED, and the others go on).
    """
    enhancer = Enhancer(backbone, prior, fidelity, settings)
    try:
        results = list(enhance_each(image, enhancer, callback, state, restraints))
    except NonFiniteError:
        if state is not None and not keep_state:
            discard(state)
        raise
    if state is not None and not keep_state and results[0].status not in UNFINISHED:
        discard(state)
    return results


def enhance_each(
    image: Tensor,
    enhancer: Enhancer,
    callback: Callback | None = None,
    state: Path | KeptRuns | None = None,
    restraints: Restraints = FREE,
    device: torch.device | None = None,
) -> Iterator[MapResult]:
    """`enhance`, each picture when its result is asked for: memory is one picture's.

    Args:
        state: as for `enhance`; or where a whole batch's are kept until all of it is done.
        device: where the backbone is; each picture and its masks go there when their turn comes,
            and the results, which are on the CPU, leave nothing there. Default: where they are.
    Raises: as `enhance`; what can be refused is, before the first result is asked for.
    """
    enhancer = enhancer.fitted()
    enhancer.check(image, restraints)
    check_state(state, len(image))
    kept: list[StateFile] = []  # of the batch's pictures that are done

    def one(index: int, cancelled: bool) -> MapResult:
        item = image[index : index + 1].detach().to(device or image.device).clamp(0, 1)
        item = item.to(torch.promote_types(item.dtype, torch.float32))  # half is for networks
        held = replace(restraints.item(index, device), grey=restraints.grey or is_grey(item))
        report = numbered(callback, index, len(image))
        if enhancer.settings.changes_nothing or held.forbids_all:
            return _untouched(item, Status.NOTHING_TO_DO)
        if cancelled:
            return _untouched(item, Status.CANCELLED)
        name = f"picture {index + 1} of {len(image)}" if len(image) > 1 else ""
        if not isinstance(state, KeptRuns):
            file = None if state is None else StateFile(state)
            return _enhance_one(item, enhancer, held, report, file, name)
        kept.append(file := state.file(describe_run(item, enhancer, held, None), len(image) > 1))
        try:
            return _enhance_one(item, enhancer, held, report, file, name)
        except NonFiniteError:
            state.release([file])  # going on from there would break down again
            raise

    def each() -> Iterator[MapResult]:
        cancelled = False
        for index in range(len(image)):
            result = one(index, cancelled)
            cancelled = cancelled or result.status is Status.CANCELLED
            yield result
        if isinstance(state, KeptRuns) and not cancelled:
            state.release(kept)

    return each()


def _enhance_one(
    picture: Tensor,
    enhancer: Enhancer,
    restraints: Restraints,
    callback: Callback | None,
    file: StateFile | None,
    name: str,
) -> MapResult:
    """Enhance one picture; one of a batch, which has a name, gives what it had reached."""
    saved = None if file is None else read_run(file.path)
    if saved is not None:
        enhancer = replace(enhancer, settings=saved.settle_tile(enhancer.settings))
    settings, (space, objective) = enhancer.settings, enhancer.problem(picture, restraints)
    solver = MapSolver(space, picture, objective, settings, restraints.of(picture))
    try:
        if file is None:
            result = solver.run(callback)
        else:
            description = describe_run(picture, enhancer, restraints, space.tile)
            result = run_kept(solver, callback, file, description, saved)
    except UnlikeError as error:
        if not name:
            raise
        log.error("%s is returned as it is: %s", name, str(error))
        return _untouched(picture, Status.FAILED)
    except (NonFiniteError, torch.OutOfMemoryError) as error:
        if not name:
            if isinstance(error, NonFiniteError) and error.result is not None:
                error.result = _best_of_result_and_input(error.result, solver, picture)
            raise
        # As text: a log that keeps the error would keep all that its frames hold.
        log.error("%s failed: %s", name, str(error))
        result = solver.result(Status.FAILED)
    return _best_of_result_and_input(result, solver, picture)


def _untouched(picture: Tensor, status: Status) -> MapResult:
    return MapResult(status, picture.cpu(), picture.cpu(), 0, ())


def _best_of_result_and_input(result: MapResult, solver: MapSolver, picture: Tensor) -> MapResult:
    """The result, or the very input: what a lossy codec makes of it is no substitute."""
    if result.status is Status.CANCELLED and not result.trace:
        return result  # stopped in the start: there is nothing to compare
    before = _measure_input(result, solver, picture)
    rows = {row.iteration: row for row in result.trace}
    moved = result.best_iteration > 0 or solver.settings.start != "input"
    if rows and moved and rows[result.best_iteration].energy < before.energy:
        return replace(result, improved=True, before=before)
    return replace(
        result,
        x=picture.cpu(),
        y=picture.cpu(),
        best_iteration=0,
        member=0,
        improved=False,
        before=before,
    )


@torch.no_grad()
def _measure_input(result: MapResult, solver: MapSolver, picture: Tensor) -> TraceRow:
    """Energy and terms of the very input; those that look at noise, of the noise it is."""
    best = solver.progress.best
    exact = picture if best is None else picture.to(best.images.dtype)  # as iterates are judged
    objective, energies = solver.objective, solver.objective.without_noise()(exact, exact)
    energy = float(energies.energy)
    terms = {name: float(value) for name, value in energies.terms.items()}
    if objective.sees_noise:
        at_start = result.trace[0].terms if result.trace else {}
        noise = None if solver.settings.start == "input" and at_start else solver.space.origin()
        for term in (term for term in objective.terms if term.sees_noise):
            value = at_start.get(term.name, 0.0)
            if noise is not None:
                value = float(term.value(picture, picture, noise).mean())
            terms[term.name] = value
            energy += term.weight * value
    return TraceRow(-1, energy, terms)


def numbered(callback: Callback | None, index: int, count: int) -> Callback | None:
    """A callback that is told which picture of how many it is."""
    if callback is None:
        return None
    return lambda step: callback(replace(step, item=index, items=count))
