"""Parts of a picture, for tiles: what of ComfyUI's conditionings belongs to places, and is cut."""

from typing import Any, NamedTuple

import comfy.utils

from .conditioning import Conditioning, controls_of

# What describes the picture as a whole, or has no places; anything else might have some.
PLACELESS = {
    *("pooled_output", "strength", "start_percent", "end_percent", "guidance", "attention_mask"),
    *("control", "control_apply_to_uncond", "width", "height", "crop_w", "crop_h"),
    *("target_width", "target_height", "aesthetic_score", "unclip_conditioning", "t5xxl_ids"),
    *("t5xxl_weights", "conditioning_llama3", "conditioning_lyrics", "clip_vision_output"),
}
SIZE_UNIT = 8  # what ComfyUI takes for a latent cell's pixels where it tells a model the size


class Extent(NamedTuple):
    """A part of a picture, in cells of its latent."""

    top: int
    left: int
    height: int
    width: int

    def part(self, top: int, left: int, height: int, width: int) -> "Extent":
        """The extent of a part of this part."""
        return Extent(self.top + top, self.left + left, height, width)


def why_no_tiles(conditioning: Conditioning) -> str | None:
    """What of the conditioning cannot be cut to a part of the picture, or None."""
    options = [
        given
        for conds in (conditioning.positive, conditioning.negative)
        for _, given in conds or ()
    ]
    unknown = sorted({name for given in options for name in given} - PLACELESS)
    if unknown:
        return f"the conditioning carries {', '.join(unknown)}"
    controls = list(controls_of({"all": options}))
    if conditioning.control is not None:
        controls.append(conditioning.control)
    for control in controls:
        if type(control).__module__ != "comfy.controlnet":
            return f"the ControlNet {type(control).__name__} is not ComfyUI's own"
        if control.concat_mask or control.extra_concat_orig:
            return "the ControlNet takes a mask"
    return None


def cut(conds: dict[str, list[dict]], extent: Extent, whole: Extent) -> None:
    """Change our copies of conditionings to those of a part; sizes told to the model stay."""
    for items in conds.values():
        for item in items:
            item.setdefault("width", whole.width * SIZE_UNIT)
            item.setdefault("height", whole.height * SIZE_UNIT)
    for control in controls_of(conds):
        _cut_hint(control, extent, whole)


def _cut_hint(control: Any, extent: Extent, whole: Extent) -> None:
    """ComfyUI scales a hint to the latent's size: here to the whole's, of which a part is kept."""
    cell = control.compression_ratio
    if control.vae is not None:
        cell *= control.vae.spacial_compression_encode()
    hint = comfy.utils.common_upscale(
        control.cond_hint_original,
        whole.width * cell,
        whole.height * cell,
        control.upscale_algorithm,
        "center",
    )
    top, left, height, width = (cell * side for side in extent)
    control.cond_hint_original = hint[..., top : top + height, left : left + width]
