"""Post-enhancement of whole pictures: any size, any batch, never worse than the input."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from ..edict.bijections.edict import LatentPair
from ..edict.inversion import EdictLatents, bind, check_picture
from ..edict.protocols import Backbone
from ..fidelity.fidelity import Fidelity, check_fidelity
from ..files.state_file import load_state, save_state
from ..iqa_priors.prior import Prior, check_climbable, check_prior
from .objective import Objective
from .restraints import Restraints
from .result import MapResult, MapStep, NonFiniteError, Status
from .settings import MapSettings
from .solver import Callback, MapSolver
from .spaces import DiffusionSpace, PixelSpace, Space

log = logging.getLogger(__name__)
STATE_KIND = "MAP estimation"
FREE = Restraints()


def enhance(
    image: Tensor,
    backbone: Backbone,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
    state: Path | None = None,
    restraints: Restraints = FREE,
) -> list[MapResult]:
    """Enhance a batch of pictures, one after the other.

    Args:
        image: RGB in [0, 1], shape (B, 3, H, W), any size from 16 pixels a side.
        backbone: the diffusion model; the work is done where it is.
        prior: the quality model q.
        fidelity: D0, distance to the input.
        settings: a preset or your own.
        callback: sees each evaluated iterate; may raise `Cancel`: the pictures not yet begun come
            back as they are.
        state: file to keep the optimiser's state in when a run ends early (one picture only); a
            run that finds it goes on from there.
        restraints: masks, and whether colours are held.
    Returns: one result per picture; its picture is never worse than the input by the objective,
        and the very input where nothing better was found.
    Raises: ValueError for input or settings that cannot work, before anything is computed;
        NonFiniteError when the energy of a single picture breaks down (in a batch that picture's
        status is FAILED, and the others go on).
    """
    return list(
        enhance_each(image, backbone, prior, fidelity, settings, callback, state, restraints)
    )


def enhance_each(
    image: Tensor,
    backbone: Backbone,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
    state: Path | None = None,
    restraints: Restraints = FREE,
    device: torch.device | None = None,
) -> Iterator[MapResult]:
    """`enhance`, each picture when its result is asked for: memory is one picture's.

    Args:
        device: where the backbone is; each picture and its masks go there when their turn comes,
            and the results, which are on the CPU, leave nothing there. Default: where they are.
    Raises: as `enhance`; what can be refused is, before the first result is asked for.
    """
    check_picture(image)
    check_prior(prior, image)
    check_climbable(prior)
    if settings.use_fidelity:
        check_fidelity(fidelity, image)
    restraints.check(image)
    if state is not None and len(image) > 1:
        raise ValueError(f"a state file keeps one picture, the batch holds {len(image)}")

    def one(index: int, cancelled: bool) -> MapResult:
        item = image[index : index + 1].detach().to(device or image.device).clamp(0, 1)
        held = restraints.item(index, device)
        if settings.lam == 0 or settings.iterations == 0 or held.forbids_all:
            return _untouched(item, Status.NOTHING_TO_DO)
        if cancelled:
            return _untouched(item, Status.CANCELLED)
        term = held.fidelity(fidelity) if settings.use_fidelity else None
        objective = Objective(prior, term, settings.lam)
        space = held.space(_space(backbone, item, settings), item)
        solver = MapSolver(space, item, objective, settings)
        report = _numbered(callback, index, len(image))
        try:
            result = _run(solver, report, state, held)
        except (NonFiniteError, torch.OutOfMemoryError) as error:
            if len(image) == 1:
                raise
            # As text: a log that keeps the error would keep all that its frames hold.
            log.error("picture %d of %d failed: %s", index + 1, len(image), str(error))
            result = solver.result(Status.FAILED)
        return _best_of_result_and_input(result, item, objective)

    return _in_turn(one, len(image))


def _in_turn(one: Callable[[int, bool], MapResult], count: int) -> Iterator[MapResult]:
    cancelled = False
    for index in range(count):
        result = one(index, cancelled)
        cancelled = cancelled or result.status is Status.CANCELLED
        yield result


def _untouched(picture: Tensor, status: Status) -> MapResult:
    return MapResult(status, picture.cpu(), picture.cpu(), 0, ())


def _best_of_result_and_input(result: MapResult, picture: Tensor, objective: Objective):
    """The result, or the very input: what a lossy codec makes of it is no substitute."""
    with torch.no_grad():
        input_energy = float(objective(picture, picture).energy)
    if result.improved and result.trace[result.best_iteration].energy < input_energy:
        return result
    return replace(result, x=picture.cpu(), y=picture.cpu(), best_iteration=0, member=0)


def optimise_latents(
    latents: EdictLatents,
    prior: Prior,
    fidelity: Fidelity,
    settings: MapSettings,
    callback: Callback | None = None,
) -> list[tuple[EdictLatents, MapResult]]:
    """Move already inverted pictures' noise, each picture of the batch by itself.

    Args:
        latents: from `invert_picture`; their options take the place of the settings'.
        prior, fidelity, settings, callback: as for `enhance`; the space must be "diffusion".
    Returns: per picture its best noise and the result.
    Raises: ValueError for settings that cannot work.
    """
    check_prior(prior, latents.picture)
    check_climbable(prior)
    if settings.use_fidelity:
        check_fidelity(fidelity, latents.picture)
    if settings.space != "diffusion":
        raise ValueError("noise can only be optimised in diffusion space: use Post-Enhance")
    objective = Objective(prior, fidelity if settings.use_fidelity else None, settings.lam)
    found = []
    items = _split(latents)
    for index, item in enumerate(items):
        report = _numbered(callback, index, len(items))
        space = DiffusionSpace(
            item.backbone, item.picture, item.options, settings.memory, inverted=item
        )
        result = MapSolver(space, item.picture, objective, settings).run(report)
        x, y = (v.to(item.pair.x) for v in result.variables) if result.variables else item.pair
        moved = replace(
            item,
            pair=LatentPair(x, y),
            bijection=space.bijection,
            codec=space.codec,
            options=space.options,
        )
        found.append((moved, result))
    return found


def _split(latents: EdictLatents) -> list[EdictLatents]:
    """One EdictLatents per picture, each bound to its own picture."""
    if len(latents.picture) == 1:
        return [latents]
    items = []
    for picture, x, y in zip(
        latents.picture.split(1), latents.pair.x.split(1), latents.pair.y.split(1), strict=True
    ):
        bijection, codec = bind(latents.backbone, picture, latents.options)
        pair = LatentPair(x, y)
        items.append(replace(latents, pair=pair, bijection=bijection, codec=codec, picture=picture))
    return items


def _space(backbone: Backbone, picture: Tensor, settings: MapSettings) -> Space:
    if settings.space == "pixel":
        return PixelSpace(picture)
    return DiffusionSpace(
        backbone, picture, settings.inversion, settings.memory, settings.check_round_trip
    )


def _numbered(callback: Callback | None, index: int, count: int) -> Callback | None:
    if callback is None:
        return None
    return lambda step: callback(replace(step, item=index, items=count))


def _run(
    solver: MapSolver, callback: Callback | None, path: Path | None, held: Restraints
) -> MapResult:
    """Run, from a saved state if there is one; keep the state when the run does not end."""
    if path is None:
        return solver.run(callback)
    if path.exists():
        tensors, found = load_state(path, STATE_KIND)
        _take_tile(solver, found)
        _check_same(_describe(solver, held), found, path)
        solver.load_state(tensors)
        log.info("going on from iteration %d of %s", solver.iteration, path)
    try:
        result = solver.run(callback)
    except NonFiniteError:
        path.unlink(missing_ok=True)  # going on from there would break down again
        raise
    except BaseException:
        _keep_state(solver, path, held)
        raise
    if result.status is Status.CANCELLED:
        _keep_state(solver, path, held)
    else:
        path.unlink(missing_ok=True)
    return result


def _take_tile(solver: MapSolver, found: dict) -> None:
    """The tile of a saved run, if it is not the user's choice: its noise belongs to that map."""
    if solver.settings.inversion.tile == "auto":
        solver.space.retile(found.get("settings", {}).get("inversion", {}).get("tile"))


def _keep_state(solver: MapSolver, path: Path, held: Restraints) -> None:
    """Save what a later run can go on from; a full disk must not cost the result."""
    try:
        if tensors := solver.state():
            save_state(path, STATE_KIND, tensors, _describe(solver, held))
    except OSError as error:
        log.error("the state could not be kept in %s: %s", path, error)


def _describe(solver: MapSolver, held: Restraints) -> dict:
    """What a resumed run must have in common with the saved one."""
    settings = asdict(solver.settings)
    checks = ("check_round_trip", "check_gradient")
    for free in ("iterations", "patience", "target_quality", "memory", *checks):
        settings.pop(free)
    settings["inversion"]["tile"] = solver.space.tile
    fidelity = solver.objective.fidelity
    pixels = solver.reference.float().cpu().contiguous().numpy()
    return {
        "picture": f"{pixels.shape} {hashlib.sha256(pixels.tobytes()).hexdigest()}",
        "prior": solver.objective.prior.name,
        "fidelity": "none" if fidelity is None else fidelity.identity,
        "backbone": getattr(getattr(solver.space, "backbone", None), "name", "none"),
        "settings": settings,
        "restraints": held.describe(),
        "torch": torch.__version__,
    }


def _check_same(wanted: dict, found: dict, path: Path) -> None:
    differing = [k for k, v in wanted.items() if k != "torch" and found.get(k) != v]
    if differing:
        raise ValueError(
            f"{path} belongs to another run (different {', '.join(differing)}): delete it to start "
            "anew, or give the same picture and settings"
        )


__all__ = ["MapStep", "enhance", "enhance_each", "optimise_latents"]
