"""Convert a BRISQUE regressor, libsvm's text and its ranges, into safetensors."""

import sys
from pathlib import Path

import torch
from latent_map.files.distinct import check_distinct
from latent_map.files.json_files import parse_json
from safetensors.torch import save_file
from torch import Tensor

FEATURES = 36
METADATA = {
    "source": "PyPI brisque 0.2.0, brisque/models/svm.txt and normalize.pickle",
    "licence": "Apache-2.0",
    "origin": "regressor of the BRISQUE release in C++, LIVE, The University of Texas at Austin",
    "paper": "doi:10.1109/TIP.2012.2214050",
}


def convert(model: Path, ranges: Path, target: Path) -> None:
    """Write support vectors (N, 36), their coefficients (N,), gamma, rho and ranges (36,), float64.

    Raises: ValueError if the model is no epsilon regression with Gaussian kernel of 36 features.
    """
    check_distinct((target,), (model, ranges))
    limits = parse_json(ranges, "ranges")
    tensors = read_libsvm(model.read_text()) | {
        "minimum": torch.tensor(limits["min_"], dtype=torch.float64),
        "maximum": torch.tensor(limits["max_"], dtype=torch.float64),
    }
    save_file(tensors, target, metadata=METADATA)


def read_libsvm(text: str) -> dict[str, Tensor]:
    """Tensors of libsvm's text form of a regressor; features that a line leaves out are 0."""
    head, body = text.split("\nSV\n")
    header = dict(line.split(maxsplit=1) for line in head.splitlines())
    kind = header["svm_type"], header["kernel_type"]
    if kind != ("epsilon_svr", "rbf"):
        raise ValueError(f"the model is {' '.join(kind)}: give one of epsilon_svr rbf")
    rows = [line.split() for line in body.splitlines() if line.strip()]
    if len(rows) != int(header["total_sv"]):
        raise ValueError(f"{len(rows)} support vectors of {header['total_sv']}: the file is cut")
    vectors = torch.zeros(len(rows), FEATURES, dtype=torch.float64)
    for vector, (_, *entries) in zip(vectors, rows, strict=True):
        for index, value in (entry.split(":") for entry in entries):
            vector[int(index) - 1] = float(value)
    return {
        "support_vectors": vectors,
        "coefficients": torch.tensor([float(row[0]) for row in rows], dtype=torch.float64),
        "gamma": torch.tensor(float(header["gamma"]), dtype=torch.float64),
        "rho": torch.tensor(float(header["rho"]), dtype=torch.float64),
    }


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: convert_brisque_model.py svm.txt normalize.json TARGET.safetensors")
    convert(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))
