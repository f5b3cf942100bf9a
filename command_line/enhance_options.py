"""What `latent-map enhance` is told."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..edict.choices import Memory
from ..map_estimation.settings import Start
from .arguments import argument, option
from .backbone import BackboneChoice
from .bijection import BijectionChoice
from .device import device_option
from .force import force_option
from .prior import PriorChoice

if TYPE_CHECKING:
    from ..map_estimation.settings import MapSettings


PRESETS_OWN = "default: the preset's"
FIDELITY = "low_resolution"


def tile_side(text: str) -> int | str:
    """What --tile takes: a number of pixels, or a word."""
    if text in ("auto", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        told = f"{text!r} is no side of tiles: give a number of pixels, auto or none"
        raise argparse.ArgumentTypeError(told) from None


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which pictures, how they are enhanced, and what is written."""

    input: Path = argument("picture file or folder")
    output: Path = option("file, or folder", "-o", "--output")
    preset: str = option(
        "fast, gentle, strong, turbo, paper, or a baseline: pixel_ascent, pixel_map, no_fidelity",
        default="fast",
    )
    prior: PriorChoice
    fidelity: str = option("a measure of docs/fidelity.md", default=FIDELITY)
    iterations: int | None = option(f"gradient steps; {PRESETS_OWN}", default=None)
    steps: int | None = option(f"diffusion steps T, 1 to 1000; {PRESETS_OWN}", default=None)
    lam: float | None = option(f"weight of the prior, lambda; {PRESETS_OWN}", default=None)
    strength: float | None = option(
        f"share of the noise to invert, in (0, 1]; {PRESETS_OWN}", default=None
    )
    bijection: BijectionChoice
    start: Start | None = option(
        "where the ascent starts: at the input, at the model's estimate of the clean picture, or "
        "at a sample of the model; default: the preset's",
        default=None,
    )
    blend: float | None = option(
        f"share of the estimate in the start, in (0, 1]; {PRESETS_OWN}", default=None
    )
    draws: int | None = option(
        "noises that an estimate is the mean of, or samples to choose from, 1 to 64; "
        f"{PRESETS_OWN}",
        default=None,
    )
    seed: int | None = option(f"of these noises; {PRESETS_OWN}", default=None)
    typicality: float | None = option(
        "weight of the noise's typicality, which keeps the picture natural; 0 is the paper's; "
        f"{PRESETS_OWN}",
        default=None,
    )
    expectation: float | None = option(
        "weight of closeness to what the model expects of the picture; 0 is the paper's; "
        f"{PRESETS_OWN}",
        default=None,
    )
    memory: Memory | None = option(
        f"what a gradient keeps: see docs/architecture.md; {PRESETS_OWN}", default=None
    )
    report: Path | None = option("JSON file", default=None)
    sheet: Path | None = option("before/after picture (one input)", default=None)
    compare: Path | None = option(
        "picture of input, result, their difference and a close look; one more line says what "
        "changed, and --report then also has distances, scores of priors not used and the number "
        "of network calls, which are computed only with both (one input)",
        default=None,
    )
    state: Path | None = option("keep and resume an interrupted run (one input)", default=None)
    tile: int | str | None = option(
        "side of tiles in pixels; auto (default) or none", default=None, type=tile_side
    )
    no_check_gradient: bool = option(
        "do not compare the first gradients with what small steps change", default=False
    )
    mask: Path | None = option("picture file: white is enhanced, black kept", default=None)
    guard: Path | None = option("picture file: white is held more tightly", default=None)
    anchor_colours: bool = option("only detail may change", default=False)
    recursive: bool = option("also the folders in a folder", default=False)
    force: bool = force_option()
    backbone: BackboneChoice
    device: str = device_option()

    def settings(self) -> MapSettings:
        """The preset with what was given instead.

        Raises: ValueError for what cannot be.
        """
        from ..map_estimation.settings import preset

        settings = preset(self.preset)
        names = ("iterations", "lam", "start", "blend", "draws", "seed")
        names += ("typicality", "expectation", "memory")
        chosen = {name: getattr(self, name) for name in names}
        inversion = {name: getattr(self, name) for name in ("strength", "steps", "tile")}
        chosen, inversion = (
            {name: value for name, value in given.items() if value is not None}
            for given in (chosen, inversion)
        )
        inversion["bijection"] = self.bijection.of(settings.inversion.bijection)
        if self.tile == "none":
            inversion["tile"] = None
        if self.no_check_gradient:
            chosen["check_gradient"] = False
        made = replace(settings, inversion=replace(settings.inversion, **inversion), **chosen)
        self._check_used(made)
        return made

    def _check_used(self, made: MapSettings) -> None:
        """Raise ValueError for an option that was given and would change nothing."""
        given = [name for name in _idle(made) if getattr(self, name) is not None]
        if made.space == "pixel":
            given += ["bijection"] if self.bijection.bijection else []
            given += self.bijection.options
        if not made.use_fidelity:
            given += ["fidelity"] if self.fidelity != FIDELITY else []
            given += ["guard"] if self.guard else []
        if given:
            raise ValueError(
                f"--{given[0]} changes nothing with the preset {self.preset} and the start "
                f"{made.start}: leave it out, or choose others"
            )


def _idle(made: MapSettings) -> Iterator[str]:
    """Options of `enhance` that such a run does not look at."""
    if made.start != "estimate":
        yield "blend"
    if made.start == "input" and not made.expectation:
        yield from ("draws", "seed")
    if made.space == "pixel":
        yield from ("steps", "strength", "tile", "memory")
