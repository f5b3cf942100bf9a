"""latent-map reconstruct: the picture of a state file."""

from dataclasses import dataclass
from pathlib import Path

from ..files.distinct import check_distinct
from .arguments import argument, option
from .device import check_device, device_option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which state file, and where its picture goes."""

    input: Path = argument("state file")
    output: Path = option("picture file to write", "-o", "--output")
    device: str = device_option()


def run(options: Options) -> int:
    """Write the picture of a state file."""
    from ..edict.inversion import reconstruct_picture
    from ..edict.latents_file import load_latents
    from ..files.pictures import Picture, check_output, write_picture

    check_device(options.device)
    check_distinct((options.output,), (options.input,))
    check_output(options.output)
    latents = load_latents(options.input, options.device)
    count, _, height, width = latents.bound.picture.shape
    if count > 1:
        raise ValueError(f"{options.input} holds {count} pictures: only one can be written")
    check_output(options.output, (width, height))
    write_picture(options.output, Picture(reconstruct_picture(latents).x))
    print(f"{options.output}: the picture of {options.input}, {width}x{height} pixels")
    return 0
