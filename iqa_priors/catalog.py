"""The priors by name: what each is, what it needs, and its provisional constants.

Constants of Eq. (21) without opinions: the middle and the slope of the scores that the training
set's opinions would get, or of the usual range where that is all there is.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .files import PriorFile
from .prior import Scorer

Device = str | torch.device
Load = Callable[[Device, tuple[Path, ...]], Scorer]


class PriorRow(NamedTuple):
    """What is known of a prior.

    Attributes:
        load: (device, its files) -> Scorer.
        summary: what it is, for tooltips.
        range: usual raw scores, worst first where lower is better is False.
        licence: of code and weights, for tooltips.
        xi3, xi4: constants of Eq. (21) in raw units; None where `constants` reads them.
        lower_better: whether low raw scores mean good pictures.
        calibrated: whether xi3 and xi4 were fitted to opinions.
        files: weight files it needs besides the pack's own.
        min_side: smallest side in pixels.
        no_gradient: why it can only score; empty for a prior.
        constants: reads (xi3, xi4) from the pack's own weights.
    """

    load: Load
    summary: str
    range: str
    licence: str
    xi3: float | None = None
    xi4: float | None = None
    lower_better: bool = False
    calibrated: bool = False
    files: tuple[PriorFile, ...] = ()
    min_side: int = 1
    no_gradient: str = ""
    constants: Callable[[], tuple[float, float]] | None = None

    @property
    def differentiable(self) -> bool:
        """Whether it can be climbed."""
        return not self.no_gradient


def _from(module: str, function: str, **options: Any) -> Load:
    """A loader in a file of this folder, which is imported only when it is used."""

    def load(device: Device, paths: tuple[Path, ...]) -> Scorer:
        loader = getattr(import_module(f".{module}", __package__), function)
        return loader(device, paths, **options)

    return load


def _pocket(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .pocket import load_pocket

    return Scorer(load_pocket(device))


def _pocket_constants() -> tuple[float, float]:
    from .pocket import load_pocket_calibration

    return load_pocket_calibration()


def _niqe(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .niqe import load_niqe

    return Scorer(load_niqe(device))


def _pyiqa(
    file: str,
    size_mb: float,
    network: str,
    summary: str,
    range: str,
    licence: str,
    xi3: float,
    xi4: float,
    min_side: int = 16,
) -> PriorRow:
    """A network of pyiqa with one checkpoint."""
    return PriorRow(
        _from("pyiqa_networks", "load_pyiqa", name=network),
        summary,
        range,
        f"pyiqa: noncommercial (PolyForm); {licence}",
        xi3,
        xi4,
        files=(PriorFile.of_pyiqa(file, size_mb),),
        min_side=min_side,
    )


PRIORS: dict[str, PriorRow] = {
    "pocket": PriorRow(
        _pocket,
        "small network inside the pack, made to be climbed",
        "about -6..6",
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
    "dbcnn": _pyiqa(
        "DBCNN_KonIQ10k-2de81c0a.pth",
        61,
        "dbcnn",
        "bilinear pooling of a VGG-16 and a distortion network",
        "0..1",
        "DBCNN: MIT, weights unstated",
        0.59,
        0.08,
    ),
    "hyperiqa": _pyiqa(
        "HyperIQA-resnet50-koniq10k-c96c41b1.pth",
        110,
        "hyperiqa",
        "ResNet-50 that makes its own quality head per picture, on crops of 224",
        "0..1",
        "HyperIQA: MIT, weights unstated",
        0.59,
        0.08,
    ),
    "paq2piq": _pyiqa(
        "P2P_RoIPoolModel-fit.10.bs.120-ca69882e.pth",
        47,
        "paq2piq",
        "ResNet-18 trained on pictures and their patches; has local scores",
        "0..100",
        "PaQ-2-PiQ: CC-BY-NC-4.0",
        70,
        4,
    ),
    "unique": _pyiqa(
        "UNIQUE.pt",
        89,
        "unique",
        "bilinear ResNet-34 trained on six data sets by ranking",
        "-3..3",
        "UNIQUE: Apache-2.0, weights unstated",
        -0.4135,
        1.6894,
    ),
    "musiq": _pyiqa(
        "musiq_koniq_ckpt-e95806b9.pth",
        109,
        "musiq",
        "multi-scale transformer (KonIQ-10k)",
        "0..100",
        "MUSIQ: Apache-2.0",
        58.7,
        7.7,
    ),
    "musiq-ava": _pyiqa(
        "musiq_ava_ckpt-e8d3f067.pth",
        109,
        "musiq-ava",
        "multi-scale transformer, aesthetics (AVA)",
        "1..10",
        "MUSIQ: Apache-2.0",
        5.4,
        0.4,
    ),
    "musiq-paq2piq": _pyiqa(
        "musiq_paq2piq_ckpt-364c0c84.pth",
        109,
        "musiq",
        "multi-scale transformer (PaQ-2-PiQ data)",
        "0..100",
        "MUSIQ: Apache-2.0",
        70,
        4,
    ),
    "musiq-spaq": _pyiqa(
        "musiq_spaq_ckpt-358bb6af.pth",
        109,
        "musiq",
        "multi-scale transformer (SPAQ)",
        "0..100",
        "MUSIQ: Apache-2.0",
        50,
        11,
    ),
    "topiq_nr": _pyiqa(
        "cfanet_nr_koniq_res50-9a73138b.pth",
        181,
        "topiq_nr",
        "ResNet-50 with attention from semantics to distortions (KonIQ-10k)",
        "0..1",
        "TOPIQ: as pyiqa",
        0.59,
        0.08,
    ),
    "topiq_nr-flive": _pyiqa(
        "cfanet_nr_flive_res50-ded1c74e.pth",
        181,
        "topiq_nr-flive",
        "the same on the picture shrunk to 384 (FLIVE)",
        "0..1",
        "TOPIQ: as pyiqa",
        0.72,
        0.04,
    ),
    "topiq_nr-spaq": _pyiqa(
        "cfanet_nr_spaq_res50-a7f799ac.pth",
        181,
        "topiq_nr",
        "the same (SPAQ)",
        "0..1",
        "TOPIQ: as pyiqa",
        0.5,
        0.11,
    ),
    "maniqa": _pyiqa(
        "ckpt_koniq10k.pt",
        543,
        "maniqa",
        "vision transformer on crops of 224 (KonIQ-10k); slow",
        "0..1",
        "MANIQA: Apache-2.0",
        0.59,
        0.08,
    ),
    "tres": _pyiqa(
        "tres_koniq-f0502926.pth",
        600,
        "tres",
        "ResNet-50 and a transformer on crops of 224 (KonIQ-10k); slow",
        "0..100",
        "TReS: unstated",
        58.7,
        7.7,
    ),
    "cnniqa": _pyiqa(
        "CNNIQA_koniq10k-e6f14c91.pth",
        3,
        "cnniqa",
        "one convolution and the extremes of its maps: a gradient at few pixels",
        "0..1",
        "CNNIQA: unstated",
        0.59,
        0.08,
    ),
    "nima": _pyiqa(
        "NIMA_InceptionV2_ava-b0c77c00.pth",
        217,
        "nima",
        "aesthetics of the picture shrunk to 299 (AVA)",
        "1..10",
        "NIMA: unstated",
        5.4,
        0.4,
    ),
    "nima-koniq": _pyiqa(
        "NIMA_koniq-250367ae.pth",
        217,
        "nima-koniq",
        "the same network for quality (KonIQ-10k)",
        "0..1",
        "NIMA: unstated",
        0.59,
        0.08,
    ),
}

_PROCESSOR = "its processor turns the picture into 8-bit pixels, which have no gradient"
# Names people know from pyiqa, and why they are not among PRIORS.
REFUSED = {
    "qalign": _PROCESSOR,
    "qalign_4bit": _PROCESSOR,
    "qalign_8bit": _PROCESSOR,
    "compare2score": _PROCESSOR,
    "arniqa": "its regressor is published as TorchScript only, which runs code from the file",
    "wadiqam_nr": "it looks at random patches, another lot at each call",
}
