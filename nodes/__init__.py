"""The nodes of the pack, listed once. Only this folder imports ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .backbone_from_model import BackboneFromModel
from .combine_priors import CombinePriors
from .compare_pictures import ComparePictures
from .compare_priors import ComparePriors
from .edict_invert import EdictInvert
from .edict_reconstruct import EdictReconstruct
from .fidelity_loss import FidelityLoss
from .get_weights import GetWeights
from .iqa_prior import IqaPrior
from .iqa_score import IqaScore
from .latent_map_optimizer import LatentMapOptimizer
from .load_backbone import LoadBackbone
from .load_map_state import LoadMapState
from .map_trace import CompareTraces
from .post_enhance import PostEnhance
from .queued_prompts import prepare, toggles_of
from .region_weight import RegionWeight
from .sample_picture import SamplePicture

NODES: list[type[io.ComfyNode]] = [
    PostEnhance,
    LoadBackbone,
    BackboneFromModel,
    EdictInvert,
    LatentMapOptimizer,
    EdictReconstruct,
    IqaPrior,
    CombinePriors,
    FidelityLoss,
    RegionWeight,
    LoadMapState,
    CompareTraces,
    IqaScore,
    GetWeights,
    ComparePictures,
    SamplePicture,
    ComparePriors,
]


class LatentMapExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return NODES


def prepare_queued_prompts() -> None:
    """Have prompts prepared when they are queued; to be called once, when the pack is loaded."""
    from server import PromptServer

    kinds = toggles_of(NODES)

    def prepared(queued: dict) -> dict:
        prepare(queued.get("prompt", {}), kinds)
        return queued

    PromptServer.instance.add_on_prompt_handler(prepared)
