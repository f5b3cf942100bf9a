"""Running gradients inside ComfyUI: grad mode, progress, interruption, memory, image layout."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import comfy.model_management as mm
import comfy.utils
import torch
import torch.nn.functional as F
from torch import Tensor

from ..edict.inversion import EdictLatents
from ..edict.protocols import Backbone, Binding, Denoiser
from ..edict.tiled_binding import can_be_cut
from ..edict.tiles import TiledDenoiser
from ..map_estimation.pictures import to_image
from ..map_estimation.result import MapStep
from ..map_estimation.settings import MapSettings
from .native_session import native_session

PREVIEW_SIDE = 512  # pixels; smaller pictures are not enlarged
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
    """ComfyUI's (B, H, W, C) as RGB (B, 3, H, W) float32 on the work device, and alpha if any.

    Raises: ValueError unless there are 1 (grey), 3 (RGB) or 4 (RGBA) channels.
    """
    channels = image.shape[-1] if image.ndim == 4 else 0
    if channels not in (1, 3, 4):
        raise ValueError(
            f"IMAGE has shape {tuple(image.shape)}: (batch, height, width, 1, 3 or 4 channels) "
            "is needed"
        )
    image = image.clone().float()  # upstream tensors are inference tensors
    alpha = image[..., 3:].cpu() if channels == 4 else None
    colours = image.expand(-1, -1, -1, 3) if channels == 1 else image[..., :3]
    return colours.movedim(-1, 1).contiguous().to(mm.get_torch_device()), alpha


def mask_from_comfy(mask: Tensor | None, image: Tensor) -> Tensor | None:
    """ComfyUI's MASK (B, h, w) or (h, w) for pictures (n, 3, H, W): (B, 1, H, W) in [0, 1].

    Raises: ValueError for a mask of other dimensions.
    """
    if mask is None:
        return None
    mask = mask.clone().float()
    if mask.ndim not in (2, 3):
        raise ValueError(f"MASK has shape {tuple(mask.shape)}: (batch, height, width) is needed")
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(image.device)
    if mask.shape[-2:] != image.shape[-2:]:
        mask = F.interpolate(mask, size=image.shape[-2:], mode="bilinear", antialias=True)
    return mask.clamp(0, 1)


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


@runtime_checkable
class Reopened(Protocol):
    """A denoiser that must be opened in each node's session."""

    def open(self) -> Any: ...


class Progress:
    """A progress bar over network calls, each of them a place to interrupt, with live previews.

    Args:
        calls: how many network calls are expected at most.
        preview_every: show the picture each so many iterations; 0 is off.
    """

    def __init__(self, calls: int, preview_every: int = 0):
        self.bar = comfy.utils.ProgressBar(max(1, calls))
        self.done, self.preview_every = 0.0, preview_every

    def call(self, share: float = 1.0) -> None:
        """A network call begins, or one of its tiles, which is a share of it.

        Raises ComfyUI's interruption if the user asked for it.
        """
        mm.throw_exception_if_processing_interrupted()
        self.done = min(self.done + share, self.bar.total - 1)
        self.bar.update_absolute(int(self.done))

    def step(self, step: MapStep) -> None:
        """The solver's callback."""
        mm.throw_exception_if_processing_interrupted()
        if self.preview_every and step.row.iteration % self.preview_every == 0:
            self._show(step.preview())

    def finish(self, result: Tensor | None = None) -> None:
        """All is done; the last preview stays on the node, so it should be the result."""
        self.done = self.bar.total
        if self.preview_every and result is not None:
            self._show(result)
        self.bar.update_absolute(self.bar.total)

    def _show(self, image: Tensor) -> None:
        picture = to_image(image)
        side = min(PREVIEW_SIDE, max(picture.size))
        self.bar.update_absolute(int(self.done), preview=("JPEG", picture, side))

    def watch(self, backbone: Backbone) -> Backbone:
        """The backbone with its network calls counted."""
        return _WatchedBackbone(backbone, self)

    def unwatch(self, latents: EdictLatents) -> EdictLatents:
        """Latents that outlive this node, without its progress bar."""
        backbone = latents.backbone.backbone  # pyright: ignore - a _WatchedBackbone
        denoiser = _through(latents.bijection.denoiser, lambda inner: inner.watched)
        bijection = replace(latents.bijection, denoiser=denoiser)
        return replace(latents, bijection=bijection, backbone=backbone)

    def watch_latents(self, latents: EdictLatents) -> EdictLatents:
        """The same for a picture that is inverted already."""
        denoiser = _through(latents.bijection.denoiser, lambda inner: _reopened(inner, self))
        bijection = replace(latents.bijection, denoiser=denoiser)
        return replace(latents, bijection=bijection, backbone=self.watch(latents.backbone))


def _reopened(denoiser: Denoiser, progress: Progress) -> Denoiser:
    if isinstance(denoiser, Reopened):
        denoiser.open()  # before any of autograd's hooks are in force
    return _watched(denoiser, progress)


def _watched(
    denoiser: Denoiser, progress: Progress, share: Callable[[], float] = lambda: 1.0
) -> Denoiser:
    """A denoiser whose calls are counted; one on tiles counts as one call."""
    tiles = set()

    def call(latent: Tensor, label: float) -> Tensor:
        progress.call(share())
        return denoiser(latent, label)

    def window(*extent: int) -> Denoiser:
        tiles.add(extent)
        part = denoiser.window(*extent)  # pyright: ignore - it can be cut
        return _watched(part, progress, lambda: share() / len(tiles))

    call.watched = denoiser
    if can_be_cut(denoiser):
        call.window = window
    return call


def _through(denoiser: Denoiser, wrap: Callable[[Any], Any]) -> Denoiser:
    """`wrap` of a denoiser; of what works on the tiles, if there are any."""
    return denoiser.through(wrap) if isinstance(denoiser, TiledDenoiser) else wrap(denoiser)


class _WatchedBackbone:
    def __init__(self, backbone: Backbone, progress: Progress):
        self.backbone, self.progress = backbone, progress
        self.name, self.multiple = backbone.name, backbone.multiple
        self.schedule = backbone.schedule

    def bind(self, image: Tensor) -> Binding:
        binding = self.backbone.bind(image)
        return binding._replace(denoiser=_watched(binding.denoiser, self.progress))


def expected_calls(settings: MapSettings, pictures: int, inverted: bool = False) -> int:
    """At most so many network calls: inversion, checks, and two per gradient step and half step."""
    if settings.space == "pixel":
        return pictures
    steps = settings.inversion.steps * settings.inversion.strength
    beginnings = 0 if inverted else 1 + settings.check_round_trip
    beginnings += 2 * settings.check_gradient
    return pictures * round(2 * steps * (beginnings + 2 * settings.iterations + 1))
