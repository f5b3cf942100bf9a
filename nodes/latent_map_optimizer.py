"""Node: Algorithm 1 on inverted pictures."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui
from torch import Tensor

from ..edict.choices import Memory
from ..edict.inversion import InvertedPicture
from ..map_estimation.noise_ascent import optimise_each
from ..map_estimation.report import in_force, plot_trace, summarise
from ..map_estimation.restraints import Restraints
from ..map_estimation.result import MapResult
from ..map_estimation.settings import DEFAULT_PRESET, MapSettings, OptimizerName, preset
from ..map_estimation.work import work_of
from .inverted_picture import PackedPicture
from .kept_runs import keep_runs
from .queued_prompts import preview_interval
from .schema_fields import found_as
from .session import Progress, make_room, outside_inference_mode, plot_to_comfy, regions_from_comfy
from .shared_inputs import (
    advanced,
    check_gradient,
    preview,
    preview_every,
    regions,
    resume,
    state,
    switch,
)
from .sockets import CATEGORY, EdictLatents, Fidelity, IqaPrior, MapTrace

log = logging.getLogger(__name__)


def _typicality() -> io.Float.Input:
    widget = io.Float.Input(
        "typicality",
        default=0.0,
        min=0.0,
        max=1000.0,
        step=0.01,
        round=1e-5,
        optional=True,
        tooltip="Weight of how typical the noise is for the diffusion model, half its mean square. "
        "It keeps the picture one that the model could have drawn; 0 is the paper's.",
    )
    return advanced(widget)


def _limits() -> list[io.Boolean.Input]:
    """Which limits count."""
    return [
        advanced(
            switch(
                "limit_gradient",
                {"clip": 0},
                ("off", "to clip"),
                "Whether the gradient's norm is bounded, which helps with rough priors.",
            )
        ),
        advanced(
            switch(
                "stop_without_progress",
                {"patience": 0},
                ("off", "after patience"),
                "Whether to stop early when nothing gets better.",
            )
        ),
        advanced(
            switch(
                "stop_at_target",
                {"target_quality": 0},
                ("off", "at target_quality"),
                "Whether to stop early when the quality is reached.",
            )
        ),
    ]


class LatentMapOptimizer(io.ComfyNode):
    """Gradient descent on fidelity - lambda * quality, in the noise."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        number, usual = io.Float.Input, preset(DEFAULT_PRESET)
        return io.Schema(
            node_id="DLM_LatentMapOptimizer",
            display_name="Latent MAP Optimizer (climb quality)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "enhance, restore, optimize, optimise, gradient ascent, noise optimization, "
                "quality, aesthetic, detail, guidance, ReNO, DOODL"
            ),
            description="Moves a picture's noise towards higher quality while the fidelity term "
            "holds the picture to its input. The best iterate is returned, never a worse one.",
            inputs=[
                EdictLatents.Input("latents", tooltip="The inverted picture, from EDICT Invert."),
                IqaPrior.Input("prior", tooltip="The quality model to climb."),
                Fidelity.Input("fidelity", tooltip="What holds the picture to its input."),
                io.Int.Input(
                    "iterations",
                    default=usual.iterations,
                    min=1,
                    max=10000,
                    tooltip="Gradient steps. The paper takes 40.",
                ),
                io.Combo.Input(
                    "optimizer",
                    options=list(get_args(OptimizerName)),
                    default=usual.optimizer,
                    tooltip="sgd is the paper's (rate 2), adam is faster (rate 0.01). lbfgs "
                    "searches along its direction: each trial is an iteration, and clip is off.",
                ),
                number(
                    "learning_rate",
                    default=usual.learning_rate,
                    min=1e-5,
                    max=1000.0,
                    step=1e-3,
                    round=1e-5,
                    tooltip="Step size: about 0.01 for adam (more is faster and adds grain), 2 for "
                    "sgd. For lbfgs by how much the very first trial changes the noise (root mean "
                    "square), e.g. 0.01.",
                ),
                number(
                    "momentum",
                    default=usual.momentum,
                    min=0.0,
                    max=0.999,
                    step=0.01,
                    round=0.001,
                    tooltip="Momentum of sgd, first beta of adam; lbfgs has none.",
                ),
                number(
                    "lam",
                    default=usual.lam,
                    min=0.0,
                    max=1000.0,
                    step=0.001,
                    round=1e-5,
                    tooltip="Weight of quality against fidelity (lambda); 0 returns the input.",
                ),
                number(
                    "clip",
                    default=0.1,
                    min=1e-6,
                    max=1e6,
                    step=0.001,
                    round=1e-6,
                    tooltip="Largest norm of the gradient, where limit_gradient is on.",
                ),
                io.Int.Input(
                    "patience",
                    default=10,
                    min=1,
                    max=10000,
                    tooltip="Where stop_without_progress is on: after so many iterations.",
                ),
                number(
                    "target_quality",
                    default=0.9,
                    min=0.001,
                    max=1.0,
                    step=0.01,
                    round=0.001,
                    tooltip="Where stop_at_target is on: the quality to reach, 0 to 1.",
                ),
                io.Combo.Input(
                    "memory",
                    options=list(get_args(Memory)),
                    default=usual.memory,
                    tooltip="recompute needs the least memory, store is fastest, auto "
                    "keeps what fits. The result is the same.",
                ),
                preview_every(),
                check_gradient(),
                _typicality(),
                preview(),
                *_limits(),
                regions(),
                resume(),
                state(),
            ],
            outputs=[
                EdictLatents.Output(
                    display_name="latents",
                    tooltip="The best noise found, for EDICT Reconstruct.",
                ),
                MapTrace.Output(
                    display_name="trace",
                    tooltip="Energy, fidelity and quality of each iteration.",
                ),
                io.Image.Output(
                    display_name="trace plot",
                    tooltip="The trace as a picture, one per picture of the batch.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(
        cls,
        latents,
        prior,
        fidelity,
        preview_every,
        clip,
        patience,
        target_quality,
        preview=True,
        limit_gradient=False,
        stop_without_progress=False,
        stop_at_target=False,
        regions=(),
        resume=True,
        state=None,
        **options,
    ) -> io.NodeOutput:
        """Optimise each picture of the batch by itself."""
        settings = MapSettings(
            inversion=latents[0].options,
            clip=clip if limit_gradient else None,
            patience=patience if stop_without_progress else None,
            target_quality=target_quality if stop_at_target else None,
            **options,
        )
        make_room(latents[0].picture)
        work = work_of(latents[0].backbone, settings, inverted=True)
        interval = preview_interval(preview, preview_every)
        progress = Progress(work, len(latents), interval)
        lines = [in_force(settings, given_noise=True)]
        runs = optimise_each(
            _unpacked(latents, regions, progress),
            len(latents),
            prior,
            fidelity,
            settings,
            progress.step,
            keep_runs(resume, lines, state),
        )
        best, results = [], []
        # First the runs: asked for more than there are, they remove the states that they kept.
        for moved, result in progress.pictures(map(_packed, runs, latents)):
            best.append(moved)
            results.append(result)
            lines.append(summarise(result))
            log.info("latent MAP: %s; %s", lines[-1], progress.spent)
        progress.finish(results[-1].picture)
        traces = [result.trace for result in results]
        plots = torch.cat([plot_to_comfy(plot_trace(trace)) for trace in traces])
        return io.NodeOutput(best, traces, plots, ui=ui.PreviewText("\n".join(lines)))


def _unpacked(
    latents: Sequence[PackedPicture],
    regions: Sequence[tuple[Tensor, float]],
    progress: Progress,
) -> Iterator[tuple[InvertedPicture, Restraints]]:
    """Each picture on the device when its turn comes, and where changes count more in it."""
    device = mm.get_torch_device()
    for index, packed in enumerate(latents):
        held = Restraints(regions=regions_from_comfy(regions, packed.picture)).item(index)
        yield packed.unpack(device, progress.watch(packed.backbone)), held


def _packed(
    made: tuple[InvertedPicture, MapResult], given: PackedPicture
) -> tuple[PackedPicture, MapResult]:
    """The best noise off the device, and the result without it."""
    moved, result = made
    return PackedPicture.pack(moved, given.backbone), replace(result, variables=())
