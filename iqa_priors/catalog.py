"""The priors by name: what each is, what it needs, and its provisional constants."""

from pathlib import Path

from .clip.catalog import CLIP_PRIORS, VIT_L
from .prior import Scorer
from .prior_row import Device, PriorRow, lazy_load, pyiqa_file
from .pyiqa.catalog import PYIQA_PRIORS

_QUALICLIP = pyiqa_file("QualiCLIP.pth")


def _pocket(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .pocket import load_pocket_scorer

    return load_pocket_scorer(device)


def _pocket_constants() -> tuple[float, float]:
    from .pocket import load_pocket_calibration

    return load_pocket_calibration()


def _niqe(device: Device, _: tuple[Path, ...]) -> Scorer:
    from .niqe import load_niqe

    return Scorer(load_niqe(device), load_niqe(device, whole=True))


def _arniqa(data: str, regressor: str, scale: tuple[float, float]) -> PriorRow:
    """ARNIQA with the linear map to the opinions of one data set."""
    return PriorRow(
        lazy_load("arniqa", "load_arniqa", scale=scale),
        f"ResNet-50 taught by degradations without opinions, and a linear map to those of {data}",
        "0..1",
        "ARNIQA: CC-BY-NC-4.0",
        0.5,
        0.17,
        files=(pyiqa_file("ARNIQA.pth", 94), pyiqa_file(regressor, 0.02)),
        min_side=16,
    )


_ROWS: dict[str, PriorRow] = {
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
    "qualiclip": PriorRow(
        lazy_load("clip.qualiclip", "load_qualiclip"),
        "CLIP RN50 taught by degradations without opinions; any size, no crops",
        "0..1",
        "QualiCLIP: see its authors; CLIP: MIT",
        0.5,
        0.17,
        files=(_QUALICLIP,),
        min_side=32,
    ),
    "qualiclip+": PriorRow(
        lazy_load("clip.qualiclip", "load_qualiclip", learned=True),
        "the same with learned words (KonIQ-10k)",
        "0..1",
        "QualiCLIP: see its authors; CLIP: MIT",
        0.5,
        0.17,
        files=(_QUALICLIP, pyiqa_file("QualiCLIP+_koniq.pth")),
        min_side=32,
    ),
    "laion_aes": PriorRow(
        lazy_load("clip.laion_aes", "load_laion_aes"),
        "aesthetics: a linear map of CLIP ViT-L/14, of the picture shrunk to 224",
        "1..10",
        "predictor: Apache-2.0; CLIP: MIT",
        5.5,
        1.53,
        files=(VIT_L, pyiqa_file("sac+logos+ava1-l14-linearMSE.pth", 4)),
    ),
    "arniqa": _arniqa("KonIQ-10k", "regressor_koniq10k.pth", (1, 100)),
    "arniqa-kadid": _arniqa("KADID-10k", "regressor_kadid10k.pth", (1, 5)),
    "arniqa-spaq": _arniqa("SPAQ", "regressor_spaq.pth", (1, 100)),
    **PYIQA_PRIORS,
}
# Of 576 x 384 pixels, by benchmarks/priors.py, with random weights. Priors on crops, or that shrink
# the picture, keep a few hundred MB whatever its size.
_MEMORY = {
    **{"pocket": 350, "niqe": 270, "cnniqa": 430, "paq2piq": 470, "unique": 690, "dbcnn": 2190},
    **dict.fromkeys(("arniqa", "arniqa-kadid", "arniqa-spaq"), 2160),
    **dict.fromkeys(("clipiqa", "clipiqa+", "qualiclip", "qualiclip+"), 2220),
    **dict.fromkeys(("musiq", "musiq-ava", "musiq-paq2piq", "musiq-spaq"), 2190),
    **dict.fromkeys(("topiq_nr", "topiq_nr-spaq"), 3100),
}
PRIORS = {name: row._replace(memory_mb_per_mpixel=_MEMORY.get(name)) for name, row in _ROWS.items()}
