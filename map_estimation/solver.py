"""Diffusion latent MAP estimation by gradient descent on the energy, Algorithm 1."""

import logging
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..edict.memory import is_out_of_memory, return_cached_memory
from .gradient_check import check_gradient
from .lbfgs import Lbfgs
from .objective import Objective, Terms, warn_if_flat
from .result import Cancel, MapResult, MapStep, NonFiniteError, Status, TraceRow
from .settings import MapSettings
from .spaces import Space

log = logging.getLogger(__name__)
ADAM_EPS = 1e-20
# Learning rates that L-BFGS may go at once. Where quality is nearly a straight line, its own steps
# soon are as long as the noise itself.
LONGEST = 5
Callback = Callable[[MapStep], None]


class MapSolver:
    """One picture's MAP estimation: variables, optimiser state and the best iterate so far.

    Args:
        space: where to optimise; its picture is the input.
        reference: the input picture x_init, (1, 3, H, W), RGB in [0, 1].
        objective: the energy.
        settings: iterations, optimiser, stop rules.
    """

    def __init__(
        self, space: Space, reference: Tensor, objective: Objective, settings: MapSettings
    ):
        if len(reference) != 1:
            raise ValueError(
                f"one picture at a time, got {len(reference)}: use enhance for batches"
            )
        self.space, self.reference = space, reference
        self.objective, self.settings = objective, settings
        self.iteration = 0
        self.trace: list[TraceRow] = []
        self.best: dict[str, Any] = {"energy": math.inf, "iteration": 0}
        self._variables: list[Tensor] | None = None
        self._optimizer: torch.optim.Optimizer | Lbfgs | None = None
        self._tile = space.tile  # of the map that the variables belong to
        self._latents: Tensor | None = None  # of the iterate evaluated last

    def run(self, callback: Callback | None = None) -> MapResult:
        """Run to the end; calling it again goes on from where it stopped.

        Args:
            callback: called after each evaluation; may raise `Cancel` to stop with the best so
                far. Any other exception passes through and leaves the solver usable.
        Returns: the best iterate.
        Raises: NonFiniteError when the energy is NaN or infinite; torch.OutOfMemoryError when even
            the smallest tiles do not fit.
        Source: Zhang et al., arXiv 2403.06406, Algorithm 1.
        """
        try:
            if self.iteration == 0:
                self._variables = None
            status = self._stop_status()
            while status is None:
                self._step_in_the_memory_there_is(callback)
                status = self._stop_status()
        except Cancel:
            status = Status.CANCELLED
        return self.result(status)

    def set_variables(self, variables: list[Tensor]) -> None:
        """Start (or go on) from these variables, with a fresh optimiser."""
        self._variables = [torch.nn.Parameter(v.detach().clone()) for v in variables]
        self._tile = self.space.tile
        rate, momentum = self.settings.learning_rate, self.settings.momentum
        if self.settings.optimizer == "sgd":
            self._optimizer = torch.optim.SGD(self._variables, lr=rate, momentum=momentum)
        elif self.settings.optimizer == "lbfgs":
            self._optimizer = Lbfgs(self._variables, rate, longest=LONGEST * rate)
        else:
            # Gradients shrink with the picture's area: with a larger eps the step would, too.
            self._optimizer = torch.optim.Adam(
                self._variables, lr=rate, betas=(momentum, 0.999), eps=ADAM_EPS
            )

    def result(self, status: Status) -> MapResult:
        """The best iterate so far; the input if nothing has been evaluated yet."""
        images = self.best.get("images")
        if images is None:
            images = self.reference.cpu()
        return MapResult(
            status,
            images[:1].float(),
            images[-1:].float(),
            self.best["iteration"],
            tuple(self.trace),
            tuple(self.best.get("variables", ())),
            self.best.get("member", 0),
        )

    def _step_in_the_memory_there_is(self, callback: Callback | None) -> None:
        """A step; where memory runs out, again in less: from the last iterate."""
        while True:
            try:
                self._begin()
                return self._step(callback)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error) or type(error).__name__
            # Here the failed attempt's tensors are gone: they went with the exception.
            return_cached_memory(self.reference.device)
            if not self.space.shrink():
                raise torch.OutOfMemoryError(
                    f"{reason} (at iteration {self.iteration}, with tiles of "
                    f"{self.space.tile or 'the whole picture'}, which cannot get smaller): close "
                    "other programs, or use a smaller picture"
                )
            log.warning("%s: going on with less memory, tile %s", reason, self.space.tile)

    def _begin(self) -> None:
        """Variables of the space's present map: the input's, or those of before translated.

        The latents stay what they are: another map reconstructs them from another noise. What
        the optimiser has gathered belongs to the old noise and is dropped.
        """
        if self._variables is None or (self._latents is None and self._tile != self.space.tile):
            self.set_variables(self.space.start())
        if self._tile == self.space.tile or self._latents is None:
            return
        best = self.best.get("latents")
        found = [] if best is None else self.space.adopt(best.to(self.reference.device))
        self.set_variables(self.space.adopt(self._latents))
        self.best["variables"] = [v.cpu() for v in found]

    def _step(self, callback: Callback | None) -> None:
        """Evaluate the current iterate (lines 4-7) and, unless it is the last, move on (8-11)."""
        last = self.iteration == self.settings.iterations
        assert self._variables is not None
        latents = self.space.synthesise(self._variables, with_gradient=not last)
        self._latents = latents.detach()
        latents.requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            images, terms = self._evaluate(latents)
            energy = terms.energy.mean()
        row = self._record(images.detach(), terms)
        gradients = None
        if not last:
            (gradient,) = torch.autograd.grad(energy, latents)
            gradients = self.space.pull_back(gradient)
            if self.iteration == 0:
                self._check_gradient(gradients, row)
        self._report(callback, row, images.detach())
        if gradients is not None:
            self._move(gradients, row.energy)
        self.iteration += 1

    def _evaluate(self, latents: Tensor) -> tuple[Tensor, Terms]:
        """Pictures of latents, and their energies."""
        images = _clamped(self.space.decode(latents))
        reference = self.reference.to(images).expand_as(images)
        return images, self.objective(images, reference)

    def _check_gradient(self, gradients: list[Tensor], row: TraceRow) -> None:
        """Warn if a finite difference along the gradient disagrees with it."""
        if not self.settings.check_gradient or self.settings.space == "pixel":
            return
        assert self._variables is not None

        def energy(variables: list[Tensor]) -> float:
            with torch.no_grad():
                latents = self.space.synthesise(variables, with_gradient=False)
                return float(self._evaluate(latents)[1].energy.double().mean())

        scale = abs(row.fidelity) + self.objective.lam * abs(row.quality)
        check_gradient(energy, self._variables, gradients, row.energy, scale)

    def _record(self, images: Tensor, terms: Terms) -> TraceRow:
        """Add a row to the trace and keep the iterate if it is the best."""
        means = {name: float(term.detach().mean()) for name, term in terms._asdict().items()}
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            culprit = broken[-1] if broken != ["energy"] else "energy"
            raise NonFiniteError(
                f"{culprit} is not finite at iteration {self.iteration}: lower the learning rate "
                "or set a gradient clip; the best iterate before that is kept",
                self.result(Status.CANCELLED),
            )
        if self.iteration == 0:
            warn_if_flat(self.objective.prior, means["quality"])
        row = TraceRow(self.iteration, **means)
        del self.trace[self.iteration :]  # an interrupted iteration is evaluated again
        self.trace.append(row)
        if row.energy < self.best["energy"]:
            self.best = {
                "energy": row.energy,
                "iteration": self.iteration,
                "images": images.cpu(),
                "member": int(terms.energy.detach().argmin()),
                "variables": [v.detach().cpu().clone() for v in self._variables or ()],
                "latents": None if self._latents is None else self._latents.cpu(),
            }
        return row

    def _report(self, callback: Callback | None, row: TraceRow, images: Tensor) -> None:
        log.debug("%s", row)
        if callback is not None:
            is_best = self.best["iteration"] == row.iteration
            callback(MapStep(row, self.settings.iterations, is_best, images[:1].cpu))

    def _move(self, gradients: list[Tensor], energy: float) -> None:
        assert self._variables is not None
        assert self._optimizer is not None
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients))
        if not math.isfinite(norm):
            raise NonFiniteError(
                f"the gradient is not finite at iteration {self.iteration}: choose another prior "
                "or fidelity, or a float32 network; the best iterate before that is kept",
                self.result(Status.CANCELLED),
            )
        factor = min(1.0, self.settings.clip / norm) if self.settings.clip and norm else 1.0
        for variable, gradient in zip(self._variables, gradients, strict=True):
            variable.grad = (factor * gradient).to(variable)
        if isinstance(self._optimizer, Lbfgs):
            self._optimizer.step(energy)
        else:
            self._optimizer.step()

    def _stop_status(self) -> Status | None:
        """Why to stop now, or None."""
        if self.iteration > self.settings.iterations:
            return Status.ITERATIONS_DONE
        if self.trace:
            target, patience = self.settings.target_quality, self.settings.patience
            if target is not None and self.trace[-1].quality >= target:
                return Status.TARGET_REACHED
            if patience and self.trace[-1].iteration - self.best["iteration"] >= patience:
                return Status.NO_IMPROVEMENT
        if isinstance(self._optimizer, Lbfgs) and self._optimizer.finished:
            return Status.CONVERGED
        return None

    def state(self) -> dict[str, Tensor]:
        """Everything a resumed run needs, as named tensors; empty before the first step is done."""
        if self._variables is None or self._optimizer is None or self.iteration == 0:
            return {}
        tensors = {f"variable.{i}": v.detach() for i, v in enumerate(self._variables)}
        for i, slots in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{k}": v for k, v in slots.items() if v is not None}
        if "images" in self.best:
            tensors["best.images"] = self.best["images"]
            tensors["best.iteration"] = torch.tensor(self.best["iteration"])
            tensors["best.member"] = torch.tensor(self.best["member"])
            tensors |= {f"best.variable.{i}": v for i, v in enumerate(self.best["variables"])}
        for name, latents in (("", self._latents), ("best.", self.best.get("latents"))):
            if latents is not None:
                tensors[f"{name}latents"] = latents
        tensors["trace"] = torch.tensor([list(row) for row in self.trace], dtype=torch.float64)
        tensors["iteration"] = torch.tensor(self.iteration)
        return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a state of the same picture and settings; the rest is bit for bit the same.

        Raises: ValueError if tensors are missing.
        """
        try:
            device = self.reference.device
            variables = _numbered(tensors, "variable.")
            self.set_variables([v.to(device) for v in variables])
            self.iteration = int(tensors["iteration"])
            latents = tensors.get("latents")
            self._latents = None if latents is None else latents.to(device)
            rows = tensors["trace"].reshape(-1, len(TraceRow._fields)).tolist()
            self.trace = [TraceRow(int(row[0]), *row[1:]) for row in rows]
            if "best.images" in tensors:
                iteration = int(tensors["best.iteration"])
                energies = {row.iteration: row.energy for row in self.trace}
                self.best = {
                    "energy": energies[iteration],
                    "iteration": iteration,
                    "images": tensors["best.images"],
                    "member": int(tensors["best.member"]),
                    "variables": _numbered(tensors, "best.variable."),
                    "latents": tensors.get("best.latents"),
                }
            self._load_optimizer(tensors, len(variables))
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"the saved state lacks {error}: start anew without it") from error

    def _load_optimizer(self, tensors: dict[str, Tensor], count: int) -> None:
        assert self._optimizer is not None
        state = self._optimizer.state_dict()
        for i in range(count):
            prefix = f"optimizer.{i}."
            slots = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
            if slots:
                state["state"][i] = slots
        self._optimizer.load_state_dict(state)


def _clamped(image: Tensor) -> Tensor:
    """Into [0, 1]; unlike torch.clamp's, the gradient of a pixel at exactly 0 or 1 is kept."""
    return torch.where(image < 0, 0.0, torch.where(image > 1, 1.0, image))


def _numbered(tensors: dict[str, Tensor], prefix: str) -> list[Tensor]:
    count = sum(name.startswith(prefix) for name in tensors)
    return [tensors[f"{prefix}{i}"] for i in range(count)]
