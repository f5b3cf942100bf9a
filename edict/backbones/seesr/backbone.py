"""SeeSR: Stable Diffusion 2 with a ControlNet that sees the picture and tokens of what is in it."""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ....files.weights import Stored, fingerprint
from ...schedule import Prediction
from ..stable_diffusion.backbone import DiffusersBackbone, choose_dtype
from ..stable_diffusion.denoiser import Networks
from ..stable_diffusion.files import Checkpoint, Part, find_checkpoint, find_part
from ..stable_diffusion.networks import build_vae, check_network, load_network
from ..stable_diffusion.schedule import noise_levels
from ..stable_diffusion.text import Conditioning, check_text_encoders, encode_prompts
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


@dataclass(frozen=True)
class SeesrFound:
    """A SeeSR backbone's files, found and checked, nothing loaded.

    Attributes:
        base: where text encoder, autoencoder and noise levels come from.
        unet, controlnet: SeeSR's, by the names of our networks.
        encoder: the image encoder's tensors with DAPE; empty without.
        networks: on the meta device; they fit the files.
    """

    base: Checkpoint
    unet: Part
    controlnet: Part
    encoder: dict[str, Stored]
    networks: Networks

    def parts(self) -> list[tuple[Any, Part, str]]:
        """(network, its files, what it is)."""
        return [
            (self.networks.unet, self.unet, "SeeSR's UNet"),
            (self.networks.controlnet, self.controlnet, "SeeSR's ControlNet"),
            (self.networks.vae, self.base.vae, "this autoencoder"),
        ]


class SeesrBackbone(DiffusersBackbone):
    """SeeSR; `bind` shows the picture to its ControlNet and to its image encoder.

    Attributes:
        encoder: RAM's image encoder with DAPE, on the CPU between bindings; None without.
    """

    def __init__(
        self,
        networks: Networks,
        conditioning: Conditioning,
        levels: tuple[Tensor, Prediction],
        options: SeesrOptions,
        name: str,
        encoder: ImageEncoder | None,
    ):
        super().__init__(networks, conditioning, levels, options, name)
        self.recipe = {"name": "seesr", **asdict(options)}
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
    chosen = _absolute(SeesrOptions(str(path), base=str(base), **options))
    dtype = choose_dtype(chosen.dtype, device)
    chosen = replace(chosen, dtype=str(dtype).removeprefix("torch."))
    found = find_seesr(chosen)
    name = identity(chosen, found)
    levels = noise_levels(found.base.scheduler, chosen.base)
    tokenizer = Path(chosen.tokenizer) if chosen.tokenizer else None
    conditioning = encode_prompts(found.base, chosen.prompts, device, tokenizer)
    for network, part, what in found.parts():
        own = torch.float32 if network is found.networks.vae else dtype
        load_network(network, part.tensors, what, own, device)
    encoder = load_image_encoder(found.encoder) if found.encoder else None
    if encoder is None:
        log.warning("%s", WITHOUT_DAPE)
    return SeesrBackbone(found.networks, conditioning, levels, chosen, name, encoder)


def _absolute(options: SeesrOptions) -> SeesrOptions:
    places = ("path", "base", "dape", "ram", "tokenizer")
    given = {place: getattr(options, place) for place in places}
    return replace(options, **{k: str(Path(v).absolute()) for k, v in given.items() if v})


def find_seesr(options: SeesrOptions) -> SeesrFound:
    """Find and check everything that headers and configurations tell; reads no weights.

    Raises: ValueError naming the file, what is wrong with it, and what to do.
    """
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
        build_seesr_unet(unet.config, path / "unet"),
        build_seesr_controlnet(controlnet.config, path / "controlnet"),
        build_vae(base.vae.config),
    )
    found = SeesrFound(base, unet, controlnet, _find_encoder(options), networks)
    for network, part, what in found.parts():
        check_network(network, part.tensors, what)
    check_text_encoders(base)
    return found


def _find_network(folder: Path, dtype: torch.dtype, kind: str) -> Part:
    if not folder.is_dir():
        raise ValueError(
            f"{folder} is missing: SeeSR's folder holds unet/ and controlnet/, each with "
            "config.json and diffusion_pytorch_model.safetensors"
        )
    found = find_part(folder, dtype, [kind])
    return Part(found.config, rename_keys(found.tensors))


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


def identity(options: SeesrOptions, found: SeesrFound) -> str:
    """A backbone's name: SeeSR, and a hash of all that its map depends on."""
    parts: list[Mapping[str, Stored]] = [part.tensors for _, part, _ in found.parts()]
    parts += [text.tensors for text in found.base.text] + [found.encoder]
    files = sorted({stored.path for part in parts for stored in part.values()})
    facts = asdict(options)
    for place in ("path", "base", "dape", "ram", "tokenizer"):
        facts.pop(place)  # files may move; what they hold is in the fingerprint
    configs = [part.config for _, part, _ in found.parts()]
    configs += [text.config for text in found.base.text]
    described = json.dumps(
        [facts, found.base.scheduler, configs, fingerprint(files)], sort_keys=True
    )
    return f"seesr {hashlib.sha256(described.encode()).hexdigest()[:16]}"
