"""A small random SeeSR on disk, with the release's layout and names.

The second transformers stand beside the first ones, as in SeeSR's own classes, and not in pairs.
"""

import json
from pathlib import Path

import torch
from diffusers import Transformer2DModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .tiny_diffusers import SD2, Family, randomise, tiny_controlnet, tiny_unet, write_folder

RAM_DATA = Path(__file__).parent / "data" / "ram_golden"
TOKENS = 10  # of the tiny image encoder


def with_image_attentions(network: nn.Module) -> dict[str, Tensor]:
    """The network's state dict with random image_attentions."""
    tensors = dict(network.state_dict())
    for name, module in list(network.named_modules()):
        if isinstance(module, Transformer2DModel):
            config = {k: v for k, v in module.config.items() if not k.startswith("_")}
            image = randomise(Transformer2DModel(**{**config, "cross_attention_dim": 512}), 7)
            place = name.replace("attentions", "image_attentions")
            tensors |= {f"{place}.{key}": value for key, value in image.state_dict().items()}
    return tensors


def write_network(folder: Path, network: nn.Module, variant: str = "") -> None:
    """One of SeeSR's two networks: config.json and weights, in half precision if variant fp16."""
    folder.mkdir(parents=True)
    tensors = {k: v.contiguous() for k, v in with_image_attentions(network).items()}
    if variant:
        tensors = {name: tensor.half() for name, tensor in tensors.items()}
    name = f"diffusion_pytorch_model{'.' * bool(variant)}{variant}.safetensors"
    save_file(tensors, folder / name)
    config = json.loads(network.to_json_string())
    config |= {"use_image_cross_attention": True, "_diffusers_version": "0.21.0"}
    (folder / "config.json").write_text(json.dumps(config))


def write_pickles(folder: Path) -> tuple[Path, Path]:
    """ram_swin_large_14m.pth and DAPE.pth as their authors store them, and their taggers' parts."""
    ram, dape = folder / "ram_swin_large_14m.pth", folder / "DAPE.pth"
    tagger = {"label_embed": torch.zeros(4585, 2), "fc.weight": torch.zeros(1, 2)}
    torch.save({"model": load_file(RAM_DATA / "tiny_ram.fp16.safetensors") | tagger}, ram)
    tagger = {"tagging_head.encoder.layer.0.crossattention.self.query.lora_A": torch.zeros(8, 2)}
    torch.save(load_file(RAM_DATA / "tiny_dape.fp16.safetensors") | tagger, dape)
    return ram, dape


def write_seesr(root: Path, family: Family = SD2, variant: str = "") -> dict[str, Path]:
    """models/seesr and models/base; the paths that `load_seesr` takes."""
    for name, network in (("unet", tiny_unet(family)), ("controlnet", tiny_controlnet(family))):
        write_network(root / "seesr" / name, network, variant)
    write_pickles(root)
    return {"path": root / "seesr", "base": write_folder(root / "base", family)}
