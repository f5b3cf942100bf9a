"""Node: a no-reference image quality prior."""

import comfy.model_management as mm
from comfy_api.latest import io

from ..iqa_priors import PRIORS, load_prior
from .session import outside_inference_mode
from .sockets import CATEGORY
from .sockets import IqaPrior as IqaPriorSocket


class IqaPrior(io.ComfyNode):
    """A quality model, seen through its logistic."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_IqaPrior",
            display_name="IQA Prior",
            category=CATEGORY,
            description="A no-reference image quality model as a prior: quality between 0 and 1.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=list(PRIORS),
                    default="pocket",
                    tooltip="pocket: the small network inside the pack (Apache-2.0). niqe: natural "
                    "scene statistics, no network; its calibration is provisional and it needs "
                    "pictures of 192 x 96 pixels or more.",
                )
            ],
            outputs=[
                IqaPriorSocket.Output(
                    display_name="prior",
                    tooltip="For the optimizer, Post-Enhance, IQA Score.",
                )
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, name: str) -> io.NodeOutput:
        """Load it onto ComfyUI's device."""
        return io.NodeOutput(load_prior(name, mm.get_torch_device()))
