"""latent-map convert-dape: SeeSR's and RAM's pickles as one safetensors file."""

from dataclasses import dataclass
from pathlib import Path

from .arguments import argument, option


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which pickles, and where the file goes."""

    ram: Path = argument("ram_swin_large_14m.pth")
    dape: Path = argument("DAPE.pth")
    output: Path = option("dape.safetensors", "-o", "--output")


def run(options: Options) -> int:
    """Merge DAPE into RAM's image encoder and write that."""
    from ..edict.backbones.seesr.dape import convert

    if options.output.exists():
        raise ValueError(f"{options.output} is there already: choose another name, or delete it")
    if not options.output.parent.is_dir():
        raise ValueError(f"{options.output.parent} is no folder: make it first")
    count = convert(options.ram, options.dape, options.output)
    print(f"{options.output}: {count} tensors, RAM's image encoder with DAPE; the pickles can go")
    return 0
