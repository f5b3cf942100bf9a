"""Stable Diffusion 1.5, 2.x and SDXL from a diffusers folder or a single file; ControlNet."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....files.packages import need_packages
from ...choices import Prediction, Spacing
from ...protocols import Binding
from ...schedule import Schedule, vp_schedule
from .assembly import Assembly, Loaded, choose_dtype, hashed_name, load_assembly, settle
from .controlnet import find_controlnet
from .denoiser import Networks, UNetDenoiser, VaeCodec
from .distilled import check_guidance, known_labels
from .find import find_checkpoint
from .networks import build_controlnet, build_unet, build_vae
from .options import DiffusersOptions, StableDiffusionOptions
from .schedule import noise_levels


class DiffusersBackbone:
    """A Stable Diffusion model; `bind` gives the picture to its ControlNet.

    Attributes:
        name: what the map depends on, in short: it differs where files or options differ.
        recipe: arguments of `load_backbone` that give the same backbone again.
        known: how many labels the network knows, see `vp_schedule`; None for all.
        multiple: the autoencoder's reduction times the UNet's, 64 pixels.
    """

    kind = "diffusers"  # of `BACKBONES`

    def __init__(self, loaded: Loaded, options: StableDiffusionOptions, name: str):
        self.networks, self.conditioning = loaded.networks, loaded.conditioning
        self.alphas: Tensor = loaded.levels[0]
        self.prediction: Prediction = loaded.levels[1]
        self.options = options
        self.name = name
        self.known: int | None = None
        self.reach = 0
        self.conditioned = self.networks.controlnet is not None
        self.recipe: dict[str, Any] | None = {"name": self.kind, **asdict(options)}
        reductions = len(self.networks.vae.config.block_out_channels) - 1
        self.multiple = 2 ** (reductions + len(self.networks.unet.config.block_out_channels) - 1)

    def schedule(self, steps: int, spacing: Spacing = "trailing") -> Schedule:
        """The checkpoint's noise schedule."""
        return vp_schedule(self.alphas, steps, self.prediction, spacing, self.known)

    def bind(self, image: Tensor) -> Binding:
        """Condition the model on a picture (B, 3, H, W), RGB in [0, 1]."""
        height, width = image.shape[-2:]
        if height % self.multiple or width % self.multiple:
            raise ValueError(
                f"picture is {height}x{width}: pad its sides to multiples of {self.multiple}"
            )
        hint = image.detach().to(self.conditioning.text.device)
        return Binding(self._denoiser(hint), VaeCodec(self.networks.vae))

    def _denoiser(self, hint: Tensor) -> UNetDenoiser:
        strength = self.options.control_strength
        return UNetDenoiser(self.networks, self.conditioning, hint, self.options.cfg, strength)


def load_diffusers(
    device: str | torch.device = "cpu", path: str | Path = "", **options: Any
) -> DiffusersBackbone:
    """Load Stable Diffusion 1.5, 2.x or SDXL.

    Args:
        device: where the networks run.
        path, options: see `DiffusersOptions`.
    Raises: ValueError naming the file, what is wrong, and what to do; before any weight is read
        for whatever headers and configurations tell.
    """
    device = torch.device(device)
    if not str(path):
        raise ValueError("no checkpoint given: name a diffusers folder or a checkpoint file")
    chosen = settle(DiffusersOptions(str(path), **options), device)
    assembly = find_diffusers(chosen)
    name = diffusers_name(chosen, assembly)
    backbone = DiffusersBackbone(load_assembly(assembly, chosen, device), chosen, name)
    backbone.known = known_labels(assembly.base.scheduler)
    return backbone


def find_diffusers(options: DiffusersOptions) -> Assembly:
    """Find and check everything that headers and configurations tell; reads no weights.

    Raises: ValueError naming the file, what is wrong with it, and what to do.
    """
    need_packages("Stable Diffusion", "diffusers")
    dtype = choose_dtype(options.dtype, torch.device("cpu"))
    checkpoint = find_checkpoint(Path(options.path), dtype, options.prediction)
    noise_levels(checkpoint.scheduler, options.path)
    check_guidance(checkpoint.unet.config, options.cfg, options.negative, options.path)
    control = None
    if options.controlnet:
        control = find_controlnet(Path(options.controlnet), dtype, checkpoint.unet)
    unet, vae = checkpoint.unet, checkpoint.vae
    networks = Networks(
        build_unet(unet.config, options.path, len(unet.tensors)),
        None
        if control is None
        else build_controlnet(control.config, options.controlnet, len(control.tensors)),
        build_vae(vae.config, options.path, len(vae.tensors)),
    )
    assembly = Assembly(checkpoint, checkpoint.unet, control, networks)
    assembly.check()
    return assembly


def diffusers_name(options: DiffusersOptions, assembly: Assembly) -> str:
    """The checkpoint's name, and a hash of all that the backbone's map depends on."""
    base = assembly.base
    # Version 0.1 took these with the labels of all others: its states are of another map.
    consistency = ", consistency model" if known_labels(base.scheduler) else ""
    label = f"diffusers {Path(options.path).stem}{consistency}"
    control = [] if assembly.controlnet is None else [assembly.controlnet]
    return hashed_name(label, options, base.scheduler, [base.unet, base.vae, *base.text], control)
