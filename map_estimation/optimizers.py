"""The optimisers behind one convention: told the energy, they move the variables."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from .lbfgs import Lbfgs
from .settings import MapSettings, OptimizerName

ADAM_EPS = 1e-20
# Learning rates that L-BFGS may go at once. Where quality is nearly a straight line, its own steps
# soon are as long as the noise itself.
LONGEST = 5
Variables = list[Tensor]


class Optimizer(Protocol):
    """Moves variables by their `grad`; what it has gathered can be saved.

    Attributes:
        finished: whether no step leads further down.
    """

    finished: bool

    def step(self, energy: float) -> None:
        """Move the variables, whose energy is told."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What it has gathered, as torch's optimisers give it."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        ...


class _OfTorch:
    """One of torch's optimisers, which do not ask for the energy.

    Args:
        optimizer: of torch, fresh.
        slots: what it keeps of each variable after a step.
    """

    finished = False

    def __init__(self, optimizer: torch.optim.Optimizer, slots: set[str]):
        self._optimizer, self._slots = optimizer, slots

    def step(self, energy: float) -> None:  # noqa: ARG002
        """Move the variables."""
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Momentum and the like."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there. Raises ValueError if that is not what it keeps."""
        variables: Variables = self._optimizer.param_groups[0]["params"]
        for index, variable in enumerate(variables):
            kept = state["state"].get(index, {})
            shapes = {variable.shape, torch.Size([])}
            if set(kept) != self._slots or not all(
                slot.shape in shapes and slot.is_floating_point() and slot.isfinite().all()
                for slot in kept.values()
            ):
                raise ValueError(f"the optimiser's state of variable {index}")
        self._optimizer.load_state_dict(state)


def _sgd(variables: Variables, settings: MapSettings) -> Optimizer:
    rate, momentum = settings.learning_rate, settings.momentum
    slots = {"momentum_buffer"} if momentum else set()
    return _OfTorch(torch.optim.SGD(variables, lr=rate, momentum=momentum), slots)


def _adam(variables: Variables, settings: MapSettings) -> Optimizer:
    # Gradients shrink with the picture's area: with a larger eps the step would, too.
    betas = settings.momentum, 0.999
    return _OfTorch(
        torch.optim.Adam(variables, lr=settings.learning_rate, betas=betas, eps=ADAM_EPS),
        {"step", "exp_avg", "exp_avg_sq"},
    )


def _lbfgs(variables: Variables, settings: MapSettings) -> Optimizer:
    rate = settings.learning_rate
    return Lbfgs(variables, rate, longest=LONGEST * rate)


OPTIMIZERS: dict[OptimizerName, Callable[[Variables, MapSettings], Optimizer]] = {
    "sgd": _sgd,
    "adam": _adam,
    "lbfgs": _lbfgs,
}
