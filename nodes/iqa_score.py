"""Node: score pictures."""

import comfy.model_management as mm
from comfy_api.latest import io, ui

from ..iqa_priors.prior import check_prior
from ..iqa_priors.score_report import score_pictures
from .schema_fields import found_as
from .session import from_comfy, outside_inference_mode, to_comfy
from .sockets import CATEGORY, IqaPrior


def _another(name: str) -> io.Input:
    return IqaPrior.Input(name, optional=True, tooltip="Another quality model, if you like.")


class IqaScore(io.ComfyNode):
    """Quality of pictures as numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_IqaScore",
            display_name="IQA Score (rate picture quality)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "image quality assessment, quality, aesthetic, aesthetics, score, rate, rating, "
                "measure, metric, NIQE, MUSIQ, LIQE, CLIP-IQA, heat map, compare"
            ),
            description="Scores pictures with up to four quality models, by their published rules.",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="Pictures to score; alpha is ignored."),
                IqaPrior.Input("prior", tooltip="The quality model, from IQA Prior."),
                _another("prior_b"),
                _another("prior_c"),
                _another("prior_d"),
            ],
            outputs=[
                io.Float.Output(
                    display_name="quality",
                    tooltip="Calibrated quality, 0 to 1, mean over the pictures and models.",
                ),
                io.String.Output(
                    display_name="scores",
                    tooltip="A table: quality and raw score of each picture by each model.",
                ),
                io.Image.Output(
                    display_name="heat_map",
                    tooltip="Where the quality is: red is bad, green is good. From the first "
                    "model that has local scores (pocket, paq2piq, models on crops); the picture "
                    "itself if none has.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, image, prior, prior_b=None, prior_c=None, prior_d=None) -> io.NodeOutput:
        """Score each picture."""
        pixels, _ = from_comfy(image)
        priors = [given for given in (prior, prior_b, prior_c, prior_d) if given is not None]
        for given in priors:
            check_prior(given, pixels)
        report = score_pictures(pixels, priors, mm.get_torch_device())
        heat_map = to_comfy(pixels if report.heat_map is None else report.heat_map)
        return io.NodeOutput(
            report.quality, report.table, heat_map, ui=ui.PreviewText(report.table)
        )
