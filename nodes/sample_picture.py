"""Node: a photograph to try the pack on, or a picture of the user's."""

import hashlib
import logging
import shutil
from pathlib import Path

import folder_paths
import torch
from comfy_api.latest import io

from ..files.natural_order import natural
from ..files.pictures import read_picture
from .schema_fields import found_as
from .session import to_comfy
from .sockets import CATEGORY

log = logging.getLogger(__name__)
SAMPLE = Path(__file__).resolve().parents[1] / "docs" / "sample.png"
# A file of ComfyUI's temporary folder, because the canvas shows choices only from its own folders.
SAMPLE_CHOICE = "latent_map_sample.png [temp]"


def _choices() -> list[str]:
    """The sample, laid where the canvas can show it, and what is in ComfyUI's input folder."""
    _lay_out(Path(folder_paths.get_temp_directory()) / SAMPLE_CHOICE.partition(" ")[0])
    folder = Path(folder_paths.get_input_directory())
    files = [path.name for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    pictures = folder_paths.filter_files_content_types(files, ["image"])
    return [SAMPLE_CHOICE, *sorted(pictures, key=natural)]


def _lay_out(place: Path) -> None:
    if place.exists():
        return
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLE, place)
    except OSError as error:
        log.warning("the canvas cannot show the sample picture, which runs all the same: %s", error)


def _file_of(choice: str) -> Path:
    return SAMPLE if choice == SAMPLE_CHOICE else Path(folder_paths.get_annotated_filepath(choice))


class SamplePicture(io.ComfyNode):
    """The pack's own photograph, so that a template runs where no picture is, or another one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_SamplePicture",
            display_name="Sample Picture (or yours)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "sample, example, test image, demo, photograph, Kodak, load image, upload image"
            ),
            description="A noisy photograph that comes with the pack, to try on, or a picture of "
            "yours: choose it, upload it, or drop it onto the node.",
            inputs=[
                io.Combo.Input(
                    "image",
                    options=_choices(),
                    default=SAMPLE_CHOICE,
                    upload=io.UploadType.image,
                    tooltip="The sample first, then the pictures in ComfyUI's input folder. "
                    "8 bits a channel; for others put Load Image in this node's place.",
                )
            ],
            outputs=[
                io.Image.Output(
                    display_name="image",
                    tooltip="The picture. The sample is a crop of a photograph released by Kodak "
                    "for unrestricted usage, degraded on purpose, 384 x 384 pixels.",
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, image) -> bool | str:
        """Say which file is not there."""
        there = image == SAMPLE_CHOICE or folder_paths.exists_annotated_filepath(image)
        return there or f"{image} is not in ComfyUI's input folder: choose or upload a picture"

    @classmethod
    def fingerprint_inputs(cls, image) -> str:
        """Another one when the file's content is another."""
        return hashlib.sha256(_file_of(image).read_bytes()).hexdigest()

    @classmethod
    def execute(cls, image) -> io.NodeOutput:
        """Read it."""
        picture = read_picture(_file_of(image))
        alpha = picture.alpha
        opacity = None if alpha is None else torch.from_numpy(alpha)[None, ..., None] / 255
        return io.NodeOutput(to_comfy(picture.pixels, opacity))
