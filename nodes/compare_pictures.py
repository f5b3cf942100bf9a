"""Node: two pictures beside each other, and what changed in words."""

import torch
import torch.nn.functional as F
from comfy_api.latest import io, ui
from torch import Tensor

from ..map_estimation.comparison_sheet import comparison_sheet, side_by_side
from ..map_estimation.words import what_changed
from .schema_fields import found_as
from .session import from_comfy, outside_inference_mode, plot_to_comfy
from .sockets import CATEGORY

SAME_ASPECT = 0.02  # relative; upscalers round sizes
WHOLE, ALL = "before | after", "difference and close-ups, too"


class ComparePictures(io.ComfyNode):
    """Before and after, on any canvas."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_ComparePictures",
            display_name="Compare Pictures (before, after)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "compare, comparison, before after, side by side, difference, diff, image compare, "
                "what changed"
            ),
            description="Shows two pictures side by side with captions, and says in words what "
            "changed: noise, detail, colours, brightness. Works on every canvas, old and new.",
            is_output_node=True,
            inputs=[
                io.Image.Input("before", tooltip="The input, e.g. from Load Image."),
                io.Image.Input(
                    "after",
                    tooltip="The result. If it is larger, the input is scaled up to its size.",
                ),
                io.Combo.Input(
                    "show",
                    options=[WHOLE, ALL],
                    default=WHOLE,
                    tooltip="Both pictures; or also their difference, amplified, and both at 200 % "
                    "where they differ most.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    display_name="sheet", tooltip="The comparison as a picture, to save."
                ),
                io.String.Output(
                    display_name="words", tooltip="What changed, a line for each picture."
                ),
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, before, after, show=WHOLE) -> io.NodeOutput:
        """Compare the pictures of two batches one by one."""
        first, second = _matched(from_comfy(before)[0], from_comfy(after)[0])
        pairs = list(zip(first.split(1), second.split(1), strict=True))
        words = [what_changed(*pair) for pair in pairs]
        if show == ALL:
            sheets = [
                comparison_sheet(*pair, text) for pair, text in zip(pairs, words, strict=True)
            ]
        else:
            sheets = [
                side_by_side(*pair, ("before", f"after: {text}"))
                for pair, text in zip(pairs, words, strict=True)
            ]
        sheet = torch.cat([plot_to_comfy(sheet) for sheet in sheets])
        return io.NodeOutput(sheet, "\n".join(words), ui=ui.PreviewImage(sheet, cls=cls))


def _matched(before: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Both batches of one length and size: (B, 3, H, W) of `after`."""
    if len(before) != len(after) and 1 not in (len(before), len(after)):
        raise ValueError(
            f"before has {len(before)} pictures, after {len(after)}: give as many of both, or one"
        )
    (height, width), (tall, wide) = before.shape[-2:], after.shape[-2:]
    if abs(height * wide / (width * tall) - 1) > SAME_ASPECT:
        raise ValueError(
            f"before is {width} x {height} pixels, after {wide} x {tall}: pictures of one shape "
            "can be compared; crop one of them"
        )
    if before.shape[-2:] != after.shape[-2:]:
        before = F.interpolate(before, (tall, wide), mode="bicubic", antialias=True).clamp(0, 1)
    count = max(len(before), len(after))
    return tuple(batch.expand(count, -1, -1, -1) for batch in (before, after))  # pyright: ignore
