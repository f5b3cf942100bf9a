"""The nodes of the pack, listed once. Only this folder imports ComfyUI."""

from comfy_api.latest import ComfyExtension, io

from .backbone_from_model import BackboneFromModel
from .combine_priors import CombinePriors
from .edict_invert import EdictInvert
from .edict_reconstruct import EdictReconstruct
from .fidelity_loss import FidelityLoss
from .iqa_prior import IqaPrior
from .iqa_score import IqaScore
from .latent_map_optimizer import LatentMapOptimizer
from .load_backbone import LoadBackbone
from .post_enhance import PostEnhance

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
    IqaScore,
]


class LatentMapExtension(ComfyExtension):
    """What ComfyUI asks for the pack's nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """All nodes."""
        return NODES
