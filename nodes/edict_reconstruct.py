"""Node: noise to picture."""

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from torch import Tensor

from ..edict.inversion import check_noise_fits, reconstruct_picture
from ..map_estimation.work import work_of_reconstruction
from .inverted_picture import PackedPicture
from .schema_fields import found_as
from .session import Progress, make_room, outside_inference_mode, to_comfy
from .sockets import CATEGORY, Backbone, EdictLatents


class EdictReconstruct(io.ComfyNode):
    """Reconstruction by EDICT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_EdictReconstruct",
            display_name="EDICT Reconstruct (noise to picture)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "inversion, reconstruct, noise to image, decode, edit, image editing, EDICT edit"
            ),
            description="Reconstructs pictures from noise: the inverse of EDICT Invert, or with "
            "another prompt or model an edit of the picture.",
            inputs=[
                EdictLatents.Input(
                    "latents", tooltip="From EDICT Invert or the Latent MAP Optimizer."
                ),
                Backbone.Input(
                    "backbone",
                    optional=True,
                    tooltip="Another model to reconstruct with, for editing: the same one with "
                    "another prompt, LoRA or ControlNet strength. Without it the one that the "
                    "picture was inverted with, which gives the picture back.",
                ),
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
    def execute(cls, latents, backbone=None) -> io.NodeOutput:
        """Reconstruct the batch, one picture at a time."""
        device, first = mm.get_torch_device(), latents[0]
        make_room(first.picture)
        work = work_of_reconstruction(backbone or first.backbone, first.options)
        progress = Progress(work, len(latents))

        def reconstruct(packed: PackedPicture) -> list[Tensor]:
            watched = progress.watch(backbone or packed.backbone)
            inverted = packed.unpack(device, watched)
            if backbone is not None:
                check_noise_fits(inverted)
            return [to_comfy(z) for z in reconstruct_picture(inverted)]

        x, y = zip(*progress.pictures(map(reconstruct, latents)), strict=True)
        progress.finish()
        return io.NodeOutput(torch.cat(x), torch.cat(y))
