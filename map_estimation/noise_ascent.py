"""MAP estimation of pictures that have been inverted already: their noise, moved."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

from ..edict.bijections.bijection import LatentPair
from ..edict.bound_picture import bind_picture
from ..edict.inversion import InvertedPicture
from ..fidelity.fidelity import Fidelity
from ..iqa_priors.prior import Prior
from .enhance import numbered
from .enhancer import Enhancer
from .kept_runs import KeptRuns, StateFile, check_state
from .restraints import FREE, Restraints
from .result import MapResult, NonFiniteError, Status
from .resume import NOISE, describe_run, fingerprint, read_run, run_kept, with_tile
from .settings import MapSettings
from .solver import Callback, MapSolver
from .spaces import DiffusionSpace


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
    items = _split(inverted)
    device = inverted.bound.picture.device
    given = ((item, restraints.item(index, device)) for index, item in enumerate(items))
    return list(optimise_each(given, len(items), prior, fidelity, settings, callback))


def optimise_each(
    pictures: Iterable[tuple[InvertedPicture, Restraints]],
    count: int,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
    states: KeptRuns | None = None,
) -> Iterator[tuple[InvertedPicture, MapResult]]:
    """`optimise_noise`, each picture when its result is asked for: memory is one picture's.

    Args:
        pictures: single ones with their restraints, made when their turn comes.
        count: how many there are.
        states: where their states are kept until all of them are done; a run that finds its own
            goes on from there.
    Raises: as `optimise_noise`; ValueError for a state of another run.
    """
    check_state(states, count)
    left = iter(pictures)
    files: list[StateFile] = []
    ends: list[Status] = []

    def one(index: int) -> tuple[InvertedPicture, MapResult]:
        item, held = next(left)
        run = _prepared(item, held, prior, fidelity, settings)
        report = numbered(callback, index, count)
        if states is None:
            return run.moved(run.solver.run(report))
        files.append(file := states.file(run.description, count > 1))
        try:
            result = run.kept(report, file)
        except NonFiniteError:
            states.release([file])  # going on from there would break down again
            raise
        ends.append(result.status)
        return run.moved(result)

    def each() -> Iterator[tuple[InvertedPicture, MapResult]]:
        for index in range(count):
            yield one(index)
        if states is not None and Status.CANCELLED not in ends:
            states.release(files)

    return each()


class _Run(NamedTuple):
    """One picture's ascent, before it begins."""

    item: InvertedPicture
    space: DiffusionSpace
    solver: MapSolver
    description: dict[str, Any]

    def kept(self, callback: Callback | None, file: StateFile) -> MapResult:
        """Its result, with the state in a file, from where a saved run was."""
        saved = read_run(file.path)
        if saved is not None:
            while self.space.tile != saved.tile and self.space.shrink():
                pass  # as it did before: what was given is of the tile it was inverted on
        description = with_tile(self.description, self.space.tile)
        return run_kept(self.solver, callback, file, description, saved)

    def moved(self, result: MapResult) -> tuple[InvertedPicture, MapResult]:
        """The best noise, on the map that it belongs to, and the result."""
        noise = self.item.noise
        if result.variables:
            noise = LatentPair(*(v.to(noise.x) for v in result.variables))
        return InvertedPicture(noise, self.space.bound), result


def _prepared(
    item: InvertedPicture,
    held: Restraints,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
) -> _Run:
    picture = item.bound.picture
    settings = replace(settings, start="input", inversion=item.bound.options)
    enhancer = Enhancer(item.bound.backbone, prior, fidelity, settings).fitted()
    enhancer.check(picture, held)
    if held.mask is not None or held.anchor_colours:
        raise ValueError("noise cannot keep pixels or colours: use Post-Enhance for them")
    if settings.space != "diffusion":
        raise ValueError("noise can only be optimised in diffusion space: use Post-Enhance")
    space, objective = enhancer.problem_of(item.bound, held, item.noise)
    solver = MapSolver(space, picture, objective, enhancer.settings)
    description = describe_run(picture, enhancer, held, space.tile)
    description[NOISE] = " ".join(fingerprint(part) for part in item.noise)
    return _Run(item, space, solver, description)


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
