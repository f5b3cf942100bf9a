"""Node: the fidelity term."""

from comfy_api.latest import io

from ..fidelity import FIDELITIES, load_fidelity
from .sockets import CATEGORY, Fidelity


class FidelityLoss(io.ComfyNode):
    """What holds the picture to its input."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_FidelityLoss",
            display_name="Fidelity Loss",
            category=CATEGORY,
            description="How the distance to the input picture is measured.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=list(FIDELITIES),
                    default="low_resolution",
                    tooltip="low_resolution: distance after downsampling, keeps content and colour "
                    "and leaves room for detail (Eq. 20). mse, mae: every pixel.",
                ),
                io.Int.Input(
                    "scale",
                    default=4,
                    min=1,
                    max=64,
                    tooltip="low_resolution only: downsampling factor. Larger leaves more freedom.",
                ),
                io.Combo.Input(
                    "reduction",
                    options=["mse", "rms", "l2"],
                    default="mse",
                    tooltip="low_resolution only: mean square, its root, or the norm as printed in "
                    "the paper, which holds the picture far tighter.",
                ),
            ],
            outputs=[
                Fidelity.Output(
                    display_name="fidelity",
                    tooltip="For the optimizer and Post-Enhance.",
                )
            ],
        )

    @classmethod
    def execute(cls, name: str, scale: int, reduction: str) -> io.NodeOutput:
        """Make the term."""
        options = {"scale": scale, "reduction": reduction} if name == "low_resolution" else {}
        return io.NodeOutput(load_fidelity(name, **options))
