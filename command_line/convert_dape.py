"""latent-map convert-dape: SeeSR's and RAM's pickles as one safetensors file."""

from dataclasses import dataclass
from pathlib import Path

from ..files.distinct import check_distinct, check_unnamed
from .arguments import argument, option
from .force import force_option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which pickles, and where the file goes."""

    ram: Path = argument("ram_swin_large_14m.pth")
    dape: Path = argument("DAPE.pth")
    output: Path = option("dape.safetensors", "-o", "--output")
    force: bool = force_option()


def run(options: Options) -> int:
    """Merge DAPE into RAM's image encoder and write that."""
    from ..edict.backbones.seesr.dape import convert
    from ..files.pictures import check_no_picture
    from ..files.written import check_writable

    check_distinct((options.output,), (options.ram, options.dape))
    check_unnamed((options.output,), options.force)
    check_no_picture(options.output, "a network", ".safetensors")
    check_writable(options.output)
    count = convert(options.ram, options.dape, options.output)
    print(f"{options.output}: {count} tensors, RAM's image encoder with DAPE; the pickles can go")
    return 0
