"""Node: noise to picture."""

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from torch import Tensor

from ..edict.inversion import reconstruct_picture
from ..map_estimation.work import work_of_reconstruction
from .inverted_picture import PackedPicture
from .search import found_as
from .session import Progress, make_room, outside_inference_mode, to_comfy
from .sockets import CATEGORY, EdictLatents


class EdictReconstruct(io.ComfyNode):
    """Reconstruction by EDICT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_EdictReconstruct",
            display_name="EDICT Reconstruct (noise to picture)",
            category=CATEGORY,
            **found_as(
                "inversion, reconstruct, noise to image, decode, edit, image editing, EDICT edit"
            ),
            description="Reconstructs pictures from noise: the inverse of EDICT Invert.",
            inputs=[
                EdictLatents.Input(
                    "latents", tooltip="From EDICT Invert or the Latent MAP Optimizer."
                )
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The picture x."),
                io.Image.Output(
                    display_name="twin y",
                    tooltip="The pair's other picture; nearly the same, a check of the result. "
                    "With the bijections bdia and obelm the same picture.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, latents) -> io.NodeOutput:
        """Reconstruct the batch, one picture at a time."""
        device, first = mm.get_torch_device(), latents[0]
        make_room(first.picture)
        progress = Progress(work_of_reconstruction(first.backbone, first.options), len(latents))

        def reconstruct(packed: PackedPicture) -> list[Tensor]:
            watched = progress.watch(packed.backbone)
            return [to_comfy(z) for z in reconstruct_picture(packed.unpack(device, watched))]

        x, y = zip(*progress.pictures(map(reconstruct, latents)), strict=True)
        progress.finish()
        return io.NodeOutput(torch.cat(x), torch.cat(y))
