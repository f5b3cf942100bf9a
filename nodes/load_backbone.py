"""Node: load a diffusion backbone."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..edict.backbones import BACKBONES, load_backbone
from .session import outside_inference_mode
from .sockets import CATEGORY, Backbone


class LoadBackbone(io.ComfyNode):
    """A diffusion model for the other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_LoadBackbone",
            display_name="Load Backbone",
            category=CATEGORY,
            description="Loads the diffusion model that turns pictures into noise and back.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=list(BACKBONES),
                    default="pocket",
                    tooltip="pocket: the small network inside the pack, no download. It is a "
                    "preview of the method, not Stable Diffusion.",
                )
            ],
            outputs=[
                Backbone.Output(
                    display_name="backbone",
                    tooltip="The model, for EDICT Invert and Post-Enhance.",
                )
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, name: str) -> io.NodeOutput:
        """Load it onto ComfyUI's device."""
        return io.NodeOutput(load_backbone(name, mm.get_torch_device()))
