"""Node: the whole method in one."""

import logging
from dataclasses import replace
from typing import Any, get_args

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui

from ..edict.backbones import load_backbone
from ..fidelity.loading import load_fidelity
from ..files.image_values import even_remarks
from ..iqa_priors.loading import load_prior
from ..map_estimation.enhance import enhance_each
from ..map_estimation.enhancer import Enhancer
from ..map_estimation.report import in_force, plot_trace, summarise
from ..map_estimation.restraints import GUARD_WEIGHT, Restraints
from ..map_estimation.settings import DEFAULT_PRESET, PRESETS, MapSettings, Start
from ..map_estimation.settings import preset as preset_settings
from ..map_estimation.starts import settings_for
from ..map_estimation.words import what_changed
from ..map_estimation.work import work_of
from .kept_runs import keep_runs
from .queued_prompts import preview_interval
from .schema_fields import found_as
from .session import (
    Progress,
    from_comfy,
    hide_again,
    make_room,
    mask_from_comfy,
    mask_remarks,
    outside_inference_mode,
    plot_to_comfy,
    regions_from_comfy,
    to_comfy,
)
from .shared_inputs import (
    advanced,
    check_gradient,
    own_tile,
    preview,
    preview_every,
    regions,
    resume,
    state,
    switch,
    tile,
)
from .sockets import CATEGORY, Backbone, Fidelity, IqaPrior, MapTrace

log = logging.getLogger(__name__)
AS_PRESET = "as the preset"
OVERRIDDEN = ("iterations", "lam")


def _preset() -> io.Combo.Input:
    widget = io.Combo.Input(
        "preset",
        options=list(PRESETS),
        default=DEFAULT_PRESET,
        tooltip="fast: from the model's estimate, a few small steps. gentle: for pictures that are "
        "good already. strong: larger steps. turbo: half the calls a step, for SD-Turbo, LCM and "
        "Hyper checkpoints. paper: as published, 40 times as many network calls. pixel_*, "
        "no_fidelity: baselines.",
    )
    # What the widgets that override a preset show while they do not.
    values = {name: {key: vars(row)[key] for key in OVERRIDDEN} for name, row in PRESETS.items()}
    widget.extra_dict = {**(widget.extra_dict or {}), "presets": values}
    return widget


def _guard_weight() -> io.Float.Input:
    widget = io.Float.Input(
        "guard_weight",
        default=GUARD_WEIGHT,
        min=0.0,
        max=1000.0,
        step=0.5,
        round=0.01,
        optional=True,
        tooltip="How many times more the fidelity counts changes where guard is white, "
        "and fewer where it is grey.",
    )
    return advanced(widget)


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
        usual = preset_settings(DEFAULT_PRESET)
        return io.Schema(
            node_id="DLM_PostEnhance",
            display_name="Post-Enhance (latent MAP)",
            category=CATEGORY,
            is_experimental=True,
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
                _preset(),
                io.Int.Input(
                    "iterations",
                    default=usual.iterations,
                    min=1,
                    max=10000,
                    tooltip="Gradient steps, where override is on.",
                ),
                io.Float.Input(
                    "lam",
                    default=usual.lam,
                    min=0.0,
                    max=1000.0,
                    step=0.001,
                    round=1e-5,
                    tooltip="Weight of quality against fidelity (lambda), where override is on: "
                    "larger changes the picture more, 0 returns the input.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.01,
                    max=1.0,
                    step=0.01,
                    round=0.01,
                    tooltip="Share of the preset's way to noise: less is faster and gentler.",
                ),
                preview_every(),
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
                    tooltip="Where to be careful, e.g. faces or text: changes there count more in "
                    "the fidelity, see guard_weight.",
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
                switch(
                    "override",
                    {"iterations": -1, "lam": -1},
                    ("as the preset", "own"),
                    "Whether iterations and lam are the preset's, or your own.",
                ),
                own_tile(),
                preview(),
                _guard_weight(),
                regions(),
                resume(),
                state(),
            ],
            hidden=[io.Hidden.prompt],
            outputs=[
                io.Image.Output(display_name="image", tooltip="The enhanced pictures."),
                io.String.Output(
                    display_name="summary",
                    tooltip="The values in force, then a line per picture: what was reached and "
                    "why it ended.",
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
        preview=True,
        guard_weight=GUARD_WEIGHT,
        regions=(),
        resume=True,
        state=None,
        **options,
    ) -> io.NodeOutput:
        """Enhance the batch, one picture at a time."""
        settings = _settings(**options)
        device = mm.get_torch_device()
        pixels, alpha = from_comfy(image)
        mask, guard = mask_from_comfy(mask, pixels), mask_from_comfy(guard, pixels, "guard")
        held = regions_from_comfy(regions, pixels)
        masks = {"mask": mask, "guard": guard}
        masks |= {f"mask of region {i}": region.mask for i, region in enumerate(held, 1)}
        make_room(pixels)
        backbone = backbone or load_backbone("pocket", device)
        interval = preview_interval(preview, preview_every)
        progress = Progress(work_of(backbone, settings), len(pixels), interval)
        shown = in_force(settings_for(settings, backbone))
        lines = [shown, *mask_remarks(masks), *even_remarks(pixels)]
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
            keep_runs(resume, lines, state, cls.hidden.prompt),
            restraints=Restraints(mask, guard, guard_weight, anchor_colours, held),
            device=device,
        )
        made = []
        for before, result in zip(pixels.split(1), progress.pictures(results), strict=True):
            # A picture's noise is many times its size: only what is shown is kept.
            made.append(replace(result, variables=()))
            lines.append(f"{summarise(result)}; {what_changed(before, result.picture)}")
            log.info("latent MAP: %s; %s", summarise(result), progress.spent)
        progress.finish(made[-1].picture)
        plots = torch.cat([plot_to_comfy(plot_trace(result.trace)) for result in made])
        summary = "\n".join(lines)
        return io.NodeOutput(
            to_comfy(hide_again(torch.cat([result.picture for result in made]), image), alpha),
            summary,
            plots,
            [result.trace for result in made],
            ui=ui.PreviewText(summary),
        )


def _settings(
    preset: str,
    iterations: int,
    lam: float,
    strength: float,
    tile: int = 0,
    check_gradient: bool = True,
    start: str = AS_PRESET,
    override: bool = False,
    own_tile: bool = False,
) -> MapSettings:
    chosen = preset_settings(preset)
    changes: dict[str, Any] = {"iterations": iterations, "lam": lam} if override else {}
    if start != AS_PRESET:
        changes["start"] = start
    size = tile if own_tile else "auto"
    share = strength * chosen.inversion.strength
    inversion = replace(chosen.inversion, strength=share, tile=size)
    return replace(chosen, inversion=inversion, check_gradient=check_gradient, **changes)
