"""Node: a no-reference image quality prior."""

from pathlib import Path
from typing import get_args

import comfy.model_management as mm
from comfy_api.latest import io, ui

from ..iqa_priors.catalog import PRIORS
from ..iqa_priors.choices import Crops
from ..iqa_priors.loading import load_prior, missing_prior
from ..iqa_priors.prior_row import PriorRow
from ..iqa_priors.views import VIEWS
from .schema_fields import found_as
from .session import outside_inference_mode
from .shared_inputs import advanced
from .sockets import CATEGORY
from .sockets import IqaPrior as IqaPriorSocket
from .weight_files import facts, marked, model_folders, unmarked, usable

BUILT_IN = "built in"


def _calibrations() -> dict[str, Path]:
    files = (file for folder in model_folders() for file in sorted(folder.glob("*.json")))
    by_name: dict[str, Path] = {}
    for file in files:
        by_name.setdefault(file.name, file)
    return by_name


def _views() -> io.Int.Input:
    widget = io.Int.Input(
        "views",
        default=1,
        min=1,
        max=len(VIEWS),
        optional=True,
        tooltip="How many views of the picture the quality is the mean of: itself, mirrored, "
        "shifted by a few pixels, lightly compressed. What fools the model in one hardly fools it "
        "in all. The model's time and memory grow with it: 4 views take four times as much. IQA "
        "Score looks at the picture alone.",
    )
    return advanced(widget)


def _more(row: PriorRow, views: int) -> list[str]:
    memory = (row.memory_mb_per_mpixel or 0) * views
    remarks = [] if row.calibrated else ["provisional calibration"]
    remarks += ["scoring only"] if row.no_gradient else []
    remarks += [f"in {views} views"] if views > 1 else []
    return remarks + ([f"its gradient keeps {memory} MB a megapixel"] if memory else [])


class IqaPrior(io.ComfyNode):
    """A quality model, seen through its logistic."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_IqaPrior",
            display_name="IQA Prior (quality model)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "image quality assessment, quality, aesthetic, aesthetics, score, rating, CLIP- "
                "IQA, LIQE, MUSIQ, NIQE, pyiqa, reward model"
            ),
            description="A no-reference image quality model as a prior: quality between 0 and 1.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=marked(PRIORS, model_folders()),
                    default="pocket",
                    tooltip="Which quality model; those that can be used now come first. pocket, "
                    "niqe and brisque-cpp need nothing. The help page (?) tells of each what it "
                    "is, its scores, licence, memory and file; Get Weights fetches files.",
                ),
                io.Combo.Input(
                    "crops",
                    options=list(get_args(Crops)),
                    default="cover",
                    optional=True,
                    tooltip="For models that look at crops. cover: each pixel weighs the same, so "
                    "that no part of the picture is left out. official: the published crops, "
                    "which miss up to a third of it. IQA Score always uses the official ones.",
                ),
                io.Combo.Input(
                    "calibration",
                    options=[BUILT_IN, *_calibrations()],
                    default=BUILT_IN,
                    optional=True,
                    tooltip="Which scores count as good. built in: constants of the pack, for "
                    "most models provisional. Or a JSON file in models/iqa, made by `python -m "
                    "latent_map calibrate`.",
                ),
                _views(),
            ],
            outputs=[
                IqaPriorSocket.Output(
                    display_name="prior",
                    tooltip="For the optimizer, Post-Enhance, IQA Score.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, name=None) -> bool | str:
        """Say what is missing before anything runs. Names with and without the mark are one.

        Only the name is looked at: ComfyUI reports a complaint once for each input named here.
        """
        return usable(name or "pocket", missing_prior, model_folders())

    @classmethod
    @outside_inference_mode
    def execute(
        cls, name: str, crops: str = "cover", calibration: str = BUILT_IN, views: int = 1
    ) -> io.NodeOutput:
        """Load it onto ComfyUI's device."""
        name = unmarked(name)
        prior = load_prior(
            name,
            mm.get_torch_device(),
            calibration=_calibrations().get(calibration),
            crops=crops,  # pyright: ignore - the combo has only those
            folders=model_folders(),
            views=views,
        )
        row = PRIORS[name]
        return io.NodeOutput(prior, ui=ui.PreviewText(facts(name, row, *_more(row, views))))
