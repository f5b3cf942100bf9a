"""What is known of a prior before it is loaded."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..files.catalog import CatalogRow
from ..files.weight_files import WeightFile

DIGEST = re.compile(r"-([0-9a-f]{8})\.")
PYIQA_FILES = "https://huggingface.co/chaofengc/IQA-PyTorch-Weights/resolve/main"


@dataclass(frozen=True, kw_only=True)
class PriorRow(CatalogRow):
    """What is known of a prior; it is loaded as a `Scorer`.

    Attributes:
        xi3, xi4: constants of Eq. (21) in raw units; None where `constants` reads them.
        lower_better: whether low raw scores mean good pictures; the range has the worst first
            where they do not.
        calibrated: whether xi3 and xi4 were fitted to opinions.
        no_gradient: why it can only score; empty for a prior.
        constants: reads (xi3, xi4) from the pack's own weights.
        capturable: whether it can be captured as a CUDA graph: nothing in it waits for the device,
            as tests/test_capturable.py walks it.
        memory_mb_per_mpixel: what its gradient keeps of a megapixel, in float32 (niqe and
            brisque-cpp: float64), as measured by benchmarks/priors.py on 576 x 384 pixels; None
            where that was not. Priors on crops, or that shrink the picture, keep a few hundred MB
            whatever its size.
    """

    xi3: float | None = None
    xi4: float | None = None
    lower_better: bool = False
    calibrated: bool = False
    no_gradient: str = ""
    constants: Callable[[], tuple[float, float]] | None = None
    capturable: bool = False
    memory_mb_per_mpixel: int | None = None


def pyiqa_file(name: str, size_mb: float = 0) -> WeightFile:
    """A file that pyiqa's authors publish, of a size in megabytes or of one unknown.

    Many names end in the beginning of the file's SHA-256, as torchvision's do.
    """
    stated = DIGEST.search(name)
    return WeightFile(name, size_mb, f"{PYIQA_FILES}/{name}", stated[1] if stated else "")
