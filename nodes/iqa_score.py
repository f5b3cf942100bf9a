"""Node: score pictures."""

from comfy_api.latest import io, ui

from ..map_estimation.enhance import check_prior
from .session import from_comfy, outside_inference_mode
from .sockets import CATEGORY, IqaPrior


class IqaScore(io.ComfyNode):
    """Quality of pictures as numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_IqaScore",
            display_name="IQA Score",
            category=CATEGORY,
            description="Scores pictures with a quality prior.",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="Pictures to score; alpha is ignored."),
                IqaPrior.Input("prior", tooltip="The quality model, from IQA Prior."),
            ],
            outputs=[
                io.Float.Output(
                    display_name="quality",
                    tooltip="Calibrated quality, 0 to 1, mean over the batch.",
                ),
                io.String.Output(
                    display_name="scores",
                    tooltip="Quality and raw scores, one line per picture.",
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, image, prior) -> io.NodeOutput:
        """Score each picture."""
        pixels, _ = from_comfy(image)
        check_prior(prior, pixels)
        qualities, lines = [], []
        for item in pixels.split(1):
            qualities.append(float(prior(item)))
            raw = "  ".join(f"{name} {float(s):.4f}" for name, s in prior.scores(item).items())
            lines.append(f"quality {qualities[-1]:.4f}  {raw}")
        text = "\n".join(lines)
        return io.NodeOutput(sum(qualities) / len(qualities), text, ui=ui.PreviewText(text))
