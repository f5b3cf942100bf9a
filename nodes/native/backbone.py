"""ComfyUI's MODEL, VAE and CONDITIONING as a backbone."""

import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor, nn

from ...edict.backbones.graphed import GraphedDenoiser
from ...edict.choices import Acceleration, Spacing
from ...edict.protocols import Binding
from ...edict.schedule import Schedule
from .. import core_versions
from .calls import NativeCall, allow_gradients
from .codec import NativeCodec, PixelRange
from .conditioning import Conditioning, controls_of, refuse_extra_channels, thaw_conditionings
from .fingerprint import made_of
from .graphs import graphed
from .sampling import read_sampling
from .session import current_session
from .tiles import Extent, cut, why_no_tiles
from .weights import freeze, thaw

log = logging.getLogger(__name__)
MULTIPLE = 64  # pixels: eight times eight, so that every level of a U-Net halves evenly


@dataclass
class LiveModel:
    """A model while a node uses it.

    Attributes:
        patcher: ComfyUI's handle of the model, and of the loaded others.
        inner: the model itself (comfy's BaseModel).
        first_stage: the VAE's network.
        options: the model's options, with gradients made possible.
        patchers: all that must be in memory.
    """

    patcher: Any
    inner: Any
    first_stage: nn.Module
    options: dict
    patchers: list

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self.patcher.load_device

    def load(self) -> None:
        """Bring all weights in; then make them constants that gradients can pass."""
        with torch.inference_mode():
            core_versions.load_whole(self.patchers)
        for patcher in self.patchers:
            freeze(patcher.model, patcher.load_device)


class NativeBackbone:
    """ComfyUI's own model behind the bijection's protocol.

    Args:
        model: MODEL.
        vae: VAE.
        conditioning: prompts, guidance, ControlNet.
        acceleration: "none", or "graph": calls are replayed as CUDA graphs where they can be.
    Raises: ValueError, with the model's name, for one that cannot work.
    """

    def __init__(
        self,
        model: Any,
        vae: Any,
        conditioning: Conditioning,
        acceleration: Acceleration = "none",
    ):
        self.acceleration = acceleration
        self.name = f"ComfyUI {type(model.model.model_config).__name__}"
        _check_kind(model, vae)
        self.sampling = read_sampling(model.get_model_object("model_sampling"))
        self.patcher = core_versions.static_clone(model)
        self.vae, self.vae_patcher = vae, core_versions.static_clone(vae.patcher)
        self.pixel_range = PixelRange(vae)
        self.conditioning = replace(conditioning, vae=vae)
        self.compression = int(vae.spacial_compression_encode())
        self.multiple = math.lcm(MULTIPLE, self.compression)
        self.reach = 0
        self.conditioned = self.conditioning.has_control
        self.recipe: dict[str, Any] | None = None

    def schedule(self, steps: int, spacing: Spacing) -> Schedule:
        """The model's own noise levels in `steps` steps."""
        return self.sampling.schedule(steps, spacing)

    def bind(self, image: Tensor) -> Binding:
        """Freeze the conditioning on a picture (B, 3, H, W), RGB in [0, 1]."""
        picture = image.detach().float().clone()
        batch, _, height, width = picture.shape
        channels = self.patcher.model.latent_format.latent_channels
        shape = (batch, channels, height // self.compression, width // self.compression)
        reason = why_no_tiles(self.conditioning)
        if reason is not None:
            log.info("no tiles for %s: %s", self.name, reason)
        kind = CuttableDenoiser if reason is None else NativeDenoiser
        denoiser = kind(self, picture, shape)
        denoiser.open()
        return Binding(denoiser, NativeCodec(self, shape))

    def live(self, shape: tuple[int, ...]) -> LiveModel:
        """The loaded model in this node's session.

        Args:
            shape: of the latents, from which ComfyUI estimates memory.
        """
        return current_session().once(self, lambda exits: self._open(shape, exits), lasting=True)

    def _open(self, shape: tuple[int, ...], exits: ExitStack) -> LiveModel:
        patcher = self.patcher
        exits.enter_context(core_versions.gradients_allowed(patcher.load_device))
        conds = self.conditioning.copies(torch.zeros(1, 3, 8, 8))
        options = comfy.model_patcher.create_model_options_clone(patcher.model_options)
        exits.callback(patcher.restore_hook_patches)
        with torch.inference_mode():
            comfy.samplers.preprocess_conds_hooks(conds)
            comfy.sampler_helpers.prepare_model_patcher(patcher, conds, options)
            comfy.samplers.filter_registered_hooks_on_conds(conds, options)
            inner, conds, others = core_versions.prepare_sampling(patcher, shape, conds, options)
        exits.callback(comfy.sampler_helpers.cleanup_models, conds, others)
        first_stage = self.vae_patcher.model
        patchers = [patcher, self.vae_patcher, *others]
        live = LiveModel(patcher, inner, first_stage, options, patchers)
        live.load()
        comfy.samplers.cast_to_load_options(
            options, device=patcher.load_device, dtype=patcher.model_dtype()
        )
        allow_gradients(options)
        exits.callback(patcher.cleanup)
        patcher.pre_run()
        current_session().has_opened(partial(made_of, patchers, self.sampling, self.conditioning))
        return live


class NativeDenoiser:
    """The network's raw direction, conditioned on a picture; opened anew in each session.

    Args:
        backbone: the model.
        picture: (B, 3, H, W), RGB in [0, 1].
        shape: its latents'.
        extent: the part of them it is for; all by default.
    """

    def __init__(
        self,
        backbone: NativeBackbone,
        picture: Tensor,
        shape: tuple[int, ...],
        extent: Extent | None = None,
    ):
        self.backbone, self.picture, self.whole = backbone, picture, shape
        self.extent = extent or Extent(0, 0, *shape[2:])
        self.shape = (*shape[:2], self.extent.height, self.extent.width)

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        """eps, v or velocity for a variance-preserving (flow: native) latent (B, C, h, w)."""
        return self.call()(latent, label)

    def open(self) -> None:
        """Load the model in this session and see that it works.

        Raises: ValueError, with the model's name, for one that cannot work.
        """
        self.call()

    def call(self) -> NativeCall | GraphedDenoiser:
        """The call, on the loaded model, prepared when first asked for in a session."""
        live = self.backbone.live(self.shape)
        return current_session().once(self, partial(self._open, live, self.shape))

    def _open(
        self, live: LiveModel, shape: tuple[int, ...], exits: ExitStack
    ) -> NativeCall | GraphedDenoiser:
        """The call with conditionings ready for the network, on this picture."""
        conds = self.backbone.conditioning.copies(self.picture)
        whole = Extent(0, 0, *self.whole[2:])
        if self.extent != whole:
            cut(conds, self.extent, whole)
        conds = thaw_conditionings(conds)
        exits.callback(comfy.sampler_helpers.cleanup_models, conds, [])
        with torch.no_grad():
            latent = torch.zeros(shape, device=live.device)
            ready = core_versions.process_conds(live.inner, latent, dict(conds), live.device)
        refuse_extra_channels(ready, self.backbone.name)
        backbone = self.backbone
        call = NativeCall(
            live.inner,
            live.options,
            live.device,
            backbone.sampling,
            ready,
            backbone.conditioning.guidance,
        )
        if controls := list(controls_of(ready)):
            self._prepare_controls(live, call, controls, shape)
        current_session().once(
            live.inner,
            lambda lasting: self._allow_mutation(call, shape, lasting),
            lasting=True,
        )
        if backbone.acceleration == "graph":
            networks = [patcher for patcher in live.patchers if patcher is not backbone.vae_patcher]
            return graphed(call, networks)
        return call

    def _allow_mutation(self, call: NativeCall, shape: tuple, exits: ExitStack) -> None:
        """Try one gradient; where the network overwrites what it needs, let it be copied first.

        Flux-like transformers add in place to what a normalisation before has saved.
        """
        if isinstance(call.inner.diffusion_model, UNetModel):
            return  # copied at the one place where ControlNets do so
        level = float(call.sampling.sigmas[-1])
        latent = torch.zeros(shape, device=call.device, requires_grad=True)
        with torch.enable_grad():
            sigma = torch.full((shape[0],), level, device=call.device)
            denoised = call.denoised(latent, sigma)
            try:
                torch.autograd.grad(denoised.sum(), latent)
            except RuntimeError as error:
                if "inplace operation" not in str(error):
                    raise
                exits.enter_context(torch.autograd.graph.allow_mutation_on_saved_tensors())

    def _prepare_controls(
        self, live: LiveModel, call: NativeCall, controls: list, shape: tuple
    ) -> None:
        """Let ControlNets make and keep their hints now, for some move weights to do so."""
        largest = float(call.sampling.sigmas[-1])
        starts = {min((1 - 1e-4) * control.timestep_range[0], largest) for control in controls}
        with torch.inference_mode():
            latent = torch.zeros(shape, device=live.device)
            for start in starts:
                sigma = torch.full((shape[0],), start, device=live.device)
                call.denoised(latent, sigma)
        live.load()  # what a hint's VAE may have pushed out
        for control in controls:
            for name, value in vars(control).items():
                if isinstance(value, nn.Module):
                    freeze(value, live.device)
                elif name != "multigpu_clones":
                    setattr(control, name, thaw(value))


class CuttableDenoiser(NativeDenoiser):
    """One whose conditioning can be cut to a part of the picture."""

    def open(self) -> None:
        """The same on a corner of the picture: as a whole it may not fit into memory."""
        if self.extent == Extent(0, 0, *self.whole[2:]):
            self.window(0, 0, self.backbone.multiple, self.backbone.multiple)
        else:
            super().open()

    def window(self, top: int, left: int, height: int, width: int) -> "CuttableDenoiser":
        """The denoiser for a part, in pixels, opened: ControlNets' hints are cut, text stays.

        Open from the start, because later loading would move weights that graphs hold.
        """
        cell = self.backbone.compression
        extent = self.extent.part(top // cell, left // cell, height // cell, width // cell)
        part = CuttableDenoiser(self.backbone, self.picture, self.whole, extent)
        part.call()
        return part


def _check_kind(model: Any, vae: Any) -> None:
    """Raise ValueError for models whose latents are no pictures, or belong to another VAE."""
    inner = model.model
    name = type(inner.model_config).__name__
    form = inner.latent_format
    if form.latent_dimensions != 2 or getattr(vae, "latent_dim", 2) != 2:
        raise ValueError(
            f"{name} with this VAE has video or audio latents, not pictures: use an image model "
            "with its own VAE"
        )
    if form.latent_channels != vae.latent_channels:
        raise ValueError(
            f"{name} has latents of {form.latent_channels} channels, the VAE of "
            f"{vae.latent_channels}: connect the VAE that belongs to the model"
        )
    if getattr(inner, "concat_keys", ()):
        raise ValueError(
            f"{name} is an inpainting model: use the ordinary checkpoint of the same family"
        )
