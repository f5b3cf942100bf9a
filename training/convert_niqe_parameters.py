"""Convert BasicSR's niqe_pris_params.npz into iqa_priors/niqe_parameters.safetensors."""

import sys
from pathlib import Path

import numpy as np
import torch
from latent_map.files.distinct import check_distinct
from safetensors.torch import save_file

METADATA = {
    "source": "XPixelGroup/BasicSR basicsr/metrics/niqe_pris_params.npz",
    "licence": "Apache-2.0",
    "origin": "values of the NIQE release, LIVE, The University of Texas at Austin, 2012",
    "paper": "doi:10.1109/LSP.2012.2227726",
}


def convert(source: Path, target: Path) -> None:
    """Write the mean (36,) and covariance (36, 36) of the pristine model, float64."""
    check_distinct((target,), (source,))
    arrays = np.load(source)
    tensors = {
        "mean": torch.from_numpy(arrays["mu_pris_param"]).double().flatten(),
        "covariance": torch.from_numpy(arrays["cov_pris_param"]).double().contiguous(),
    }
    save_file(tensors, target, metadata=METADATA)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: convert_niqe_parameters.py niqe_pris_params.npz TARGET.safetensors")
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
