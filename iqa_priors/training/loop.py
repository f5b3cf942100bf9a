"""The training loop of the quality networks: steps, averaged weights, saving and going on."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...files.lack_of_memory import is_out_of_memory
from ...files.pickles import read_pickle, tree_tensors
from ...files.reading import reading, said
from ...files.written import written_beside

log = logging.getLogger(__name__)
Precision = Literal["fp32", "bf16", "fp16"]
Losses = Callable[[Any, int], dict[str, Tensor]]  # (batch, step) -> terms that are summed
# (averaged, current, steps so far) -> nothing: it moves the averaged weights, in place.
Averaging = Callable[[Any, Any, Any], None]
PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
KEPT = 0.98  # of the running mean of each loss, per step


@contextmanager
def told_of_the_disk(path: Path) -> Iterator[None]:
    """While it lasts, a file that cannot be written ends in one line; what was there stays.

    Raises: OSError; PyTorch's writer and safetensors' have errors of their own for a full disk.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = error.strerror if isinstance(error, OSError) and error.strerror else said(error)
        raise OSError(
            f"cannot write {path} ({reason}): free some space and run it again, it goes on from "
            "the last checkpoint"
        ) from error


class Training:
    """A network in training: its optimiser, averaged weights and counters.

    Args:
        network: parameters that require a gradient are trained.
        weight_decay: AdamW's.
        averaging: share that the averaged weights keep per step, or what moves them; None has no
            averaged weights.
        clip: largest norm of the gradient; None does not clip.
        precision: of the forward pass, by autocast; the weights stay as they are.
        betas: AdamW's.
    """

    def __init__(
        self,
        network: nn.Module,
        weight_decay: float,
        averaging: float | Averaging | None = None,
        clip: float | None = None,
        precision: Precision = "fp32",
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        trained = [p for p in network.parameters() if p.requires_grad]
        self.network, self.clip, self.precision = network, clip, precision
        self.device = trained[0].device
        self.optimizer = torch.optim.AdamW(trained, 0.0, betas, weight_decay=weight_decay)
        self.averaged: Any = None
        if averaging is not None:
            mean = averaging
            if not callable(mean):
                mean = torch.optim.swa_utils.get_ema_multi_avg_fn(mean)
            self.averaged = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=mean)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.step, self.seconds = 0, 0.0
        self.running: dict[str, float] = {}

    @property
    def result(self) -> nn.Module:
        """The network to keep: with the averaged weights where there are such."""
        return self.network if self.averaged is None else self.averaged.module

    def advance(self, losses: Losses, batch: Any, rate: float) -> None:
        """One step of AdamW on the sum of the losses.

        Raises: ValueError if a loss is not finite; the weights are then those before the step.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        dtype = PRECISIONS[self.precision]
        with torch.autocast(self.device.type, dtype) if dtype else nullcontext():
            terms = losses(batch, self.step)
        broken = [name for name, term in terms.items() if not term.isfinite()]
        if broken:
            raise ValueError(
                f"the loss {broken[0]!r} is not finite at step {self.step}: lower the learning "
                "rate, or train in fp32"
            )
        self.optimizer.zero_grad()
        self.scaler.scale(torch.stack(list(terms.values())).sum()).backward()
        if self.clip is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.averaged is not None:
            self.averaged.update_parameters(self.network)
        for name, term in terms.items():
            value = term.item()
            self.running[name] = KEPT * self.running.get(name, value) + (1 - KEPT) * value
        self.step += 1

    def save(self, path: Path, **extra: Any) -> None:
        """Write all that going on needs, and `extra` (numbers, strings, lists of them)."""
        parts = {name: part.state_dict() for name, part in self._parts().items()}
        counters = {"step": self.step, "seconds": self.seconds, "running": self.running}
        # By a file, not its name: from names PyTorch makes those of the archive's members.
        with told_of_the_disk(path), written_beside(path) as part, part.open("wb") as file:
            torch.save({**parts, **counters, **extra}, file)

    def load(self, path: Path, needed: tuple[str, ...] = ()) -> dict[str, Any]:
        """Go on from a saved training.

        Args:
            path: the file.
            needed: what must be in it besides.
        Returns: everything that was saved.
        Raises: ValueError if the file is damaged or of another network.
        """
        what, remedy = "checkpoint of this training", "delete it to start anew"
        state = tree_tensors(read_pickle(path, what, remedy))
        with reading(path, what, remedy):
            for name in needed:
                state[name]
            for name, part in self._parts().items():
                part.load_state_dict(state[name])
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.running = {str(k): float(v) for k, v in state["running"].items()}
        return state

    def _parts(self) -> dict[str, Any]:
        parts = {"network": self.network, "optimizer": self.optimizer, "scaler": self.scaler}
        return parts if self.averaged is None else {**parts, "averaged": self.averaged}


@dataclass(frozen=True)
class Plan:
    """How long to train and how fast.

    Attributes:
        rate: (progress, step) -> learning rate; the progress is 0 at the start and 1 at the end.
        progress: the training -> its progress; it ends at 1.
        save: called every `save_seconds` of training, and at the end.
        save_seconds: of training time.
        log_steps: a line in the log every so many steps; 0 has none.
    """

    rate: Callable[[float, int], float]
    progress: Callable[[Training], float]
    save: Callable[[Training], None] | None = None
    save_seconds: float = 300.0
    log_steps: int = 0


def fit(training: Training, batches: Iterable[Any], losses: Losses, plan: Plan) -> bool:
    """Train until the plan's progress is 1 or the batches run out.

    Returns: whether the training has come to its end.
    """
    clock, last_save = time.monotonic(), training.seconds
    if plan.progress(training) >= 1:
        return True
    for batch in batches:
        training.advance(losses, batch, plan.rate(plan.progress(training), training.step))
        now = time.monotonic()
        training.seconds, clock = training.seconds + now - clock, now
        done = plan.progress(training) >= 1
        if plan.log_steps and training.step % plan.log_steps == 0:
            shown = " ".join(f"{name} {value:.4f}" for name, value in training.running.items())
            log.info("step %d %s minutes %.1f", training.step, shown, training.seconds / 60)
        if plan.save and (done or training.seconds - last_save > plan.save_seconds):
            last_save = training.seconds
            plan.save(training)
        if done:
            return True
    return False
