"""The small published tables that ship with the pack; origins and licences in tables.md."""

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..files.weights import read_tensors

TABLES_FILE = Path(__file__).parent / "tables.safetensors"


@lru_cache(maxsize=1)
@torch.inference_mode(False)  # later callers may want a gradient
def _tables() -> dict[str, Tensor]:
    return read_tensors(TABLES_FILE, "tables of the fidelity measures")


def table(name: str) -> Tensor:
    """One table by name, such as "sp5.bands" or "dists.alpha"."""
    return _tables()[name]
