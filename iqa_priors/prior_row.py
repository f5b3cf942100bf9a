"""What is known of a prior before it is loaded."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..files.weight_files import WeightFile
from .prior import Scorer

PYIQA_FILES = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"

Device = str | torch.device
Load = Callable[[Device, tuple[Path, ...]], Scorer]


class PriorRow(NamedTuple):
    """What is known of a prior.

    Attributes:
        load: (device, its files) -> Scorer.
        summary: what it is, for tooltips.
        range: usual raw scores, worst first where lower is better is False.
        licence: of code and weights, for tooltips.
        xi3, xi4: constants of Eq. (21) in raw units; None where `constants` reads them.
        lower_better: whether low raw scores mean good pictures.
        calibrated: whether xi3 and xi4 were fitted to opinions.
        files: weight files it needs besides the pack's own.
        min_side: smallest side in pixels.
        no_gradient: why it can only score; empty for a prior.
        constants: reads (xi3, xi4) from the pack's own weights.
        memory_mb_per_mpixel: what its gradient keeps of a megapixel, in float32 (niqe: float64),
            as measured; None where that was not.
    """

    load: Load
    summary: str
    range: str
    licence: str
    xi3: float | None = None
    xi4: float | None = None
    lower_better: bool = False
    calibrated: bool = False
    files: tuple[WeightFile, ...] = ()
    min_side: int = 1
    no_gradient: str = ""
    constants: Callable[[], tuple[float, float]] | None = None
    memory_mb_per_mpixel: int | None = None

    @property
    def differentiable(self) -> bool:
        """Whether it can be climbed."""
        return not self.no_gradient


def pyiqa_file(name: str, size_mb: float = 0) -> WeightFile:
    """A file that pyiqa's authors publish, of a size in megabytes or of one unknown."""
    return WeightFile(name, size_mb, f"{PYIQA_FILES}/{name}")


def lazy_load(module: str, function: str, **options: Any) -> Load:
    """A loader in a file of this folder, which is imported only when it is used."""

    def load(device: Device, paths: tuple[Path, ...]) -> Scorer:
        loader = getattr(import_module(f".{module}", __package__), function)
        return loader(device, paths, **options)

    return load
