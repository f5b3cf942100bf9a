"""Feature maps of a frozen VAE encoder, and the distance between them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files.config_rules import VAE
from ..files.network_folder import find_part
from ..files.outlines import outline
from ..files.packages import need_packages
from ..files.reading import reading
from ..files.stored import Stored
from ..files.weights import find_tensors, read_finite, read_weights
from .planes import check_pair, safe_root

# Stable Diffusion 1 and 2, and all that keep their VAE.
SD_CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "norm_num_groups": 32,
}
LDM_PREFIX = "first_stage_model."
# Of the middle's attention in folders that old versions of diffusers wrote.
OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
LDM_MARKS = ("first_stage_model.encoder.conv_in.weight", "encoder.down.0.block.0.norm1.weight")
NORM_FLOOR = 1e-6


class VaeEncoder:
    """The encoder of an AutoencoderKL, frozen, up to the moments of its latents.

    Args:
        vae: a diffusers AutoencoderKL; only `encoder` and `quant_conv` are used.
    """

    def __init__(self, vae: Any) -> None:
        self.encoder: Any = vae.encoder.eval().requires_grad_(False)
        quant = getattr(vae, "quant_conv", None)
        self.quant: nn.Module = (quant or nn.Identity()).eval().requires_grad_(False)

    def to(self, device: str | torch.device) -> "VaeEncoder":
        """Move the weights."""
        self.encoder, self.quant = self.encoder.to(device), self.quant.to(device)
        return self

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each of the maps."""
        parameter = next(self.encoder.parameters())
        with torch.no_grad():
            maps = self(torch.zeros(1, 3, 16, 16, device=parameter.device, dtype=parameter.dtype))
        return tuple(m.shape[1] for m in maps)

    def __call__(self, x: Tensor) -> list[Tensor]:
        """Maps of RGB (B, 3, H, W) in [0, 1]: first convolution, each stage, middle, moments.

        Seven for Stable Diffusion's VAE, with 128, 128, 256, 512, 512, 512 and 8 channels.
        """
        dtype = next(self.encoder.parameters()).dtype
        maps = [self.encoder.conv_in((2 * x - 1).to(dtype))]
        for block in self.encoder.down_blocks:
            maps.append(block(maps[-1]))
        maps.append(self.encoder.mid_block(maps[-1]))
        hidden = self.encoder.conv_act(self.encoder.conv_norm_out(maps[-1]))
        return [*maps, self.quant(self.encoder.conv_out(hidden))]


class VaeFeatures:
    """Mean squared difference of unit-length VAE features, the mean of all maps.

    LPIPS without its learned weights, on an encoder that was trained to keep what it needs for
    reconstruction. It has no parameters of its own and has not been fitted to human judgments.

    Args:
        encoder: maps of the pictures.
    Source: after Zhang et al., CVPR 2018 (the distance), and Raviv and Chechik, arXiv 2404.18178
        (VAE features for quality).
    """

    def __init__(self, encoder: VaeEncoder) -> None:
        self.encoder = encoder

    def __call__(self, x: Tensor, x_init: Tensor) -> Tensor:
        """Distance of RGB pictures (B, 3, H, W) in [0, 1], shape (B,), 0 when equal, at most 4.

        Raises: ValueError if shapes differ or a side is below 16.
        """
        check_pair(x, x_init)
        maps = zip(self.encoder(x), self.encoder(x_init), strict=True)
        differences = [(_unit(a) - _unit(b)).square().sum(1).flatten(1).mean(1) for a, b in maps]
        return torch.stack(differences, 1).mean(1).to(x.dtype)


def _unit(features: Tensor) -> Tensor:
    return features / (safe_root(features.square().sum(1, keepdim=True)) + NORM_FLOOR)


def load_vae_features(device: str | torch.device, paths: tuple[Path, ...]) -> VaeFeatures:
    """The distance on a VAE file or folder.

    Raises: ValueError as `load_vae_encoder`.
    """
    return VaeFeatures(load_vae_encoder(paths[0], device))


def load_vae_encoder(path: Path, device: str | torch.device = "cpu") -> VaeEncoder:
    """The encoder of a VAE.

    Args:
        path: a diffusers folder of a VAE or of a pipeline; or one file of Stable Diffusion's VAE,
            alone or inside a checkpoint, in the original or the diffusers layout.
        device: where it goes.
    Raises: ValueError if there is none, or it is damaged, unsafe, or of another architecture.
    """
    need_packages("the features of a VAE", "diffusers")
    from diffusers import AutoencoderKL

    path = Path(path)
    if path.is_dir():
        return _from_folder(path).to(device)
    stored = find_tensors(path, "VAE weights")
    with torch.device("meta"):
        vae = AutoencoderKL(**SD_CONFIG)
    if any(mark in stored for mark in LDM_MARKS):
        stored = _diffusers_names(stored, path)
    what = "Stable Diffusion's VAE"
    return VaeEncoder(_filled(vae, stored, path, what)).to(device)


def _from_folder(path: Path) -> VaeEncoder:
    from diffusers import AutoencoderKL

    folder = path / "vae" if (path / "vae").is_dir() else path
    if not (folder / "config.json").is_file():
        raise ValueError(f"no VAE in {path}: give a folder with config.json, or a file")
    part = find_part(folder, torch.float32, ["AutoencoderKL"], VAE)
    config = {name: value for name, value in part.config.items() if not name.startswith("_")}
    with reading(folder, "VAE"), outline(len(part.tensors)):
        vae = AutoencoderKL.from_config(config)
    return VaeEncoder(_filled(vae, _new_names(part.tensors), folder, "the VAE of its config.json"))


def _filled(vae: Any, stored: Mapping[str, Stored], path: Path, what: str) -> Any:
    """The VAE with its encoder's weights."""
    wanted = {k: v for k, v in vae.state_dict().items() if k.startswith(("encoder", "quant_conv"))}
    for name, tensor in wanted.items():
        if name not in stored or stored[name].shape != tensor.shape:
            raise ValueError(
                f"{path} is not {what} ({name} of shape {tuple(tensor.shape)} is missing): give "
                "its file, or the diffusers folder of another VAE"
            )
    state = {name: read_finite(stored[name]).float() for name in wanted}
    vae.load_state_dict(state, strict=False, assign=True)
    return vae


def _diffusers_names(stored: Mapping[str, Stored], path: Path) -> dict[str, Stored]:
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    # The rest of a checkpoint stays on disk.
    own = {n: t for n, t in stored.items() if n.startswith((LDM_PREFIX, "encoder.", "quant_conv."))}
    with reading(path, "VAE"):
        converted = convert_ldm_vae_checkpoint(read_weights(own), SD_CONFIG)
    return {
        name: Stored(path, name, tuple(tensor.shape), lambda tensor=tensor: tensor, tensor.dtype)
        for name, tensor in converted.items()
    }


def _new_names(stored: Mapping[str, Stored]) -> dict[str, Stored]:
    """By the names of today's diffusers, from those of its old folders."""
    renamed = {}
    for name, tensor in stored.items():
        *place, layer, kind = f".{name}".split(".")
        old = "mid_block.attentions.0" in name
        new = ".".join([*place, OLD_ATTENTION.get(layer, layer) if old else layer, kind])[1:]
        linear = old and kind == "weight" and len(tensor.shape) == 4
        renamed[new] = tensor.changed(lambda w: w[:, :, 0, 0]) if linear else tensor
    return renamed
