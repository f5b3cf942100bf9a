"""latent-map convert-dape: SeeSR's and RAM's pickles as one safetensors file."""

import argparse

from ..edict.backbones.seesr.dape import convert


def convert_dape(options: argparse.Namespace) -> int:
    """Merge DAPE into RAM's image encoder and write that."""
    if options.output.exists():
        raise ValueError(f"{options.output} is there already: choose another name, or delete it")
    if not options.output.parent.is_dir():
        raise ValueError(f"{options.output.parent} is no folder: make it first")
    count = convert(options.ram, options.dape, options.output)
    print(f"{options.output}: {count} tensors, RAM's image encoder with DAPE; the pickles can go")
    return 0
