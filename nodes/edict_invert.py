"""Node: picture to noise, exactly."""

from dataclasses import replace
from typing import get_args

import comfy.model_management as mm
from comfy_api.latest import io

from ..edict.bijections import BIJECTIONS, bijection_options, option_names
from ..edict.bijections.edict import Order
from ..edict.choices import Spacing
from ..edict.inversion import check_picture, invert_picture
from ..edict.inversion_options import InversionOptions
from ..map_estimation.work import work_of_inversion
from .inverted_picture import PackedPicture
from .schema_fields import found_as
from .session import Progress, from_comfy, make_room, outside_inference_mode
from .shared_inputs import advanced, own_tile, switch, tile
from .sockets import CATEGORY, Backbone, EdictLatents

DRAWS = 4  # noises of an estimate, as in the preset fast


class EdictInvert(io.ComfyNode):
    """Exact diffusion inversion by EDICT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_EdictInvert",
            display_name="EDICT Invert (picture to noise)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "inversion, invert, DDIM inversion, image to noise, encode, unsample, reverse "
                "diffusion, BDIA, BELM"
            ),
            description="Inverts pictures exactly to a pair of diffusion noise latents (EDICT).",
            inputs=[
                Backbone.Input("backbone", tooltip="The diffusion model, from Load Backbone."),
                io.Image.Input(
                    "image", tooltip="Pictures of any size from 16 pixels; alpha is dropped."
                ),
                io.Int.Input(
                    "steps",
                    default=20,
                    min=1,
                    max=1000,
                    tooltip="Diffusion steps T. Cost grows with them; the paper takes 20.",
                ),
                io.Float.Input(
                    "mixing",
                    default=0.93,
                    min=0.501,
                    max=1.0,
                    step=0.001,
                    round=0.001,
                    tooltip="Mixing p of the coupled latents, where own_mixing is on. 0.93 keeps "
                    "them close together when steps are few.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    round=0.01,
                    tooltip="Share of the way to noise: less is gentler and faster.",
                ),
                io.Combo.Input(
                    "spacing",
                    options=list(get_args(Spacing)),
                    default="trailing",
                    tooltip="trailing starts at the noisiest level and ends at the clean picture; "
                    "leading is what EDICT's own code does.",
                ),
                io.Combo.Input(
                    "order",
                    options=list(get_args(Order)),
                    default="fixed",
                    tooltip="fixed updates the pair as the paper prints it; alternate swaps every "
                    "other step, as EDICT's own code does.",
                ),
                tile(),
                advanced(_bijection()),
                switch(
                    "own_mixing",
                    {"mixing": 0},
                    ("the paper's", "own"),
                    "How the coupled latents are mixed: the paper's 0.93 ^ (50 / steps), or 0.93 "
                    "for fewer than 6 steps, or your own value.",
                ),
                own_tile(),
                _start(),
            ],
            outputs=[
                EdictLatents.Output(
                    display_name="latents",
                    tooltip="The noise pair with all it takes to reconstruct the picture.",
                )
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(
        cls,
        backbone,
        image,
        steps,
        mixing,
        strength,
        spacing,
        order,
        tile=0,
        bijection="edict",
        own_mixing=False,
        own_tile=False,
        start="input",
    ) -> io.NodeOutput:
        """Invert the batch, one picture at a time."""
        given = {"mixing": mixing if own_mixing else None, "order": order}
        own = {option: given[option] for option in option_names(bijection) if option in given}
        chosen = bijection_options(bijection, **own)
        size = tile if own_tile else "auto"
        options = InversionOptions(steps, spacing, strength, size, chosen)
        device = mm.get_torch_device()
        pixels, _ = from_comfy(image)
        check_picture(pixels)
        make_room(pixels)
        draws = DRAWS if start == "estimate" else 0
        work = work_of_inversion(backbone, options)
        progress = Progress(replace(work, start=work.start + draws), len(pixels))
        watched = progress.watch(backbone)
        made = (
            PackedPicture.pack(
                invert_picture(watched, item.to(device), options, draws=draws), backbone
            )
            for item in pixels.split(1)
        )
        latents = list(progress.pictures(made))
        progress.finish()
        return io.NodeOutput(latents)


def _start() -> io.Combo.Input:
    return io.Combo.Input(
        "start",
        options=["input", "estimate"],
        default="input",
        optional=True,
        tooltip="Which picture becomes noise. input: yours, as in the paper. estimate: what the "
        "model makes of yours in one step, cleaner and still held to yours by the optimizer: what "
        "Post-Enhance does by default. For models that see the picture, as through a ControlNet.",
    )


def _bijection() -> io.Combo.Input:
    return io.Combo.Input(
        "bijection",
        options=list(BIJECTIONS),
        default="edict",
        optional=True,
        tooltip="The exact way between picture and noise. edict is the paper's: two coupled "
        "latents, two network calls a step. bdia and obelm remember the step before instead: one "
        "call a step and one picture to score, so about half the time; mixing and order are not "
        "for them. The optimizer uses what is chosen here.",
    )
