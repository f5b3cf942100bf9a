"""latent-map invert: a picture as diffusion noise, exactly."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.distinct import check_distinct
from .arguments import argument, option
from .backbone import BackboneChoice
from .bijection import BijectionChoice
from .device import check_device, device_option

if TYPE_CHECKING:
    from ..files.pictures import Picture

log = logging.getLogger(__name__)
LATENTS_BYTES = 60  # per pixel: a float64 pair and the float32 picture


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which picture, how it is inverted, and where its state goes."""

    input: Path = argument("picture file")
    output: Path = option("state file", "-o", "--output")
    steps: int = option("diffusion steps T", default=20)
    strength: float = option("share of the noise to invert, in (0, 1]", default=1.0)
    bijection: BijectionChoice
    backbone: BackboneChoice
    device: str = device_option()


def run(options: Options) -> int:
    """Write a picture's diffusion noise, with all it takes to come back."""
    from ..edict.bijections.edict import EdictOptions
    from ..edict.inversion import check_picture, invert_picture, round_trip_error
    from ..edict.inversion_options import InversionOptions
    from ..edict.latents_file import save_latents
    from ..files.pictures import check_no_picture, read_picture
    from ..files.written import check_writable

    inversion = InversionOptions(
        options.steps,
        strength=options.strength,
        bijection=options.bijection.of(EdictOptions()),
    )
    check_device(options.device)
    loading = options.backbone.checked()
    picture = read_picture(options.input)
    check_picture(picture.pixels)
    check_distinct((options.output,), (options.input, *options.backbone.files()))
    check_no_picture(options.output, "a state", ".state")
    check_writable(options.output, LATENTS_BYTES * picture.pixels[0, 0].numel())
    if dropped := _dropped(picture):
        log.warning("%s: the state keeps pixels alone, and no %s", options.input, dropped)
    backbone = loading.load(options.device)
    latents = invert_picture(backbone, picture.pixels.to(options.device), inversion)
    error = round_trip_error(latents)
    save_latents(options.output, latents)
    print(f"{options.output}: noise of {options.input}, round trip error {error:.1e}")
    return 0


def _dropped(picture: Picture) -> str:
    """What a picture file holds that its state does not, in words."""
    from ..files.carried import lost

    alpha = "" if picture.alpha is None else "alpha channel"
    return ", ".join(filter(None, (alpha, lost(picture.carried, ".state", picture.profile))))
