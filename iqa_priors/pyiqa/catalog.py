"""The priors that pyiqa has networks for.

Constants of Eq. (21) are provisional: the middle and slope of the opinions that the network was
trained on (KonIQ-10k, FLIVE, SPAQ, AVA), UNIQUE's as its first author published them for LIVE.
"""

from ...files.weight_files import WeightFile
from ..prior_row import PriorRow, lazy_load, pyiqa_file


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
        lazy_load("pyiqa.networks", "load_pyiqa", name=network),
        summary,
        range,
        f"pyiqa: noncommercial (PolyForm); {licence}",
        xi3,
        xi4,
        files=(pyiqa_file(file, size_mb),),
        min_side=min_side,
    )


def _score_only(
    name: str,
    files: tuple[WeightFile, ...],
    summary: str,
    range: str,
    no_gradient: str,
    xi3: float,
    xi4: float,
    lower_better: bool = False,
) -> PriorRow:
    """A metric of pyiqa without a usable gradient."""
    return PriorRow(
        lazy_load("pyiqa.scores", "load_score", name=name),
        summary,
        range,
        "pyiqa: noncommercial (PolyForm)",
        xi3,
        xi4,
        lower_better,
        files=files,
        min_side=96,
        no_gradient=no_gradient,
    )


PYIQA_PRIORS: dict[str, PriorRow] = {
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
    "entropy": _score_only(
        "entropy",
        (),
        "spread of the grey levels, in bits",
        "0..8",
        "it counts grey levels",
        4,
        1.36,
    ),
    "piqe": _score_only(
        "piqe",
        (),
        "blocks that look distorted",
        "0..100, lower is better",
        "its blocks are in or out by thresholds",
        50,
        17,
        lower_better=True,
    ),
    "brisque": _score_only(
        "brisque",
        (pyiqa_file("brisque_svm_weights.pth"),),
        "natural scene statistics and a support vector machine",
        "0..100, lower is better",
        "its shape parameters come from a table, which cuts the gradient",
        50,
        17,
        lower_better=True,
    ),
    "nrqm": _score_only(
        "nrqm",
        (pyiqa_file("NRQM_model.mat"),),
        "for super-resolution; statistics and random forests",
        "0..10",
        "random forests are constant almost everywhere",
        5,
        1.7,
    ),
    "pi": _score_only(
        "pi",
        (
            pyiqa_file("NRQM_model.mat"),
            pyiqa_file("niqe_modelparameters.mat"),
        ),
        "perceptual index: NRQM and NIQE together",
        "0..10, lower is better",
        "NRQM's random forests are constant almost everywhere",
        5,
        1.7,
        lower_better=True,
    ),
}

_HUB = (
    "its processor turns the picture into 8-bit pixels, which have no gradient; and to score with "
    "it, pyiqa fetches its billions of weights from the hub unasked, takes no local file, and "
)
_LLAMA = _HUB + "replaces transformers' Llama for the whole process"
# Names people know from pyiqa, and why they are not among PRIORS.
REFUSED = {
    "qalign": _LLAMA,
    "qalign_4bit": _LLAMA,
    "qalign_8bit": _LLAMA,
    "compare2score": _LLAMA,
    "wadiqam_nr": "it looks at random patches, another lot at each call",
}
