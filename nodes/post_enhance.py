"""Node: the whole method in one."""

from dataclasses import replace
from typing import Any, get_args

import comfy.model_management as mm
import torch
from comfy_api.latest import io

from ..edict.backbones import load_backbone
from ..fidelity.loading import load_fidelity
from ..iqa_priors.loading import load_prior
from ..map_estimation.enhance import Enhancer, enhance_each
from ..map_estimation.report import plot_trace, summarise
from ..map_estimation.restraints import Restraints
from ..map_estimation.settings import DEFAULT_PRESET, PRESETS, MapSettings, Start
from ..map_estimation.settings import preset as preset_settings
from ..map_estimation.words import what_changed
from ..map_estimation.work import work_of
from .search import found_as
from .session import (
    Progress,
    from_comfy,
    make_room,
    mask_from_comfy,
    outside_inference_mode,
    plot_to_comfy,
    to_comfy,
)
from .shared_inputs import advanced, check_gradient, tile
from .sockets import CATEGORY, Backbone, Fidelity, IqaPrior, MapTrace

AS_PRESET = "as the preset"


def _start() -> io.Combo.Input:
    widget = io.Combo.Input(
        "start",
        options=[AS_PRESET, *get_args(Start)],
        default=AS_PRESET,
        optional=True,
        tooltip="Where the ascent starts. input: the picture itself (the paper). estimate: what "
        "the model expects the clean picture to be, in one step. sample: the best of what it draws "
        "from noise, for models with a ControlNet, SeeSR and the pocket one. The result is held to "
        "your picture all the same.",
    )
    return advanced(widget)


class PostEnhance(io.ComfyNode):
    """A better picture from one node."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_PostEnhance",
            display_name="Post-Enhance (latent MAP)",
            category=CATEGORY,
            **found_as(
                "enhance, enhancer, restore, restoration, upscale, denoise, noise removal, "
                "sharpen, deblur, detail, detailer, refine, improve, quality, aesthetic, "
                "texture, JPEG artifacts, after SUPIR, after SeedVR2, after upscaler, SeeSR, "
                "EDICT, MAP"
            ),
            description="Refines pictures, e.g. the output of a restorer: inverts them to "
            "diffusion noise, moves it towards higher quality, reconstructs. Never worse than the "
            "input by its own objective. Without a backbone it uses the one inside the pack, a "
            "preview of the method.",
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="Pictures of any size; alpha is kept, a batch is worked on one by one.",
                ),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip="fast: from the model's estimate, a few small steps. gentle: for "
                    "pictures that are good already. strong: larger steps. paper: as published, "
                    "40 times as many network calls. pixel_*, no_fidelity: baselines.",
                ),
                io.Int.Input(
                    "iterations",
                    default=-1,
                    min=-1,
                    max=10000,
                    tooltip="Gradient steps; -1 takes the preset's, 0 gives the start itself.",
                ),
                io.Float.Input(
                    "lam",
                    default=-1.0,
                    min=-1.0,
                    max=1000.0,
                    step=0.001,
                    round=1e-5,
                    tooltip="Weight of quality against fidelity (lambda): larger changes "
                    "the picture more. -1 takes the preset's.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    round=0.01,
                    tooltip="Share of the way to noise: less is faster and gentler.",
                ),
                io.Int.Input(
                    "preview_every",
                    default=1,
                    min=0,
                    max=1000,
                    tooltip="Show the picture each so many iterations; 0 is off.",
                ),
                Backbone.Input(
                    "backbone",
                    optional=True,
                    tooltip="The diffusion model; without it the pocket backbone.",
                ),
                IqaPrior.Input(
                    "prior",
                    optional=True,
                    tooltip="The quality model; without it the pocket prior.",
                ),
                Fidelity.Input(
                    "fidelity",
                    optional=True,
                    tooltip="What holds the picture to its input; without it Eq. (20).",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where to enhance: white is free, black stays as it is, grey blends.",
                ),
                io.Mask.Input(
                    "guard",
                    optional=True,
                    tooltip="Where to be careful, e.g. faces or text: changes there count 11 times "
                    "in the fidelity.",
                ),
                io.Boolean.Input(
                    "anchor_colours",
                    default=False,
                    optional=True,
                    tooltip="Keep the input's colours and let only detail change.",
                ),
                tile(),
                check_gradient(),
                _start(),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The enhanced pictures."),
                io.String.Output(
                    display_name="summary",
                    tooltip="One line per picture: what was reached and why it ended.",
                ),
                io.Image.Output(
                    display_name="trace plot",
                    tooltip="Quality, fidelity and energy per iteration.",
                ),
                MapTrace.Output(
                    display_name="trace",
                    tooltip="Energy, fidelity and quality of each iteration.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(
        cls,
        image,
        preview_every,
        backbone=None,
        prior=None,
        fidelity=None,
        mask=None,
        guard=None,
        anchor_colours=False,
        **options,
    ) -> io.NodeOutput:
        """Enhance the batch, one picture at a time."""
        settings = _settings(**options)
        device = mm.get_torch_device()
        pixels, alpha = from_comfy(image)
        mask, guard = (mask_from_comfy(m, pixels) for m in (mask, guard))
        make_room(pixels)
        backbone = backbone or load_backbone("pocket", device)
        progress = Progress(work_of(backbone, settings), len(pixels), preview_every)
        enhancer = Enhancer(
            progress.watch(backbone),
            prior or load_prior("pocket", device),
            fidelity or load_fidelity("low_resolution"),
            settings,
        )
        results = enhance_each(
            pixels,
            enhancer,
            progress.step,
            restraints=Restraints(mask, guard, anchor_colours=anchor_colours),
            device=device,
        )
        # A picture's noise is many times its size: only what is shown is kept.
        made = [replace(result, variables=()) for result in progress.pictures(results)]
        progress.finish(made[-1].picture)
        plots = torch.cat([plot_to_comfy(plot_trace(result.trace)) for result in made])
        return io.NodeOutput(
            to_comfy(torch.cat([result.picture for result in made]), alpha),
            "\n".join(
                f"{summarise(result)}; {what_changed(before, result.picture)}"
                for before, result in zip(pixels.split(1), made, strict=True)
            ),
            plots,
            [result.trace for result in made],
        )


def _settings(
    preset: str,
    iterations: int,
    lam: float,
    strength: float,
    tile: int = 0,
    check_gradient: bool = True,
    start: str = AS_PRESET,
) -> MapSettings:
    chosen = preset_settings(preset)
    changes: dict[str, Any] = {"iterations": iterations, "lam": lam}
    changes = {name: value for name, value in changes.items() if value >= 0}
    if start != AS_PRESET:
        changes["start"] = start
    inversion = replace(chosen.inversion, strength=strength, tile=tile or "auto")
    return replace(chosen, inversion=inversion, check_gradient=check_gradient, **changes)
