"""Stable Diffusion 1.5, 2.x and SDXL from a diffusers folder or a single file; ControlNet."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....files.weights import fingerprint
from ...protocols import Binding
from ...schedule import Prediction, Schedule, Spacing, vp_schedule
from .denoiser import Networks, UNetDenoiser, VaeCodec
from .files import Checkpoint, Part, find_checkpoint
from .networks import (
    build_controlnet,
    build_unet,
    build_vae,
    check_network,
    find_controlnet,
    load_network,
)
from .options import DiffusersOptions, StableDiffusionOptions
from .schedule import noise_levels
from .text import Conditioning, check_text_encoders, encode_prompts


@dataclass(frozen=True)
class Found:
    """A backbone's files, found and checked, nothing loaded.

    Attributes:
        checkpoint, controlnet: what is on disk.
        networks: on the meta device, without weights; they fit the files.
    """

    checkpoint: Checkpoint
    controlnet: Part | None
    networks: Networks


class DiffusersBackbone:
    """A Stable Diffusion model; `bind` gives the picture to its ControlNet.

    Attributes:
        name: what the map depends on, in short: it differs where files or options differ.
        recipe: arguments of `load_backbone` that give the same backbone again.
        multiple: the autoencoder's reduction times the UNet's, 64 pixels.
    """

    def __init__(
        self,
        networks: Networks,
        conditioning: Conditioning,
        levels: tuple[Tensor, Prediction],
        options: StableDiffusionOptions,
        name: str,
    ):
        self.networks, self.conditioning, self.options = networks, conditioning, options
        self.alphas: Tensor = levels[0]
        self.prediction: Prediction = levels[1]
        self.name = name
        self.recipe: dict[str, Any] = {"name": "diffusers", **asdict(options)}
        reductions = len(networks.vae.config.block_out_channels) - 1
        self.multiple = 2 ** (reductions + len(networks.unet.config.block_out_channels) - 1)

    def schedule(self, steps: int, spacing: Spacing = "trailing") -> Schedule:
        """The checkpoint's noise schedule."""
        return vp_schedule(self.alphas, steps, self.prediction, spacing)

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
    chosen = DiffusersOptions(str(Path(path).absolute()), **options)
    dtype = choose_dtype(chosen.dtype, device)
    controlnet = str(Path(chosen.controlnet).absolute()) if chosen.controlnet else ""
    chosen = replace(chosen, controlnet=controlnet, dtype=str(dtype).removeprefix("torch."))
    found = find(chosen)
    name = identity(chosen, found)
    levels = noise_levels(found.checkpoint.scheduler, chosen.path)
    tokenizer = Path(chosen.tokenizer) if chosen.tokenizer else None
    conditioning = encode_prompts(found.checkpoint, chosen.prompts, device, tokenizer)
    networks = load_networks(found, dtype, device)
    return DiffusersBackbone(networks, conditioning, levels, chosen, name)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The network's precision on a device.

    bfloat16 before float16: it has float32's range, and gradients need range.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def find(options: DiffusersOptions) -> Found:
    """Find and check everything that headers and configurations tell; reads no weights.

    Raises: ValueError naming the file, what is wrong with it, and what to do.
    """
    dtype = choose_dtype(options.dtype, torch.device("cpu"))
    checkpoint = find_checkpoint(Path(options.path), dtype, options.prediction)
    noise_levels(checkpoint.scheduler, options.path)
    control = None
    if options.controlnet:
        control = find_controlnet(Path(options.controlnet), dtype, checkpoint.unet)
    networks = Networks(
        build_unet(checkpoint.unet.config, options.path),
        None if control is None else build_controlnet(control.config, options.controlnet),
        build_vae(checkpoint.vae.config, options.path),
    )
    found = Found(checkpoint, control, networks)
    for network, part, what in _parts(found):
        check_network(network, part.tensors, what)
    check_text_encoders(checkpoint)
    return found


def _parts(found: Found) -> list[tuple[Any, Part, str]]:
    """(network, its files, what it is), in the order of `Networks`."""
    networks, checkpoint = found.networks, found.checkpoint
    parts = [(networks.unet, checkpoint.unet, "this UNet")]
    if found.controlnet is not None:
        parts.append((networks.controlnet, found.controlnet, "this ControlNet"))
    return [*parts, (networks.vae, checkpoint.vae, "this autoencoder")]


def load_networks(found: Found, dtype: torch.dtype, device: torch.device) -> Networks:
    """Read the weights; the autoencoder is float32 whatever the network is."""
    for network, part, what in _parts(found):
        own = torch.float32 if network is found.networks.vae else dtype
        load_network(network, part.tensors, what, own, device)
    return found.networks


def identity(options: DiffusersOptions, found: Found) -> str:
    """A backbone's name: the checkpoint's, and a hash of all that its map depends on."""
    files = found.checkpoint.files
    if found.controlnet is not None:
        files += sorted({stored.path for stored in found.controlnet.tensors.values()})
    facts = asdict(options)
    for place in ("path", "controlnet", "tokenizer"):
        facts.pop(place)  # files may move; what they hold is in the fingerprint
    parts = (found.checkpoint.unet, found.checkpoint.vae, *found.checkpoint.text)
    configs = [part.config for part in parts]
    configs += [found.controlnet.config] if found.controlnet is not None else []
    described = json.dumps(
        [facts, found.checkpoint.scheduler, configs, fingerprint(files)], sort_keys=True
    )
    digest = hashlib.sha256(described.encode()).hexdigest()
    return f"diffusers {Path(options.path).stem} {digest[:16]}"
