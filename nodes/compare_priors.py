"""Node: what several quality models, or restorers, make of one picture."""

from itertools import chain

import comfy.model_management as mm
import torch
from comfy_api.latest import io, ui

from ..comparison.candidates import (
    Candidate,
    candidates_sheet,
    check_candidates,
    judge_all,
    judge_table,
    most_discrepant,
    region_mask,
)
from ..edict.backbones import load_backbone
from ..fidelity.loading import load_fidelity
from ..iqa_priors.loading import load_prior
from ..iqa_priors.prior import check_prior
from ..map_estimation.enhance import enhance_each
from ..map_estimation.enhancer import Enhancer
from ..map_estimation.settings import DEFAULT_PRESET, PRESETS
from ..map_estimation.settings import preset as preset_settings
from ..map_estimation.work import work_of
from .schema_fields import found_as
from .session import (
    Progress,
    from_comfy,
    make_room,
    outside_inference_mode,
    plot_to_comfy,
    to_comfy,
)
from .sockets import CATEGORY, Backbone, Fidelity, IqaPrior

LETTERS = "abcd"
MOST = len(LETTERS)


def _prior(letter: str) -> io.Input:
    tooltip = "A quality model: one result is made by climbing it."
    return IqaPrior.Input(f"prior_{letter}", optional=True, tooltip=tooltip)


def _image(letter: str) -> io.Input:
    tooltip = "Another restorer's result of the picture, of the same size."
    return io.Image.Input(f"image_{letter}", optional=True, tooltip=tooltip)


class ComparePriors(io.ComfyNode):
    """Results of several quality models and restorers, judged by each of the models."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_ComparePriors",
            display_name="Compare Priors (which judge makes the better picture)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "compare, comparison, side by side, grid, judge, rank, which is better, quality, "
                "A/B, restorer, upscaler, prior, IQA, analysis by synthesis, difference"
            ),
            description="Enhances one picture with up to four quality models, or takes other "
            "restorers' results of it, and shows all side by side, what every model says of every "
            "result, and where the results differ most.",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="One picture; alpha is ignored."),
                io.Combo.Input(
                    "preset",
                    options=list(PRESETS),
                    default=DEFAULT_PRESET,
                    tooltip="How the models are climbed, as in Post-Enhance.",
                ),
                *(_prior(letter) for letter in LETTERS),
                *(_image(letter) for letter in LETTERS),
                Backbone.Input(
                    "backbone",
                    optional=True,
                    tooltip="The diffusion model; without it the pocket backbone.",
                ),
                Fidelity.Input(
                    "fidelity",
                    optional=True,
                    tooltip="What holds the results to the picture; without it Eq. (20).",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="grid",
                    tooltip="The picture and all results, labelled, with the part on which they "
                    "differ most framed, and enlarged below.",
                ),
                io.Image.Output(
                    display_name="results", tooltip="The results alone: priors, then images."
                ),
                io.String.Output(
                    display_name="scores",
                    tooltip="Every model's quality, 0 to 1, of every result; its own is marked.",
                ),
                io.Mask.Output(
                    display_name="region", tooltip="Where the results differ most: white."
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, image, preset, backbone=None, fidelity=None, **given) -> io.NodeOutput:
        """Enhance with each prior, and lay all out."""
        pixels, _ = from_comfy(image)
        if len(pixels) != 1:
            raise ValueError(f"the image holds {len(pixels)} pictures: give one of them")
        priors = [given[n] for n in map("prior_{}".format, LETTERS) if given.get(n) is not None]
        others = {n: given[n] for n in map("image_{}".format, LETTERS) if given.get(n) is not None}
        if len(priors) + len(others) > MOST:
            raise ValueError(f"{len(priors)} priors and {len(others)} images: {MOST} at most")
        pictures = {name: from_comfy(other)[0] for name, other in others.items()}
        theirs = [Candidate(name, picture) for name, picture in pictures.items()]
        unmade = [Candidate(prior.name, pixels, prior.name) for prior in priors]
        check_candidates([Candidate("input", pixels), *unmade, *theirs])
        judges = priors or [load_prior("pocket", mm.get_torch_device())]
        for judge in judges:
            check_prior(judge, pixels)
        made = _enhanced(pixels, priors, preset, backbone, fidelity)
        candidates = [Candidate("input", pixels), *made, *theirs]
        scores = judge_all(candidates, judges, mm.get_torch_device())
        table = judge_table(candidates, judges, scores)
        window = most_discrepant(candidates[1:] if len(candidates) > 2 else candidates)
        grid = plot_to_comfy(candidates_sheet(candidates, window, judges, scores))
        shown = ui.PreviewImage(grid, cls=cls).as_dict() | ui.PreviewText(table).as_dict()
        return io.NodeOutput(
            grid,
            to_comfy(torch.cat([candidate.picture for candidate in candidates[1:]])),
            table,
            region_mask(window, pixels),
            ui=shown,
        )


def _enhanced(pixels, priors, preset, backbone, fidelity) -> list[Candidate]:
    """One result a prior, one after the other."""
    if not priors:
        return []
    settings, device = preset_settings(preset), mm.get_torch_device()
    make_room(pixels)
    backbone = backbone or load_backbone("pocket", device)
    fidelity = fidelity or load_fidelity("low_resolution")
    progress = Progress(work_of(backbone, settings), len(priors))
    watched = progress.watch(backbone)
    results = chain.from_iterable(
        enhance_each(
            pixels, Enhancer(watched, prior, fidelity, settings), progress.step, device=device
        )
        for prior in priors
    )
    made = [
        Candidate(prior.name, result.picture, prior.name)
        for prior, result in zip(priors, progress.pictures(results), strict=True)
    ]
    progress.finish()
    return made
