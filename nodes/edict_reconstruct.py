"""Node: noise to picture."""

from comfy_api.latest import io

from ..edict.inversion import reconstruct_picture
from .session import Progress, make_room, outside_inference_mode, to_comfy
from .sockets import CATEGORY, EdictLatents


class EdictReconstruct(io.ComfyNode):
    """Reconstruction by EDICT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_EdictReconstruct",
            display_name="EDICT Reconstruct",
            category=CATEGORY,
            description="Reconstructs pictures from EDICT noise: the inverse of EDICT Invert.",
            inputs=[
                EdictLatents.Input(
                    "latents", tooltip="From EDICT Invert or the Latent MAP Optimizer."
                )
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture x."),
                io.Image.Output(
                    display_name="twin y",
                    tooltip="The pair's other picture; nearly the same, a check of the result.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, latents) -> io.NodeOutput:
        """Reconstruct the batch."""
        make_room(latents.picture)
        progress = Progress(latents.bijection.calls)
        images = reconstruct_picture(progress.watch_latents(latents))
        progress.finish()
        return io.NodeOutput(to_comfy(images.x), to_comfy(images.y))
