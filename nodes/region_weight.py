"""Node: a region where changes count more."""

from comfy_api.latest import io

from ..map_estimation.restraints import GUARD_WEIGHT
from .schema_fields import found_as
from .sockets import CATEGORY, Regions


class RegionWeight(io.ComfyNode):
    """A mask with a weight of its own; chain it for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_RegionWeight",
            display_name="Region Weight",
            category=CATEGORY,
            is_experimental=True,
            **found_as("face, text, guard, protect, detector mask, regional"),
            description="Makes changes in a region count more: faces, text, hands. The mask may "
            "come from any detector; chain the node for regions of other weights.",
            inputs=[
                io.Mask.Input(
                    "mask",
                    tooltip="White is held more tightly, e.g. what a face or text detector found.",
                ),
                io.Float.Input(
                    "weight",
                    default=GUARD_WEIGHT,
                    min=0.0,
                    max=1000.0,
                    step=0.5,
                    round=0.01,
                    tooltip="How many times more the fidelity counts changes there. 10 is careful, "
                    "100 lets next to nothing change.",
                ),
                Regions.Input(
                    "regions", optional=True, tooltip="Other regions, whose weights stay."
                ),
            ],
            outputs=[
                Regions.Output(
                    display_name="weighted",
                    tooltip="For Post-Enhance, Latent MAP Optimizer or another Region Weight.",
                )
            ],
        )

    @classmethod
    def execute(cls, mask, weight, regions=()) -> io.NodeOutput:
        """Add the region to the others."""
        return io.NodeOutput((*regions, (mask, weight)))
