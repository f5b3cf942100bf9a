"""latent-map score: the quality of pictures."""

import logging
from dataclasses import dataclass
from pathlib import Path

from .arguments import argument, option
from .device import device_option
from .failures import EXPECTED, FAILED, exit_code, tell
from .printing import nobody_reads
from .prior import PriorChoice

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to score, and by which prior."""

    input: tuple[Path, ...] = argument("picture files or folders")
    recursive: bool = option("also the folders in a folder", default=False)
    prior: PriorChoice
    device: str = device_option()


def run(options: Options) -> int:
    """Print each picture's quality and raw scores; unusable ones are named and passed over."""
    import torch

    from ..files.image_values import even_remarks
    from ..files.pictures import find_pictures, left_out, read_picture
    from ..iqa_priors.prior import check_prior

    prior, code = options.prior.load(options.device), 0
    files = [file for path in options.input for file in find_pictures(path, options.recursive)]
    for path in options.input:
        if missed := left_out(path, options.recursive):
            log.warning("%s: left out %s", path, missed)
    for file in files:
        if nobody_reads():
            break
        try:
            pixels = read_picture(file).pixels.to(options.device)
            check_prior(prior, pixels)
            for remark in even_remarks(pixels):
                log.warning("%s: the %s", file, remark)
            with torch.no_grad():
                parts = [f"{name} {float(s):.4f}" for name, s in prior.scores(pixels).items()]
                print(f"{file}  quality {float(prior(pixels)):.4f}  " + "  ".join(parts))
        except EXPECTED as error:
            tell(file, error)
            code = FAILED if len(files) > 1 else exit_code(error)
    return code
