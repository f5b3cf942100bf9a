"""The priors by name: what each is, what it needs, and its provisional constants."""

from ..files.catalog import lazily
from .clip.catalog import CLIP_PRIORS, VIT_L
from .prior_row import PriorRow, pyiqa_file
from .pyiqa.catalog import PYIQA_PRIORS

_QUALICLIP = pyiqa_file("QualiCLIP.pth")


def _arniqa(data: str, regressor: str, scale: tuple[float, float]) -> PriorRow:
    """ARNIQA with the linear map to the opinions of one data set."""
    return PriorRow(
        load=lazily(__package__, "arniqa:load_arniqa", scale=scale),
        summary="ResNet-50 taught by degradations without opinions, and a linear map to those of "
        + data,
        range="0..1",
        licence="ARNIQA: CC-BY-NC-4.0",
        xi3=0.5,
        xi4=0.17,
        files=(pyiqa_file("ARNIQA.pth", 94), pyiqa_file(regressor, 0.02)),
        min_side=16,
        memory_mb_per_mpixel=2160,
    )


PRIORS: dict[str, PriorRow] = {
    "pocket": PriorRow(
        load=lazily(__package__, "pocket:load_pocket_scorer"),
        summary="small network inside the pack, made to be climbed",
        range="-30..30",
        licence="Apache-2.0",
        calibrated=True,
        min_side=32,
        capturable=True,
        constants=lazily(__package__, "pocket:load_pocket_calibration"),
        memory_mb_per_mpixel=350,
    ),
    "niqe": PriorRow(
        load=lazily(__package__, "niqe:load_niqe_scorer"),
        summary="natural scene statistics, no network; a rough surface; needs 192 x 96 pixels",
        range="2..15, lower is better",
        licence="parameters: see niqe_parameters.md",
        xi3=4.5,
        xi4=0.8,
        lower_better=True,
        min_side=96,
        memory_mb_per_mpixel=270,
    ),
    "brisque-cpp": PriorRow(
        load=lazily(__package__, "brisque:load_brisque_scorer"),
        summary="BRISQUE as in its authors' C++ release: natural scene statistics and a support "
        "vector machine, no network; a rough surface; best combined with others",
        range="0..100, lower is better",
        licence="model: see brisque_model.md",
        xi3=50,
        xi4=17,
        lower_better=True,
        min_side=32,
        memory_mb_per_mpixel=270,
    ),
    **CLIP_PRIORS,
    "qualiclip": PriorRow(
        load=lazily(__package__, "clip.qualiclip:load_qualiclip"),
        summary="CLIP RN50 taught by degradations without opinions; any size, no crops",
        range="0..1",
        licence="QualiCLIP: see its authors; CLIP: MIT",
        xi3=0.5,
        xi4=0.17,
        files=(_QUALICLIP,),
        min_side=32,
        capturable=True,
        memory_mb_per_mpixel=2220,
    ),
    "qualiclip+": PriorRow(
        load=lazily(__package__, "clip.qualiclip:load_qualiclip", learned=True),
        summary="the same with learned words (KonIQ-10k)",
        range="0..1",
        licence="QualiCLIP: see its authors; CLIP: MIT",
        xi3=0.5,
        xi4=0.17,
        files=(_QUALICLIP, pyiqa_file("QualiCLIP+_koniq.pth")),
        min_side=32,
        capturable=True,
        memory_mb_per_mpixel=2220,
    ),
    "laion_aes": PriorRow(
        load=lazily(__package__, "clip.laion_aes:load_laion_aes"),
        summary="aesthetics: a linear map of CLIP ViT-L/14, of the picture shrunk to 224",
        range="1..10",
        licence="predictor: Apache-2.0; CLIP: MIT",
        xi3=5.5,
        xi4=1.53,
        files=(VIT_L, pyiqa_file("sac+logos+ava1-l14-linearMSE.pth", 4)),
    ),
    "arniqa": _arniqa("KonIQ-10k", "regressor_koniq10k.pth", (1, 100)),
    "arniqa-kadid": _arniqa("KADID-10k", "regressor_kadid10k.pth", (1, 5)),
    "arniqa-spaq": _arniqa("SPAQ", "regressor_spaq.pth", (1, 100)),
    **PYIQA_PRIORS,
}
