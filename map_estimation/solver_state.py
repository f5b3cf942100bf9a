"""A solver's progress as named tensors, from which another one goes on bit for bit."""

import torch
from torch import Tensor

from ..files.devices import exact
from .iterate import Iterate
from .result import TraceRow
from .solver import Descent, MapSolver, Progress


def state_of(solver: MapSolver) -> dict[str, Tensor]:
    """Everything a resumed run needs; empty before the first step is done, or within a move."""
    descent, now = solver.descent, solver.progress
    if descent is None or now.iteration == 0 or not solver.between_steps:
        return {}
    tensors = {f"variable.{i}": v.detach() for i, v in enumerate(descent.variables)}
    for i, slots in descent.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{k}": v for k, v in slots.items() if v is not None}
    if now.latents is not None:
        tensors["latents"] = now.latents
    if now.best is not None:
        tensors |= _best_tensors(now.best)
    names = list(now.trace[0].terms)
    rows = [[row.iteration, row.energy, *(row.terms[n] for n in names)] for row in now.trace]
    tensors["trace"] = torch.tensor(rows, dtype=torch.float64)
    tensors["trace.terms"] = torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8)
    tensors["iteration"] = torch.tensor(now.iteration)
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def restore(solver: MapSolver, tensors: dict[str, Tensor]) -> None:
    """Go on from a state of the same picture and settings; the rest is bit for bit the same.

    Raises: ValueError if tensors are missing.
    """
    try:
        device = solver.reference.device
        variables = _numbered(tensors, "variable.")
        latents = tensors.get("latents")
        trace = _trace(tensors, {term.name for term in solver.objective.terms})
        progress = Progress(
            int(tensors["iteration"]),
            trace,
            _best(tensors, trace),
            None if latents is None else exact(latents, device),
        )
        if not 1 <= progress.iteration <= len(trace):
            raise KeyError("iterations")
        if len(variables) != solver.space.variables:
            raise KeyError("variables")
        descent = solver.begin([exact(v, device) for v in variables])
        _restore_optimizer(descent, tensors)
        solver.progress = progress
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the saved state lacks {error}: start anew without it") from error


def best_and_trace(tensors: dict[str, Tensor]) -> tuple[Iterate | None, list[TraceRow]]:
    """The best iterate and the trace of a state, without what it takes to go on.

    Raises: ValueError if tensors are missing.
    """
    try:
        trace = _trace(tensors, None)
        return _best(tensors, trace), trace
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"the saved state lacks {error}: start anew without it") from error


def _best_tensors(best: Iterate) -> dict[str, Tensor]:
    tensors = {
        "best.images": best.images,
        "best.iteration": torch.tensor(best.row.iteration),
        "best.member": torch.tensor(best.member),
    }
    tensors |= {f"best.variable.{i}": v for i, v in enumerate(best.variables)}
    return tensors if best.latents is None else {**tensors, "best.latents": best.latents}


def _best(tensors: dict[str, Tensor], trace: list[TraceRow]) -> Iterate | None:
    if "best.images" not in tensors:
        return None
    rows = {row.iteration: row for row in trace}
    return Iterate(
        rows[int(tensors["best.iteration"])],
        tensors["best.images"],
        int(tensors["best.member"]),
        tuple(_numbered(tensors, "best.variable.")),
        tensors.get("best.latents"),
    )


def _trace(tensors: dict[str, Tensor], wanted: set[str] | None) -> list[TraceRow]:
    """The rows with the terms wanted; None is all."""
    # States of version 0.1 name no terms, and have zeros for a fidelity that was left out.
    saved = tensors.get("trace.terms")
    names = ["fidelity", "quality"] if saved is None else bytes(saved.tolist()).decode().split("\n")
    rows = tensors["trace"].reshape(-1, 2 + len(names)).tolist()
    trace = []
    for iteration, energy, *values in rows:
        terms = {n: v for n, v in zip(names, values, strict=True) if not wanted or n in wanted}
        trace.append(TraceRow(int(iteration), energy, terms))
    return trace


def _restore_optimizer(descent: Descent, tensors: dict[str, Tensor]) -> None:
    state = descent.optimizer.state_dict()
    for i in range(len(descent.variables)):
        prefix = f"optimizer.{i}."
        slots = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        if slots:
            state["state"][i] = slots
    descent.optimizer.load_state_dict(state)


def _numbered(tensors: dict[str, Tensor], prefix: str) -> list[Tensor]:
    count = sum(name.startswith(prefix) for name in tensors)
    return [tensors[f"{prefix}{i}"] for i in range(count)]
