"""The priors that compare pictures with texts, on transformers' CLIP.

Constants of Eq. (21) are provisional: the middle of the metric's range, with 5 % and 95 % of the
quality at its ends.
"""

from ...files.catalog import lazily
from ...files.weight_files import WeightFile
from ..prior_row import PriorRow, pyiqa_file


def _openai_file(name: str, size_mb: float, sha256: str) -> WeightFile:
    """One of OpenAI's own files; its digest is part of its address."""
    url = f"https://openaipublic.azureedge.net/clip/models/{sha256}/{name}"
    return WeightFile(name=name, size_mb=size_mb, url=url, sha256=sha256, cache="clip")


_RN50 = _openai_file(
    "RN50.pt", 244, "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762"
)
VIT_L = WeightFile(
    name="clip-vit-large-patch14.safetensors",
    size_mb=1711,
    url="https://huggingface.co/openai/clip-vit-large-patch14/resolve/main/model.safetensors",
    sha256="a2bf730a0c7debf160f7a6b50b3aaf3703e7e88ac73de7a314903141db026dcb",
    cache="clip",
    instead=("ViT-L-14.pt",),  # OpenAI's own file, in half precision
)
_LIQE_LICENCE = "LIQE: MIT; CLIP: MIT"
_CLIPIQA_LICENCE = "CLIP-IQA: S-Lab 1.0 (noncommercial); CLIP: MIT"

CLIP_PRIORS: dict[str, PriorRow] = {
    "liqe_mix": PriorRow(
        load=lazily(__package__, "liqe:load_liqe", multitask=True),
        summary="CLIP ViT-B/32 and 495 texts, trained on six datasets: the LIQE of the paper",
        range="1..5",
        licence=_LIQE_LICENCE,
        xi3=3.0,
        xi4=0.68,
        files=(pyiqa_file("liqe_mix.pt", 605),),
        min_side=16,
        capturable=True,
    ),
    "liqe": PriorRow(
        load=lazily(__package__, "liqe:load_liqe"),
        summary="CLIP ViT-B/32 and five texts, trained on KonIQ-10k alone",
        range="1..5",
        licence=_LIQE_LICENCE,
        xi3=3.0,
        xi4=0.68,
        files=(pyiqa_file("liqe_koniq.pt", 605),),
        min_side=16,
        capturable=True,
    ),
    "ms_liqe": PriorRow(
        load=lazily(__package__, "ms_liqe:load_ms_liqe"),
        summary="LIQE on three scales, the paper's own; no weights are published, train them",
        range="1..5",
        licence="yours; CLIP: MIT",
        xi3=3.0,
        xi4=0.68,
        files=(WeightFile("ms_liqe.safetensors", 605, ""),),
        min_side=16,
        capturable=True,
    ),
    "clipiqa+": PriorRow(
        load=lazily(__package__, "clipiqa:load_clipiqa", learned=True),
        summary="CLIP RN50 between two learned texts, trained on KonIQ-10k; any size, no crops",
        range="0..1",
        licence=_CLIPIQA_LICENCE,
        xi3=0.5,
        xi4=0.17,
        files=(_RN50, pyiqa_file("CLIP-IQA+_learned_prompts-603f3273.pth", 0.07)),
        min_side=32,
        capturable=True,
        memory_mb_per_mpixel=2220,
    ),
    "clipiqa+_rn50_512": PriorRow(
        load=lazily(__package__, "clipiqa:load_clipiqa", learned=True, positions=True),
        summary="the same, its texts learned on 512 px, with positions told; any size, no crops",
        range="0..1",
        licence=_CLIPIQA_LICENCE,
        xi3=0.5,
        xi4=0.17,
        files=(_RN50, pyiqa_file("CLIPIQA+_RN50_512-89f5d940.pth", 0.3)),
        min_side=32,
        capturable=True,
    ),
    "clipiqa+_vitL14_512": PriorRow(
        load=lazily(__package__, "clipiqa:load_clipiqa", learned=True, positions=True),
        summary="the same with CLIP ViT-L/14, up to 2048 x 2048 pixels",
        range="0..1",
        licence=_CLIPIQA_LICENCE,
        xi3=0.5,
        xi4=0.17,
        files=(VIT_L, pyiqa_file("CLIPIQA+_ViTL14_512-e66488f2.pth", 0.5)),
        min_side=32,
        capturable=True,
    ),
    "clipiqa": PriorRow(
        load=lazily(__package__, "clipiqa:load_clipiqa"),
        summary="CLIP RN50 between five pairs of texts, not trained on quality",
        range="0..1",
        licence=_CLIPIQA_LICENCE,
        xi3=0.5,
        xi4=0.17,
        files=(_RN50,),
        min_side=32,
        capturable=True,
        memory_mb_per_mpixel=2220,
    ),
}
