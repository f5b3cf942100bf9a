"""What the parts of the GPU benchmark share: sizes, the backbone, clocks, and a job's place."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from latent_map.edict.backbones.compiled import CompiledBackbone
from latent_map.edict.backbones.graphed import GraphedBackbone
from latent_map.edict.backbones.stable_diffusion.backbone import DiffusersBackbone
from latent_map.map_estimation.settings import MapSettings, preset
from torch import Tensor

from ..meters import peak_mib, reset_peak

GIB = 2**10  # MiB


@dataclass(frozen=True)
class Sizes:
    """What is run: at full size, or for a rehearsal.

    Attributes:
        sides: of the pictures whose calls are measured, in pixels.
        side, large: of the pictures that are enhanced.
        tile: of the large one.
        steps: T of the round trip.
        repeats: of a measured call.
        iterations: instead of a preset's.
    """

    sides: tuple[int, int] = (512, 1024)
    side: int = 512
    large: int = 2048
    tile: int = 768
    steps: int = 20
    repeats: int = 10
    iterations: int | None = None

    def preset(self, name: str, **changes: Any) -> MapSettings:
        """A preset, shortened for a rehearsal."""
        chosen = replace(preset(name), **changes)
        return chosen if self.iterations is None else replace(chosen, iterations=self.iterations)


REHEARSAL = Sizes((64, 96), side=64, large=160, tile=96, steps=6, repeats=2, iterations=1)


class Job(NamedTuple):
    """One thing to measure.

    Attributes:
        run: gives facts by name, among them perhaps "reached", whether the goal is.
        goal: in words.
        seconds: what it is expected to take; it is left out where its part has not so many left.
    """

    run: Callable[["Bench"], dict[str, Any]]
    goal: str = ""
    seconds: float = 10


class Bench:
    """The full-size backbone, and how it is called.

    Attributes:
        plain: without acceleration.
        facts: what jobs of a part leave for later ones.
    """

    def __init__(self, plain: DiffusersBackbone, device: str, sizes: Sizes):
        self.plain, self.device, self.sizes = plain, device, sizes
        self.facts: dict[str, Any] = {}

    def accelerated(self, how: str) -> Any:
        """The backbone with "eager", "graph" or "compile"; a new one, with nothing captured."""
        on_gpu = self.device.startswith("cuda")
        if how == "graph":
            return GraphedBackbone(self.plain, None if on_gpu else called_again)
        if how == "compile":
            return CompiledBackbone(self.plain, "inductor" if on_gpu else "aot_eager")
        return self.plain

    def picture(self, side: int) -> Tensor:
        """A smooth random picture (1, 3, side, side)."""
        coarse = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        smooth = torch.nn.functional.interpolate(coarse, (side, side), mode="bicubic")
        return smooth.clamp(0, 1).to(self.device)

    def now(self) -> float:
        """Seconds, once the device has done its work."""
        if self.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter()

    def measured(self, run: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
        """What a run returns, its wall seconds, and peak memory of PyTorch's allocator."""
        base, clock = reset_peak(self.device), self.now()
        returned = run()
        facts = {
            "seconds": round(self.now() - clock, 2),
            "peak_gib": round(peak_mib(self.device) / GIB, 2),
            "before_gib": round(base / GIB, 2),
        }
        return returned, facts


def called_again(function: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A rehearsal's stand-in for a CUDA graph: the function is simply called again."""
    return function
