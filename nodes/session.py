"""Running gradients inside ComfyUI: grad mode, progress, interruption, memory, image layout."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import comfy.model_management as mm
import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ..edict.backbones.graphed import GraphedBackbone
from ..edict.protocols import Backbone
from ..files.hidden_colours import fill_hidden
from ..files.image_values import checked_image
from ..files.pictures import to_image
from ..map_estimation.restraints import Region
from ..map_estimation.result import MapStep
from ..map_estimation.work import WatchedBackbone, Work
from .native.session import current_session, native_session

T = TypeVar("T")
PREVIEW_SIDE = 512  # pixels; smaller pictures are not enlarged
ASPECT_SLACK = 0.02  # pictures are cropped by some pixels on their way through a workflow
# Rough bytes per pixel of one network call's activations and a prior's: asks ComfyUI for room.
BYTES_PER_PIXEL = 4000


def outside_inference_mode(execute: Callable) -> Callable:
    """Run a node's `execute` where tensors may carry gradients.

    ComfyUI runs nodes in inference mode; weights loaded and tensors made there can never be
    differentiated. Whatever the node returns is free of graphs, and ComfyUI's own models that it
    used are given back, however it ends.
    """

    @functools.wraps(execute)
    def wrapper(cls: type, **inputs: Any):
        with native_session(), torch.inference_mode(False), torch.no_grad():
            return execute(cls, **inputs)

    return wrapper


def from_comfy(image: Tensor) -> tuple[Tensor, Tensor | None]:
    """ComfyUI's (B, H, W, C) as RGB (B, 3, H, W) float32 on the CPU, and alpha if any.

    A batch of any length fits there; each picture goes to the work device when its turn comes. What
    full transparency hides is filled from its surroundings: see `hide_again`.

    Raises: ValueError unless there are 1 (grey), 3 (RGB) or 4 (RGBA) channels of colours.
    """
    channels = image.shape[-1] if image.ndim == 4 else 0
    if channels not in (1, 3, 4):
        raise ValueError(
            f"IMAGE has shape {tuple(image.shape)}: (batch, height, width, 1, 3 or 4 channels) "
            "is needed"
        )
    image = image.cpu().float()
    # Upstream tensors are inference tensors: what is used has to be copied.
    alpha = image[..., 3:].clone() if channels == 4 else None
    colours = image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]
    pixels = checked_image(colours.movedim(-1, 1).clone(memory_format=torch.contiguous_format))
    if alpha is not None:
        shown = alpha.movedim(-1, 1) > 0
        pictures = zip(pixels.split(1), shown.split(1), strict=True)
        pixels = torch.cat([fill_hidden(picture, visible) for picture, visible in pictures])
    return pixels, alpha


def hide_again(picture: Tensor, image: Tensor) -> Tensor:
    """Pictures (B, 3, H, W) with what ComfyUI's image (B, H, W, C) hides where it hides it."""
    if image.shape[-1] != 4:
        return picture
    image = image.to(picture).movedim(-1, 1)
    return torch.where(image[:, 3:] > 0, picture, image[:, :3])


def mask_from_comfy(mask: Tensor | None, image: Tensor, name: str = "mask") -> Tensor | None:
    """ComfyUI's MASK (B, h, w) or (h, w) for pictures (n, 3, H, W): (B, 1, H, W) in [0, 1].

    Raises: ValueError, with its `name`, for a mask of other dimensions, or painted on a picture of
        another aspect: stretched, it would lie elsewhere.
    """
    if mask is None:
        return None
    mask = mask.clone().float()
    if mask.ndim not in (2, 3):
        raise ValueError(
            f"the {name} has shape {tuple(mask.shape)}: (batch, height, width) is needed"
        )
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(image.device)
    (high, wide), (height, width) = mask.shape[-2:], image.shape[-2:]
    uniform = bool((mask == mask.flatten(1).amin(1).reshape(-1, 1, 1, 1)).all())
    if not uniform and abs(wide * height - high * width) > ASPECT_SLACK * high * width:
        raise ValueError(
            f"the {name} is {wide}x{high} pixels and the picture {width}x{height}, of another "
            "shape: paint it on this picture, or crop both alike"
        )
    if mask.shape[-2:] != image.shape[-2:]:
        mask = F.interpolate(mask, size=image.shape[-2:], mode="bilinear", antialias=True)
    return mask.clamp(0, 1)


def regions_from_comfy(
    regions: Sequence[tuple[Tensor, float]], image: Tensor
) -> tuple[Region, ...]:
    """What travels on the MAP_REGIONS socket, for pictures (n, 3, H, W)."""
    masks = (
        (mask_from_comfy(mask, image, f"mask of region {number}"), weight)
        for number, (mask, weight) in enumerate(regions, 1)
    )
    return tuple(Region(mask, weight) for mask, weight in masks if mask is not None)


def mask_remarks(masks: Mapping[str, Tensor | None]) -> list[str]:
    """What of masks (B, 1, H, W), by name, is probably not meant: one without a painted pixel."""
    blank = (name for name, mask in masks.items() if mask is not None and not mask.any())
    return [f"the {name} is black everywhere: nothing is painted on it" for name in blank]


def to_comfy(image: Tensor, alpha: Tensor | None = None) -> Tensor:
    """RGB (B, 3, H, W) as ComfyUI's (B, H, W, C) float32 on the CPU, with alpha put back."""
    pixels = image.detach().float().cpu().movedim(1, -1).contiguous()
    return pixels if alpha is None else torch.cat((pixels, alpha), -1)


def plot_to_comfy(plot: Any) -> Tensor:
    """A Pillow image as ComfyUI's (1, H, W, 3)."""
    import numpy as np

    return torch.from_numpy(np.asarray(plot.convert("RGB"), dtype=np.float32) / 255)[None]


def make_room(image: Tensor) -> None:
    """Ask ComfyUI to unload other models' weights if the work needs their memory."""
    device = mm.get_torch_device()
    with torch.inference_mode():  # weights moved outside of it can never be used again
        mm.free_memory(BYTES_PER_PIXEL * image.shape[-1] * image.shape[-2], device)


class Progress:
    """A progress bar over network calls, each of them a place to interrupt, with live previews.

    Args:
        work: what each picture takes.
        pictures: how many there are.
        preview_every: show the best picture so far each so many iterations; 0 is off.
    """

    def __init__(self, work: Work, pictures: int = 1, preview_every: int = 0):
        self.bar = comfy.utils.ProgressBar(work.calls * pictures)
        self.work, self.preview_every = work, preview_every
        self.done, self.end = 0.0, work.calls  # now, and when this picture is ready
        self.calls = 0.0  # made for the picture that is worked on, or was last
        self.seconds = 0.0  # it took
        self._best: Tensor | None = None

    def call(self, share: float = 1.0) -> None:
        """A network call begins, or one of its tiles, which is a share of it.

        Raises ComfyUI's interruption if the user asked for it.
        """
        mm.throw_exception_if_processing_interrupted()
        self.calls += share
        self.done = min(self.done + share, self.end)
        self._move()

    def step(self, step: MapStep) -> None:
        """The solver's callback. Calls that were not needed so far will not be made later."""
        mm.throw_exception_if_processing_interrupted()
        self.done = max(self.done, self.end - self.work.after(step.row.iteration))
        if self.preview_every and step.is_best:
            self._best = step.preview()
        if self.preview_every and step.row.iteration % self.preview_every == 0:
            self._move(self._best)
        else:
            self._move()

    def pictures(self, results: Iterator[T]) -> Iterator[T]:
        """The results of pictures that are made one by one; what each needed is given back."""
        while True:
            mm.throw_exception_if_processing_interrupted()
            self.calls, self._best, start = 0.0, None, time.monotonic()
            with current_session().picture():
                try:
                    result = next(results)
                except StopIteration:
                    return
            self.seconds = time.monotonic() - start
            self.done = self.end
            self.end += self.work.calls
            self._move()
            yield result

    @property
    def spent(self) -> str:
        """What the last picture took, in words."""
        return f"{self.seconds:.1f} s, {round(self.calls)} network calls"

    def finish(self, result: Tensor | None = None) -> None:
        """All is done; the last preview stays on the node, so it should be the result."""
        if self.preview_every and result is not None:
            self._move(result)
        self.bar.update_absolute(self.bar.total)

    def _move(self, image: Tensor | None = None) -> None:
        done = min(int(self.done), self.bar.total - 1)  # only `finish` fills the bar
        if image is None:
            self.bar.update_absolute(done)
            return
        picture = to_image(image)
        side = min(PREVIEW_SIDE, max(picture.size))
        self.bar.update_absolute(done, preview=("JPEG", picture, side))

    def watch(self, backbone: Backbone) -> Backbone:
        """The backbone with its network calls counted; what it captures goes as the node ends."""
        if isinstance(backbone, GraphedBackbone):
            close = backbone.graphs.close
            current_session().once(backbone, lambda exits: exits.callback(close), lasting=True)
        return WatchedBackbone(backbone, self.call)
