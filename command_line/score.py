"""latent-map score: the quality of pictures."""

from dataclasses import dataclass
from pathlib import Path

from .arguments import argument
from .device import device_option
from .failures import EXPECTED, FAILED, exit_code, tell
from .prior import PriorChoice


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to score, and by which prior."""

    input: tuple[Path, ...] = argument("picture files or folders")
    prior: PriorChoice
    device: str = device_option()


def run(options: Options) -> int:
    """Print each picture's quality and raw scores; unusable ones are named and passed over."""
    import torch

    from ..files.pictures import find_pictures, read_picture
    from ..iqa_priors.prior import check_prior

    prior, code = options.prior.load(options.device), 0
    files = [file for path in options.input for file in find_pictures(path)]
    for file in files:
        try:
            pixels = read_picture(file).pixels.to(options.device)
            check_prior(prior, pixels)
            with torch.no_grad():
                parts = [f"{name} {float(s):.4f}" for name, s in prior.scores(pixels).items()]
                print(f"{file}  quality {float(prior(pixels)):.4f}  " + "  ".join(parts))
        except EXPECTED as error:
            tell(file, error)
            code = FAILED if len(files) > 1 else exit_code(error)
    return code
