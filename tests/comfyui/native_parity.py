"""The same tiny Stable Diffusion 1.5 through ComfyUI's classes and through diffusers'."""

import sys
import tempfile
from pathlib import Path

import comfy.sd
import comfy.supported_models
import torch
from comfy.cldm.cldm import ControlNet as ControlNetwork
from comfy.controlnet import ControlNet
from comfy.ldm.models.autoencoder import AutoencoderKL
from comfy.ops import disable_weight_init
from latent_map.edict.backbones import load_backbone
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.inversion import invert_picture
from latent_map.edict.inversion_options import InversionOptions
from native_models import CPU, UNET, Tiny, config_of
from native_process import backbone, in_node, picture
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).resolve().parents[1]))
import tiny_diffusers

STEPS = 6
SIZE = UNET | {
    "num_heads": 8,
    "transformer_depth": [1, 0],
    "transformer_depth_output": [1, 1, 0, 0],
}
HINT_WIDTHS = (16, 32, 96, 256)  # ComfyUI knows no others


def part(tensors, prefix):
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def native(path, text):
    """The checkpoint's networks in ComfyUI's classes, every tensor used; given text embeddings."""
    tensors = load_file(path)
    config = config_of(comfy.supported_models.SD15, SIZE)
    inner = config.get_model({}, "", CPU)
    inner.diffusion_model.load_state_dict(part(tensors, "model.diffusion_model."))
    model = comfy.model_patcher.ModelPatcher(inner, load_device=CPU, offload_device=CPU)
    size = {"ch": 32, "ch_mult": [1, 1, 1, 1], "num_res_blocks": 1, "z_channels": 4}
    size |= {"double_z": True, "resolution": 64, "in_channels": 3, "out_ch": 3}
    params = {"ddconfig": size | {"attn_resolutions": [], "dropout": 0.0}, "embed_dim": 4}
    weights = part(tensors, "first_stage_model.")
    AutoencoderKL(**params).load_state_dict(weights)  # VAE itself only logs what does not fit
    vae = comfy.sd.VAE(sd=weights, config={"params": params})
    return Tiny(model, vae, [[text.clone(), {}]], [])


def native_control(path):
    names = {"out_channels", "use_temporal_attention", "transformer_depth_output"}
    size = {name: value for name, value in SIZE.items() if name not in names}
    network = ControlNetwork(**size, hint_channels=3, operations=disable_weight_init, device=CPU)
    network.load_state_dict(part(load_file(path), "control_model."))
    network.dtype = torch.float32
    return ControlNet(network, load_device=CPU)


def write_control(path):
    family = tiny_diffusers.SD15
    network = tiny_diffusers.ControlNetModel(
        **tiny_diffusers.shared_config(family), conditioning_embedding_out_channels=HINT_WIDTHS
    )
    tensors = tiny_diffusers.to_ldm(tiny_diffusers.randomise(network, 2), "control_model.")
    tiny_diffusers.save_file({n: t.contiguous() for n, t in tensors.items()}, path)


def relative(a, b):
    return float((a - b).double().norm() / b.double().norm())


def check_parity(control="", mixing="0.93"):
    """Relative differences of schedules, latents, decoded pictures, raw outputs and noise pairs."""
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
        path = Path(folder) / "tiny.safetensors"
        vocabulary = tiny_diffusers.write_tokenizer(Path(folder) / "tokenizer")
        tiny_diffusers.write_single_file(path, tiny_diffusers.SD15, vocabulary)
        options = {"path": str(path)}
        if control:
            options["controlnet"] = str(Path(folder) / "control.safetensors")
            write_control(options["controlnet"])
        theirs = load_backbone("diffusers", **options)
        with torch.inference_mode():
            tiny = native(path, theirs.conditioning.text)
            net = native_control(options["controlnet"]) if control else None
        ours = backbone(tiny, control=net)
        inversion = InversionOptions(
            STEPS,
            tile=None,
            bijection=EdictOptions(float(mixing) if mixing != "paper" else None),
        )
        return in_node(lambda: compare(ours, theirs, inversion))


def compare(ours, theirs, options):
    schedules = [b.schedule(options.steps, "trailing").steps for b in (ours, theirs)]
    image = picture()
    bindings = [b.bind(image) for b in (ours, theirs)]
    with torch.no_grad():
        latents = [binding.codec.encode(image) for binding in bindings]
        images = [binding.codec.decode(latents[1]) for binding in bindings]
        noise = torch.randn(latents[1].shape, generator=torch.Generator().manual_seed(1))
        outputs = [
            [binding.denoiser(noise.double(), step.label) for step in schedules[1]]
            for binding in bindings
        ]
    pairs = [invert_picture(b, image, options).noise for b in (ours, theirs)]
    return {
        "labels": [step.label for step in schedules[0]] == [step.label for step in schedules[1]],
        "coefficients": max(
            abs(x - y) / abs(y)
            for a, b in zip(*schedules, strict=True)
            for x, y in zip(a[:2], b[:2], strict=True)
        ),
        "latent": relative(*latents),
        "decoded": relative(*images),
        "output": max(relative(a, b) for a, b in zip(*outputs, strict=True)),
        "label_effect": relative(outputs[1][0], outputs[1][-1]),
        "x": relative(pairs[0].x, pairs[1].x),
        "y": relative(pairs[0].y, pairs[1].y),
        "moved": relative(pairs[1].x, latents[1]),
    }
