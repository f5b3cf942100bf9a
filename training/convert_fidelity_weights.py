"""Collect the small published tables of the fidelity measures in one safetensors file.

    python -m training.convert_fidelity_weights --lpips DIR --dists weights.pt --output FILE

Reads LPIPS v0.1's linear layers (alex.pth, vgg.pth; BSD-2-Clause, Richard Zhang et al.), the
alpha and beta of DISTS (MIT, Keyan Ding), and the steerable filters sp5 from the installed
`pyrtools` (MIT, Laboratory for Computational Vision). Needs `pip install pyrtools`.
"""

import argparse
from pathlib import Path

import torch
from latent_map.files.distinct import check_distinct
from latent_map.files.weights import read_tensors
from safetensors.torch import save_file

LICENCES = {
    "lpips": "BSD-2-Clause, (c) 2018 Richard Zhang, Phillip Isola, Alexei A. Efros, "
    "Eli Shechtman, Oliver Wang; github.com/richzhang/PerceptualSimilarity, weights v0.1",
    "dists": "MIT, (c) 2020 Keyan Ding; github.com/dingkeyan93/DISTS",
    "sp5": "MIT, (c) Laboratory for Computational Vision; github.com/LabForComputationalVision/"
    "pyrtools, after matlabPyrTools",
}


def main() -> None:
    """Write the file."""
    from pyrtools.pyramids.filters import steerable_filters

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lpips", type=Path, required=True, help="folder of LPIPS v0.1")
    parser.add_argument("--dists", type=Path, required=True, help="weights.pt of DISTS")
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    check_distinct((options.output,), (options.lpips, options.dists))
    tensors = {}
    for network in ("alex", "vgg"):
        layers = read_tensors(options.lpips / f"{network}.pth", "LPIPS network")
        for index in range(5):
            tensors[f"lpips.{network}.{index}"] = layers[f"lin{index}.model.1.weight"].flatten()
    dists = read_tensors(options.dists, "DISTS weights")
    tensors |= {f"dists.{name}": dists[name].flatten() for name in ("alpha", "beta")}
    filters = steerable_filters("sp5_filters")
    for ours, theirs in (("high", "hi0filt"), ("low", "lo0filt"), ("lower", "lofilt")):
        tensors[f"sp5.{ours}"] = torch.from_numpy(filters[theirs]).double()
    bands = torch.from_numpy(filters["bfilts"]).double()
    # The table holds MATLAB columns: the first index of a filter runs down.
    tensors["sp5.bands"] = bands.T.reshape(6, 7, 7).transpose(1, 2)
    tensors = {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_file(tensors, options.output, metadata=LICENCES)


if __name__ == "__main__":
    main()
