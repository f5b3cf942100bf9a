"""Node: weighted mean of two priors."""

from comfy_api.latest import io

from ..iqa_priors.prior import CombinedPrior
from .schema_fields import found_as
from .sockets import CATEGORY, IqaPrior


def _weight(name: str) -> io.Float.Input:
    return io.Float.Input(
        name,
        default=1.0,
        min=0.01,
        max=100.0,
        step=0.01,
        round=0.01,
        tooltip="Weight of this prior; only the ratio of the weights matters.",
    )


class CombinePriors(io.ComfyNode):
    """Two opinions about quality instead of one; chain it for more."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_CombinePriors",
            display_name="Combine Priors (quality models)",
            category=CATEGORY,
            is_experimental=True,
            **found_as("merge, mix, average, ensemble, quality, IQA, aesthetic, weights"),
            description="Weighted mean of two quality priors. Harder to fool than either alone.",
            inputs=[
                IqaPrior.Input("prior_a", tooltip="First prior."),
                _weight("weight_a"),
                IqaPrior.Input("prior_b", tooltip="Second prior."),
                _weight("weight_b"),
            ],
            outputs=[IqaPrior.Output(display_name="prior", tooltip="The mean, a prior again.")],
        )

    @classmethod
    def execute(cls, prior_a, weight_a, prior_b, weight_b) -> io.NodeOutput:
        """Combine them."""
        return io.NodeOutput(CombinedPrior((prior_a, prior_b), (weight_a, weight_b)))
