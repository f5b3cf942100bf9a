"""Backbones' names are written into saved states: the same files and options keep theirs."""

from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.seesr.backbone import seesr_name
from latent_map.edict.backbones.seesr.options import SeesrOptions
from latent_map.edict.backbones.stable_diffusion.assembly import Assembly
from latent_map.edict.backbones.stable_diffusion.backbone import diffusers_name
from latent_map.edict.backbones.stable_diffusion.checkpoint import Checkpoint, TextPart
from latent_map.edict.backbones.stable_diffusion.denoiser import Networks
from latent_map.edict.backbones.stable_diffusion.options import DiffusersOptions
from latent_map.files.network_folder import Part
from latent_map.files.stored import Stored

NETWORKS = Networks(None, None, None)  # files and options make the name


def tensors(folder: Path, *names: str) -> dict[str, Stored]:
    """Tensors in files of one line each, which no library writes and no version changes."""
    for name in names:
        (folder / name).write_bytes(f"the weights in {name}\n".encode() * 40)
    return {name: Stored(folder / name, name, (1,), lambda: torch.zeros(1)) for name in names}


def checkpoint(folder: Path) -> Checkpoint:
    """Its files' order is not that of its parts."""
    return Checkpoint(
        folder / "model.safetensors",
        Part({"cross_attention_dim": 64}, tensors(folder, "unet_2", "unet_1")),
        Part({"scaling_factor": 0.18215}, tensors(folder, "autoencoder")),
        (TextPart({"hidden_size": 64}, tensors(folder, "text"), None, 0),),
        {"beta_schedule": "scaled_linear", "prediction_type": "epsilon"},
    )


# Recorded when the two backbones computed their names each by itself.
@pytest.mark.parametrize(
    ("controlled", "name"),
    [(False, "diffusers model 1e6b79b7fcd62502"), (True, "diffusers model f00ee34c374089a5")],
)
def test_stable_diffusion_keeps_its_names(tmp_path, controlled, name):
    base = checkpoint(tmp_path)
    control = Part({"hint": 3}, tensors(tmp_path, "a_controlnet")) if controlled else None
    options = DiffusersOptions(
        str(base.path), controlnet="somewhere" * controlled, dtype="float32", cfg=2.0, prompt="a"
    )
    assembly = Assembly(base, base.unet, control, NETWORKS)
    assert diffusers_name(options, assembly) == name


@pytest.mark.parametrize(
    ("blind", "name"),
    [(False, "seesr 803402709a64fb60"), (True, "seesr af1ec494056f3153")],
)
def test_seesr_keeps_its_names(tmp_path, blind, name):
    base = checkpoint(tmp_path)
    unet = Part({"sample_size": 64}, tensors(tmp_path, "seesr_unet"))
    control = Part({"hint": 3}, tensors(tmp_path, "a_controlnet"))
    encoder = {} if blind else tensors(tmp_path, "an_encoder", "DAPE")
    options = SeesrOptions(
        "seesr", base=str(base.path), dtype="bfloat16", negative="b", without_dape=blind
    )
    assembly = Assembly(base, unet, control, NETWORKS, extra=encoder)
    assert seesr_name(options, assembly) == name
