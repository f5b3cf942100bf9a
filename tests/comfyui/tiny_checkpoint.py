"""Test-only custom node: a native SD 1.5 model of 1 M random weights, and a census of gradients.

On import it registers the size with ComfyUI and writes `tiny.safetensors` into models/checkpoints,
and a ControlNet for it into models/controlnet.
"""

import gc
import json
from pathlib import Path
from typing import ClassVar

import comfy.supported_models
import folder_paths
import torch
from comfy.cldm.cldm import ControlNet
from comfy.comfy_types.node_typing import IO
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from comfy.ops import disable_weight_init
from comfy.taesd.taesd import TAESD
from safetensors.torch import save_file

CONTEXT = 64


class TinySD15(comfy.supported_models.SD15):
    unet_config: ClassVar = {
        "context_dim": CONTEXT,
        "model_channels": 32,
        "use_linear_in_transformer": False,
        "adm_in_channels": None,
        "use_temporal_attention": False,
    }
    unet_extra_config: ClassVar = {"num_heads": 4, "num_head_channels": -1}


def random_weights(network: torch.nn.Module, seed: int) -> dict[str, torch.Tensor]:
    """Every tensor drawn anew: ComfyUI's layers start as uninitialised memory."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name, old in network.state_dict().items():
        noise = torch.randn(old.shape, generator=generator)
        if old.ndim > 1:
            # a random network with a full-sized output is chaotic: no finite difference is small
            gain = 0.1 if name == "out.2.weight" else 0.8
            weights[name] = noise * gain / old[0].numel() ** 0.5
        else:
            weights[name] = noise * 0.02 + (name.endswith("weight") and old.ndim == 1)
    return weights


SIZE = {
    "image_size": 32,
    "in_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_middle": 1,
    "num_heads": 4,
    "use_spatial_transformer": True,
    "context_dim": CONTEXT,
    "legacy": False,
}


def write(path: Path, **parts: torch.nn.Module) -> None:
    weights = {
        prefix + name: weight.contiguous()
        for seed, (prefix, network) in enumerate(parts.items())
        for name, weight in random_weights(network, seed).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)


def write_checkpoint(path: Path) -> None:
    unet = UNetModel(**SIZE, out_channels=4, transformer_depth_output=[1, 1, 1, 1])
    write(path, **{"model.diffusion_model.": unet, "first_stage_model.": TAESD()})


def write_control_net(path: Path) -> None:
    write(path, **{"": ControlNet(**SIZE, hint_channels=3, operations=disable_weight_init)})


class TinyConditioning:
    """Random conditioning, as a text encoder would make it."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"seed": ("INT", {"default": 0})}}

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "test"

    def make(self, seed):
        generator = torch.Generator().manual_seed(seed)
        return ([[torch.randn((1, 77, CONTEXT), generator=generator), {}]],)


class GradientCensus:
    """What of autograd is in the process once `after` is there, as JSON text."""

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"after": (IO.ANY, {}), "turn": ("INT", {"default": 0})}}

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "count", "test", True

    def count(self, after, turn):
        gc.collect()
        found = [item for item in gc.get_objects() if isinstance(item, torch.Tensor)]
        parameters = [item for item in found if isinstance(item, torch.nn.Parameter)]
        census = {
            "parameters": len(parameters),
            "parameters_requiring_grad": sum(item.requires_grad for item in parameters),
            "tensors_with_graph": sum(item.grad_fn is not None for item in found),
            "tensors_with_grad": sum(item.is_leaf and item.grad is not None for item in found),
            "inference_mode": torch.is_inference_mode_enabled(),
        }
        return {"ui": {"text": [json.dumps(census)]}}


comfy.supported_models.models.append(TinySD15)
write_checkpoint(Path(folder_paths.get_folder_paths("checkpoints")[0]) / "tiny.safetensors")
write_control_net(Path(folder_paths.get_folder_paths("controlnet")[0]) / "tiny.safetensors")
NODE_CLASS_MAPPINGS = {"TinyConditioning": TinyConditioning, "GradientCensus": GradientCensus}
