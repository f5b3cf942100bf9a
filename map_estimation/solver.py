"""Diffusion latent MAP estimation by gradient descent on the energy, Algorithm 1."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ..edict.memory import return_cached_memory
from ..files.lack_of_memory import is_out_of_memory
from .gradient_check import check_judge, check_parts, warn_if_wrong
from .iterate import Iterate, Numbers, better_than, read_numbers
from .objective import Energies, Objective
from .optimizers import OPTIMIZERS, Optimizer
from .restraints import Restraint
from .result import Cancel, MapResult, MapStep, NonFiniteError, Status, TraceRow
from .settings import MapSettings
from .spaces import Space

log = logging.getLogger(__name__)
Callback = Callable[[MapStep], None]


@dataclass
class Descent:
    """Variables on their way, and the optimiser that moves them.

    Attributes:
        variables: of the space's map with the tile `tile`.
        optimizer: moves them; what it has gathered belongs to them.
    """

    variables: list[Tensor]
    optimizer: Optimizer
    tile: int | None


@dataclass
class Progress:
    """How far a run has come; all that a later one needs besides its descent.

    Attributes:
        iteration: the next to evaluate.
        trace: the rows of those before.
        best: the iterate of lowest energy.
        latents: of the iterate evaluated last.
    """

    iteration: int = 0
    trace: list[TraceRow] = field(default_factory=list)
    best: Iterate | None = None
    latents: Tensor | None = None

    @property
    def best_iteration(self) -> int:
        """Which iterate is the best; 0 is the input."""
        return 0 if self.best is None else self.best.row.iteration


class MapSolver:
    """One picture's MAP estimation: its variables on their way, and the best iterate so far.

    Args:
        space: where to optimise; its picture is the input.
        reference: the input picture x_init, (1, 3, H, W), RGB in [0, 1].
        objective: the energy.
        settings: iterations, optimiser, stop rules.
        restrain: what of the pictures is held fixed; None leaves them free.
    """

    def __init__(
        self,
        space: Space,
        reference: Tensor,
        objective: Objective,
        settings: MapSettings,
        restrain: Restraint | None = None,
    ):
        if len(reference) != 1:
            raise ValueError(
                f"one picture at a time, got {len(reference)}: use enhance for batches"
            )
        self.space, self.reference = space, reference
        self.objective, self.settings, self.restrain = objective, settings, restrain
        self.progress = Progress()
        self.descent: Descent | None = None
        self._moving = False

    @property
    def between_steps(self) -> bool:
        """Whether a run could go on from here: variables, optimiser and map belong together."""
        descent = self.descent
        return descent is not None and not self._moving and descent.tile == self.space.tile

    def run(
        self, callback: Callback | None = None, moved: Callable[[], None] | None = None
    ) -> MapResult:
        """Run to the end; calling it again goes on from where it stopped.

        Args:
            callback: called after each evaluation; may raise `Cancel` to stop with the best so
                far. Any other exception passes through and leaves the solver usable.
            moved: called when an iteration is complete.
        Returns: the best iterate.
        Raises: NonFiniteError when the energy is NaN or infinite; torch.OutOfMemoryError when even
            the smallest tiles do not fit.
        Source: Zhang et al., arXiv 2403.06406, Algorithm 1.
        """
        try:
            if self.progress.iteration == 0:
                self.descent = None
            status = self._stop_status()
            while status is None:
                self._step_in_the_memory_there_is(callback)
                if moved is not None:
                    moved()
                status = self._stop_status()
        except Cancel:
            status = Status.CANCELLED
        return self.result(status)

    def begin(self, variables: list[Tensor]) -> Descent:
        """Start (or go on) from these variables, with a fresh optimiser."""
        own: list[Tensor] = [torch.nn.Parameter(v.detach().clone()) for v in variables]
        optimizer = OPTIMIZERS[self.settings.optimizer](own, self.settings)
        self.descent = Descent(own, optimizer, self.space.tile)
        return self.descent

    def result(self, status: Status) -> MapResult:
        """The best iterate so far; the input if nothing has been evaluated yet."""
        best, trace = self.progress.best, tuple(self.progress.trace)
        if best is None:
            picture = self.reference.cpu().float()
            return MapResult(status, picture, picture, 0, trace)
        x, y, number = best.images[:1].float(), best.images[-1:].float(), best.row.iteration
        return MapResult(status, x, y, number, trace, best.variables, best.member, number > 0)

    def _step_in_the_memory_there_is(self, callback: Callback | None) -> None:
        """A step; where memory runs out, again in less: from the last iterate."""
        while True:
            try:
                return self._step(self._descent_on_this_map(), callback)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                reason = str(error) or type(error).__name__
            # Here the failed attempt's tensors are gone: they went with the exception.
            return_cached_memory(self.reference.device)
            if not self.space.shrink():
                raise torch.OutOfMemoryError(
                    f"{reason} (at iteration {self.progress.iteration}, with tiles of "
                    f"{self.space.tile or 'the whole picture'}, which cannot get smaller): close "
                    "other programs, or use a smaller picture"
                )
            log.warning("%s: going on with less memory, tile %s", reason, self.space.tile)

    def _descent_on_this_map(self) -> Descent:
        """The descent in the space's present map: the input's, or that of before translated.

        The latents stay what they are: another map reconstructs them from another noise. What
        the optimiser has gathered belongs to the old noise and is dropped.
        """
        descent, latents, best = self.descent, self.progress.latents, self.progress.best
        if descent is not None and descent.tile == self.space.tile:
            return descent
        if descent is None or latents is None:
            return self.begin(self.space.start())
        if best is not None:
            own = () if best.latents is None else self.space.adopt(best.latents.to(latents.device))
            self.progress.best = replace(best, variables=tuple(v.cpu() for v in own))
        return self.begin(self.space.adopt(latents))

    def _step(self, descent: Descent, callback: Callback | None) -> None:
        """Evaluate the current iterate (lines 4-7) and, unless it is the last, move on (8-11)."""
        last = self.progress.iteration == self.settings.iterations
        latents = self.space.synthesise(descent.variables, with_gradient=not last)
        self.progress.latents = latents.detach()
        latents.requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            images, energies = self._evaluate(latents, descent.variables)
            energy = energies.energy.mean()
        gradients = [] if last else self._gradients(energy, latents, descent.variables)
        numbers = read_numbers(energies, gradients)
        row = self._record(descent, images.detach(), numbers)
        if self.progress.iteration == 0 and not last:
            self._check_gradient(descent.variables, latents.detach())
        self._report(callback, row, images.detach())
        self._moving = True
        if not last:
            self._move(descent, gradients, numbers)
        self.progress.iteration += 1
        self._moving = False

    def _evaluate(self, latents: Tensor, variables: list[Tensor]) -> tuple[Tensor, Energies]:
        """Pictures of latents, and their energies."""
        objective = self.objective
        images = self.space.decode(latents)
        images = _clamped(images if self.restrain is None else self.restrain(images))
        reference = self.reference.to(images).expand_as(images)
        noise = self.space.noise(variables) if objective.sees_noise else None
        return images, objective(images, reference, noise)

    def _gradients(self, energy: Tensor, latents: Tensor, variables: list[Tensor]) -> list[Tensor]:
        """By the variables: through the pictures, and directly for terms that see the noise."""
        # A decoder in half precision would lose what a mean over pixels leaves of it.
        enlarged = float(1 << self.reference.numel().bit_length())
        through, *direct = torch.autograd.grad(
            energy, [latents, *variables], torch.full_like(energy, enlarged), allow_unused=True
        )
        pulled = self.space.pull_back(through / enlarged)
        pairs = zip(pulled, direct, strict=True)
        return [p if d is None else p + d / enlarged for p, d in pairs]

    def _check_gradient(self, variables: list[Tensor], latents: Tensor) -> None:
        """Warn of parts of the way from variables to energy whose gradient is not their slope."""
        if not self.settings.check_gradient:
            return
        check_parts(self.space.parts(variables, latents))
        with torch.no_grad():
            pictures = self.space.decode(latents[:1])
            pictures = pictures if self.restrain is None else self.restrain(pictures)
        for term in self.objective.terms:
            if (judge := term.checked) is not None:
                warn_if_wrong("prior", check_judge(judge, pictures))

    def _record(self, descent: Descent, images: Tensor, numbers: Numbers) -> TraceRow:
        """Add a row to the trace and keep the iterate if it is the best."""
        now, means = self.progress, numbers.terms
        row = TraceRow(now.iteration, numbers.energy, means)
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken or not math.isfinite(row.energy):
            raise NonFiniteError(
                f"{[*broken, 'energy'][0]} is not finite at iteration {now.iteration}: lower the "
                "learning rate or set a gradient clip; the best iterate before that is kept",
                self.result(Status.CANCELLED),
            )
        if now.iteration == 0:
            for term in self.objective.terms:
                term.remark(means[term.name])
        del now.trace[now.iteration :]  # an interrupted iteration is evaluated again
        now.trace.append(row)
        if better_than(now.best, row):
            now.best = Iterate(
                row,
                images.cpu(),
                numbers.member,
                tuple(v.detach().cpu().clone() for v in descent.variables),
                None if now.latents is None else now.latents.cpu(),
            )
        return row

    def _report(self, callback: Callback | None, row: TraceRow, images: Tensor) -> None:
        log.debug("%s", row)
        if callback is not None:
            is_best = self.progress.best_iteration == row.iteration
            callback(MapStep(row, self.settings.iterations, is_best, images[:1].cpu))

    def _move(self, descent: Descent, gradients: list[Tensor], numbers: Numbers) -> None:
        norm = numbers.norm
        if not math.isfinite(norm):
            raise NonFiniteError(
                f"the gradient is not finite at iteration {self.progress.iteration}: choose "
                "another prior or fidelity, or a float32 network; the best iterate before that is "
                "kept",
                self.result(Status.CANCELLED),
            )
        factor = min(1.0, self.settings.clip / norm) if self.settings.clip and norm else 1.0
        for variable, gradient in zip(descent.variables, gradients, strict=True):
            variable.grad = (factor * gradient).to(variable)
        descent.optimizer.step(numbers.energy)

    def _stop_status(self) -> Status | None:
        """Why to stop now, or None."""
        now, settings = self.progress, self.settings
        if now.iteration > settings.iterations:
            return Status.ITERATIONS_DONE
        if now.trace:
            last, target = now.trace[-1], settings.target_quality
            if target is not None and last.quality >= target:
                return Status.TARGET_REACHED
            if settings.patience and last.iteration - now.best_iteration >= settings.patience:
                return Status.NO_IMPROVEMENT
        if self.descent is not None and self.descent.optimizer.finished:
            return Status.CONVERGED
        return None


def _clamped(image: Tensor) -> Tensor:
    """Into [0, 1]; unlike torch.clamp's, the gradient of a pixel at exactly 0 or 1 is kept."""
    return torch.where(image < 0, 0.0, torch.where(image > 1, 1.0, image))
