"""SeeSR: Stable Diffusion 2 with a ControlNet that sees the picture and tokens of what is in it."""

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....files.config_rules import CONTROLNET
from ....files.network_folder import Part, find_part
from ....files.packages import need_packages
from ....files.stored import Stored
from ..stable_diffusion.assembly import (
    Assembly,
    Loaded,
    choose_dtype,
    hashed_name,
    load_assembly,
    settle,
)
from ..stable_diffusion.backbone import DiffusersBackbone
from ..stable_diffusion.checkpoint import Checkpoint
from ..stable_diffusion.denoiser import Networks
from ..stable_diffusion.find import find_checkpoint
from ..stable_diffusion.networks import build_vae
from ..stable_diffusion.schedule import noise_levels
from .dape import DAPE_FILE, MERGED_FILE, RAM_FILE, find_encoder, load_image_encoder
from .network import (
    TOKEN_CHANNELS,
    SeesrDenoiser,
    build_seesr_controlnet,
    build_seesr_unet,
    rename_keys,
)
from .options import SeesrOptions
from .ram import SWIN_L, ImageEncoder, image_tokens

log = logging.getLogger(__name__)
WITHOUT_DAPE = (
    "without DAPE, SeeSR does not know what is in the picture: it was never trained without these "
    "tokens, so textures may be bland or belong to something else, and its gradients with them"
)


class SeesrBackbone(DiffusersBackbone):
    """SeeSR; `bind` shows the picture to its ControlNet and to its image encoder.

    Attributes:
        encoder: RAM's image encoder with DAPE, on the CPU between bindings; None without.
    """

    kind = "seesr"

    def __init__(
        self, loaded: Loaded, options: SeesrOptions, name: str, encoder: ImageEncoder | None
    ):
        super().__init__(loaded, options, name)
        self.encoder = encoder

    def _denoiser(self, hint: Tensor) -> SeesrDenoiser:
        cfg, strength = self.options.cfg, self.options.control_strength
        tokens = self._tokens(hint)
        return SeesrDenoiser(self.networks, self.conditioning, hint, tokens, cfg, strength)

    def _tokens(self, hint: Tensor) -> Tensor:
        if self.encoder is None:
            return hint.new_zeros(len(hint), SWIN_L.tokens, TOKEN_CHANNELS)
        try:
            return image_tokens(self.encoder.to(hint.device), hint)
        finally:
            self.encoder.to("cpu")


def load_seesr(
    device: str | torch.device = "cpu", path: str | Path = "", base: str | Path = "", **options: Any
) -> SeesrBackbone:
    """Load SeeSR.

    Args:
        device: where the networks run.
        path, base, options: see `SeesrOptions`.
    Raises: ValueError naming the file, what is wrong, and what to do; before any weight is read
        for whatever headers and configurations tell.
    """
    device = torch.device(device)
    if not str(path) or not str(base):
        raise ValueError(
            "SeeSR needs two folders: path, with its unet/ and controlnet/, and base, Stable "
            "Diffusion 2.0 or 2.1"
        )
    chosen = settle(SeesrOptions(str(path), base=str(base), **options), device)
    assembly = find_seesr(chosen)
    name = seesr_name(chosen, assembly)
    loaded = load_assembly(assembly, chosen, device)
    encoder = load_image_encoder(assembly.extra) if assembly.extra else None
    if encoder is None:
        log.warning("%s", WITHOUT_DAPE)
    return SeesrBackbone(loaded, chosen, name, encoder)


def find_seesr(options: SeesrOptions) -> Assembly:
    """Find and check everything that headers and configurations tell; reads no weights.

    Raises: ValueError naming the file, what is wrong with it, and what to do.
    """
    need_packages("SeeSR", "diffusers")
    dtype = choose_dtype(options.dtype, torch.device("cpu"))
    path = Path(options.path)
    if not path.is_dir():
        raise ValueError(f"no folder {path}: give SeeSR's, with unet/ and controlnet/")
    unet = _find_network(path / "unet", dtype, "UNet2DConditionModel")
    controlnet = _find_network(path / "controlnet", dtype, "ControlNetModel")
    # SeeSR's network predicts eps whatever the base does, of which no UNet is used.
    base = find_checkpoint(Path(options.base), dtype, "eps")
    noise_levels(base.scheduler, options.base)
    _check_family(base, unet, options.base)
    networks = Networks(
        build_seesr_unet(unet.config, path / "unet", len(unet.tensors)),
        build_seesr_controlnet(controlnet.config, path / "controlnet", len(controlnet.tensors)),
        build_vae(base.vae.config, base.path, len(base.vae.tensors)),
    )
    encoder = _find_encoder(options)
    assembly = Assembly(base, unet, controlnet, networks, "SeeSR's", encoder)
    assembly.check()
    return assembly


def _find_network(folder: Path, dtype: torch.dtype, kind: str) -> Part:
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is missing: SeeSR's folder holds unet/ and controlnet/, each with "
            "config.json and diffusion_pytorch_model.safetensors"
        )
    network = find_part(folder, dtype, [kind], CONTROLNET)
    return Part(network.config, rename_keys(network.tensors))


def _check_family(base: Checkpoint, unet: Part, path: str) -> None:
    mine = base.unet.config.get("cross_attention_dim")
    its = unet.config.get("cross_attention_dim")
    if mine != its:
        raise ValueError(
            f"{path} has text of width {mine}, SeeSR wants {its}: give Stable Diffusion 2.0 or 2.1 "
            "as the base"
        )


def _find_encoder(options: SeesrOptions) -> dict[str, Stored]:
    if options.without_dape:
        return {}
    folder = Path(options.path)
    dape = options.dape or _first(folder, MERGED_FILE, DAPE_FILE)
    if not dape:
        raise ValueError(
            f"no {MERGED_FILE}, and no {DAPE_FILE} with {RAM_FILE}, in {folder} or "
            f"{folder.parent}: put them there, or switch on without_dape; {WITHOUT_DAPE}"
        )
    ram = options.ram or _first(folder, RAM_FILE)
    return find_encoder(Path(dape), Path(ram) if ram else None)


def _first(folder: Path, *names: str) -> str:
    """The first of the files in SeeSR's folder or the one that holds it, or ""."""
    places = [place / name for name in names for place in (folder, folder.parent)]
    return next((str(place) for place in places if place.is_file()), "")


def seesr_name(options: SeesrOptions, assembly: Assembly) -> str:
    """SeeSR, and a hash of all that the backbone's map depends on."""
    base, networks = assembly.base, [part for _, part, _ in assembly.parts()]
    parts = [*networks, *base.text, Part({}, assembly.extra)]
    return hashed_name("seesr", options, base.scheduler, parts)
