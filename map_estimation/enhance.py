"""Post-enhancement of whole pictures: any size, any batch, never worse than the input."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import bind_picture
from ..edict.inversion import InvertedPicture
from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity
from ..files.written import remove
from ..iqa_priors.prior import Prior
from .enhancer import Enhancer
from .restraints import FREE, Restraints, is_grey
from .result import MapResult, NonFiniteError, Status, TraceRow
from .resume import KeptRuns, describe_run, go_on, read_run, run_and_keep
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
        NonFiniteError when the energy of a single picture breaks down (in a batch that picture's
        status is FAILED, and the others go on).
    """
    enhancer = Enhancer(backbone, prior, fidelity, settings)
    try:
        results = list(enhance_each(image, enhancer, callback, state, restraints))
    except NonFiniteError:
        if state is not None and not keep_state:
            remove(state)
        raise
    if state is not None and not keep_state and results[0].status not in UNFINISHED:
        remove(state)
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
    if isinstance(state, Path) and len(image) > 1:
        raise ValueError(f"a state file keeps one picture, the batch holds {len(image)}")

    kept: list[Path] = []  # of the batch's pictures that are done

    def one(index: int, cancelled: bool) -> MapResult:
        item = image[index : index + 1].detach().to(device or image.device).clamp(0, 1)
        item = item.to(torch.promote_types(item.dtype, torch.float32))  # half is for networks
        held = replace(restraints.item(index, device), grey=restraints.grey or is_grey(item))
        report = _numbered(callback, index, len(image))
        if enhancer.settings.changes_nothing or held.forbids_all:
            return _untouched(item, Status.NOTHING_TO_DO)
        if cancelled:
            return _untouched(item, Status.CANCELLED)
        name = f"picture {index + 1} of {len(image)}" if len(image) > 1 else ""
        if not isinstance(state, KeptRuns):
            return _enhance_one(item, enhancer, held, report, state, name)
        kept.append(path := state.path(_describe(item, enhancer, held, None)))
        state.prepare(path)
        try:
            return _enhance_one(item, enhancer, held, report, path, name, state.tell)
        except NonFiniteError:
            remove(path)  # going on from there would break down again
            raise

    return _in_turn(one, len(image), kept)


def _in_turn(
    one: Callable[[int, bool], MapResult], count: int, kept: list[Path]
) -> Iterator[MapResult]:
    """The results one by one; states kept for the batch's sake go when all of it is done."""
    cancelled = False
    for index in range(count):
        result = one(index, cancelled)
        cancelled = cancelled or result.status is Status.CANCELLED
        yield result
    for path in () if cancelled else kept:
        path.unlink(missing_ok=True)


def _enhance_one(
    picture: Tensor,
    enhancer: Enhancer,
    restraints: Restraints,
    callback: Callback | None,
    state: Path | None,
    name: str,
    tell: Callable[[str], None] | None = None,
) -> MapResult:
    """Enhance one picture; one of a batch, which has a name, gives what it had reached.

    Where somebody is told, the states of a batch's pictures are kept when they are done, too.
    """
    saved = read_run(state)
    if saved is not None:
        enhancer = replace(enhancer, settings=saved.settle_tile(enhancer.settings))
    settings, (space, objective) = enhancer.settings, enhancer.problem(picture, restraints)
    solver = MapSolver(space, picture, objective, settings, restraints.of(picture))
    try:
        if state is None:
            result = solver.run(callback)
        else:
            description = _describe(picture, enhancer, restraints, space.tile)
            if saved is not None:
                go_on(solver, saved, description)
                if tell is not None:
                    tell(f"went on from iterate {solver.progress.iteration} of {state}")
            finished = tell is not None and bool(name)
            result = run_and_keep(solver, callback, state, description, tell, finished)
    except (NonFiniteError, torch.OutOfMemoryError) as error:
        if not name:
            if isinstance(error, NonFiniteError) and error.result is not None:
                error.result = _best_of_result_and_input(error.result, solver, picture)
            raise
        # As text: a log that keeps the error would keep all that its frames hold.
        log.error("%s failed: %s", name, str(error))
        result = solver.result(Status.FAILED)
    return _best_of_result_and_input(result, solver, picture)


def _describe(
    picture: Tensor, enhancer: Enhancer, restraints: Restraints, tile: int | None
) -> dict[str, Any]:
    settings = enhancer.settings
    return describe_run(
        picture,
        {
            "prior": enhancer.prior.identity,
            "fidelity": enhancer.fidelity.identity if settings.use_fidelity else "none",
            "backbone": enhancer.backbone.name if settings.space == "diffusion" else "none",
            "restraints": restraints.describe(),
        },
        settings,
        tile,
    )


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


def optimise_noise(
    inverted: InvertedPicture,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
    restraints: Restraints = FREE,
) -> list[tuple[InvertedPicture, MapResult]]:
    """Move already inverted pictures' noise, each picture of the batch by itself.

    Args:
        inverted: from `invert_picture`; their options take the place of the settings', and their
            noise is what the ascent starts from, whatever start the settings name.
        prior, fidelity, settings, callback: as for `enhance`; the space must be "diffusion".
        restraints: where changes count more; nothing can be held fixed, since noise is returned.
    Returns: per picture its best noise and the result.
    Raises: ValueError for settings that cannot work.
    """
    settings = replace(settings, start="input", inversion=inverted.bound.options)
    enhancer = Enhancer(inverted.bound.backbone, prior, fidelity, settings).fitted()
    enhancer.check(inverted.bound.picture, restraints)
    if restraints.mask is not None or restraints.anchor_colours:
        raise ValueError("noise cannot keep pixels or colours: use Post-Enhance for them")
    if settings.space != "diffusion":
        raise ValueError("noise can only be optimised in diffusion space: use Post-Enhance")
    optimised, items = [], _split(inverted)
    for index, item in enumerate(items):
        report = _numbered(callback, index, len(items))
        held = restraints.item(index, item.bound.picture.device)
        space, objective = enhancer.problem_of(item.bound, held, item.noise)
        result = MapSolver(space, item.bound.picture, objective, enhancer.settings).run(report)
        noise = item.noise
        if result.variables:
            noise = LatentPair(*(v.to(noise.x) for v in result.variables))
        optimised.append((InvertedPicture(noise, space.bound), result))
    return optimised


def _split(inverted: InvertedPicture) -> list[InvertedPicture]:
    """One for each picture, each bound to its own picture."""
    bound = inverted.bound
    if len(bound.picture) == 1:
        return [inverted]
    return [
        InvertedPicture(LatentPair(x, y), bind_picture(bound.backbone, picture, bound.options))
        for picture, x, y in zip(
            bound.picture.split(1), *(z.split(1) for z in inverted.noise), strict=True
        )
    ]


def _numbered(callback: Callback | None, index: int, count: int) -> Callback | None:
    if callback is None:
        return None
    return lambda step: callback(replace(step, item=index, items=count))
