"""Node: the fidelity term."""

from pathlib import Path

import comfy.model_management as mm
import folder_paths
from comfy_api.latest import io, ui

from ..fidelity.catalog import FIDELITIES
from ..fidelity.choices import CHOICES
from ..fidelity.loading import load_fidelity, missing_fidelity
from .schema_fields import found_as
from .session import outside_inference_mode
from .sockets import CATEGORY, Fidelity
from .weight_files import facts, marked, model_folders, unmarked, usable


class FidelityLoss(io.ComfyNode):
    """What holds the picture to its input."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_FidelityLoss",
            display_name="Fidelity Loss (stay close to input)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "fidelity, similarity, likeness, preserve, keep, identity, LPIPS, DISTS, SSIM, "
                "FSIM, loss"
            ),
            description="How the distance to the input picture is measured.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=marked(FIDELITIES, _folders()),
                    default="low_resolution",
                    tooltip="How the distance is measured: 0 when equal, lower is better. Those "
                    "that can be used now come first. The help page (?) tells of each what it is, "
                    "its range, licence and file; Get Weights fetches files.",
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
                    options=list(CHOICES["reduction"]),
                    default="rms",
                    tooltip="low_resolution only. rms: root of the mean square, which a lambda of "
                    "0.01 to 1 balances. mse: the mean square, so small that it hardly holds. l2: "
                    "the norm as printed in the paper, which lets next to nothing move.",
                ),
                io.Combo.Input(
                    "planes",
                    options=list(CHOICES["planes"]),
                    default="rgb",
                    optional=True,
                    tooltip="For measures of grey pictures ("
                    + ", ".join(name for name, row in FIDELITIES.items() if "planes" in row.options)
                    + "). rgb: the mean of the three channels, which holds colour. luma: "
                    "brightness alone, as published; colour is then free.",
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
    def validate_inputs(cls, name=None) -> bool | str:
        """Say what is missing before anything runs. Names with and without the mark are one."""
        return usable(name or "low_resolution", missing_fidelity, _folders())

    @classmethod
    @outside_inference_mode
    def execute(cls, name: str, scale: int, reduction: str, planes: str = "rgb") -> io.NodeOutput:
        """Make the term on ComfyUI's device."""
        name = unmarked(name)
        given = {"scale": scale, "reduction": reduction, "planes": planes}
        taken = {k: v for k, v in given.items() if k in FIDELITIES[name].options}
        term = load_fidelity(name, mm.get_torch_device(), folders=_folders(), **taken)
        return io.NodeOutput(term, ui=ui.PreviewText(facts(name, FIDELITIES[name])))


def _folders() -> list[Path]:
    return [*model_folders(), *map(Path, folder_paths.get_folder_paths("vae"))]
