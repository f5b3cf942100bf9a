"""The priors by name: what each is, what it needs, and its provisional constants."""

from pathlib import Path

from .clip_catalog import CLIP_PRIORS
from .prior import Scorer
from .prior_row import Device, PriorRow
from .pyiqa_catalog import PYIQA_PRIORS


def _pocket(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .pocket import load_pocket_scorer

    return load_pocket_scorer(device)


def _pocket_constants() -> tuple[float, float]:
    from .pocket import load_pocket_calibration

    return load_pocket_calibration()


def _niqe(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .niqe import load_niqe

    return Scorer(load_niqe(device))


PRIORS: dict[str, PriorRow] = {
    "pocket": PriorRow(
        _pocket,
        "small network inside the pack, made to be climbed",
        "-30..30",
        "Apache-2.0",
        calibrated=True,
        min_side=32,
        constants=_pocket_constants,
    ),
    "niqe": PriorRow(
        _niqe,
        "natural scene statistics, no network; a rough surface; needs 192 x 96 pixels",
        "2..15, lower is better",
        "parameters: see niqe_parameters.md",
        4.5,
        0.8,
        lower_better=True,
        min_side=96,
    ),
    **CLIP_PRIORS,
    **PYIQA_PRIORS,
}
