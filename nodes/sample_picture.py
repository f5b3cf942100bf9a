"""Node: a photograph to try the pack on."""

from pathlib import Path

from comfy_api.latest import io, ui

from ..files.pictures import read_picture
from .schema_fields import found_as, where_known
from .session import to_comfy
from .sockets import CATEGORY

SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample.png"


class SamplePicture(io.ComfyNode):
    """The pack's own photograph, so that a template runs where no picture is."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_SamplePicture",
            display_name="Sample Picture (to try on)",
            category=CATEGORY,
            **found_as("sample, example, test image, demo, photograph, Kodak, load image"),
            **where_known(has_intermediate_output=True),  # shown again when the page is loaded anew
            description="A noisy photograph that comes with the pack. Put Load Image in its place "
            "to work on a picture of yours.",
            inputs=[],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="A crop of a photograph released by Kodak for unrestricted usage, "
                    "degraded on purpose, 384 x 384 pixels.",
                )
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Read it, and show it."""
        image = to_comfy(read_picture(SAMPLE).pixels)
        return io.NodeOutput(image, ui=ui.PreviewImage(image, cls=cls))
