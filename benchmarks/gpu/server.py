"""Part `server`: a real ComfyUI server with a full-size Stable Diffusion 1.5 of random weights.

COMFYUI_PATH and COMFYUI_PYTHON name the server, as for the tests; its Python needs diffusers. A
rehearsal takes the tests' tiny checkpoint instead, on the CPU.
"""

import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.comfyui.server import REPOSITORY, ComfyServer, Interrupted, comfy_server

from .bench import Bench, Job

NAME, SAMPLE = "random.safetensors", "sample.png"
NO_GRAPHS = re.compile("no CUDA graphs|CUDA graphs do not work here")
WORKING = 3.0  # seconds until what is to be interrupted is at work
SD15: dict[str, Any] = {
    "block_out_channels": (320, 640, 1280, 1280),
    "down_block_types": (*("CrossAttnDownBlock2D",) * 3, "DownBlock2D"),
    "up_block_types": ("UpBlock2D", *("CrossAttnUpBlock2D",) * 3),
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}


def write_full_size(path: Path) -> None:
    """Write an SD 1.5 of random weights in the original layout, half precision: 2 GB."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from tests import tiny_diffusers as layout

    from ..full_size import QUIET, VAE

    torch.manual_seed(0)
    unet: Any = UNet2DConditionModel(**SD15)
    unet.conv_out.weight.data.mul_(QUIET)
    blocks: dict[str, Any] = {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
    }
    vae: Any = AutoencoderKL(**VAE, **blocks)
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768,
            intermediate_size=3072,
            num_hidden_layers=12,
            num_attention_heads=12,
            vocab_size=49408,
        )
    )
    tensors = {
        **layout.to_ldm(unet, "model.diffusion_model."),
        **layout.vae_to_ldm(vae),
        **layout.text_to_clip(text, "cond_stage_model.transformer."),
    }
    half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    save_file({name: tensor.contiguous() for name, tensor in half.items()}, path)


class Driven:
    """The server, and the prompts that it is given.

    Args:
        server: running, the sample uploaded.
        tiny: whether it has the tests' tiny checkpoint.
        side: of pictures, in pixels.
    """

    def __init__(self, server: ComfyServer, tiny: bool, side: int):
        self.server, self.tiny, self.side = server, tiny, side

    def loading(self) -> dict[str, Any]:
        """Checkpoint and conditioning."""
        name = "tiny.safetensors" if self.tiny else NAME
        texts = {
            which: _node("TinyConditioning", seed=seed)
            if self.tiny
            else _node("CLIPTextEncode", clip=["model", 1], text="a photo" * seed)
            for which, seed in (("positive", 1), ("negative", 0))
        }
        return {"model": _node("CheckpointLoaderSimple", ckpt_name=name), **texts}

    def sampled(self, seed: int) -> torch.Tensor:
        """An ordinary KSampler's latent; another seed first, so that no cache answers."""
        for each in (seed + 1, seed):
            outputs = self.server.run_prompt(self._sampling(each))
        file = self.server.file(outputs["latent"]["latents"][0])
        return load_file(file)["latent_tensor"]

    def _sampling(self, seed: int) -> dict[str, Any]:
        texts = {which: [which, 0] for which in ("positive", "negative")}
        side = {"width": self.side, "height": self.side, "batch_size": 1}
        steps = {"steps": 4, "cfg": 4.0, "sampler_name": "euler", "scheduler": "normal"}
        sampler = {"model": ["model", 0], "latent_image": ["empty", 0], "denoise": 1.0, **steps}
        return {
            **self.loading(),
            "empty": _node("EmptyLatentImage", **side),
            "sample": _node("KSampler", seed=seed, **sampler, **texts),
            "latent": _node("SaveLatent", samples=["sample", 0], filename_prefix="sample"),
        }

    def enhancing(self, loader: str, **options: Any) -> dict[str, Any]:
        """Post-Enhance on ComfyUI's model ("none", "graph"), or on the pack's loader ("own")."""
        chosen = {"preset": "fast", "iterations": 3, "lam": 3.0, "strength": 1.0}
        chosen |= {"preview_every": 1, "override": True, **options}
        native = {"vae": ["model", 2], "positive": ["positive", 0], "cfg": 1.0, "strength": 1.0}
        own = "pocket" if self.tiny else f"checkpoint: {NAME}"
        backbones = {
            **{
                how: _node("DLM_BackboneFromModel", model=["model", 0], acceleration=how, **native)
                for how in ("none", "graph")
            },
            "own": _node("DLM_LoadBackbone", name=own),
        }
        wired = {"image": ["image", 0], "backbone": ["backbone", 0]}
        return {
            **(self.loading() if loader != "own" else {}),
            "image": _node("LoadImage", image=SAMPLE),
            "backbone": backbones[loader],
            "enhance": _node("DLM_PostEnhance", **wired, **chosen),
            "save": _node("SaveImage", images=["enhance", 0], filename_prefix="enhanced"),
        }


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def start(bench: Bench) -> dict[str, Any]:
    """Write the checkpoint and start the server; it runs until the benchmark ends."""
    tiny, stack = bench.sizes.iterations is not None, ExitStack()
    bench.facts["stop"] = stack.close
    folder, clock = Path(stack.enter_context(tempfile.TemporaryDirectory())), time.perf_counter()
    checkpoint = REPOSITORY / "tests" / "comfyui" / "tiny_checkpoint.py"
    links = {"custom_nodes/tiny_checkpoint.py": checkpoint}
    if not tiny:
        write_full_size(folder / NAME)
        links = {f"models/checkpoints/{NAME}": folder / NAME}
    written = time.perf_counter()
    arguments = () if bench.device.startswith("cuda") else ("--cpu",)
    server = stack.enter_context(comfy_server(links, arguments=arguments))
    side = bench.sizes.side
    Image.open(REPOSITORY / "docs" / "sample.png").convert("RGB").resize((side, side)).save(
        folder / SAMPLE
    )
    server.upload_image(folder / SAMPLE)
    bench.facts["driven"] = Driven(server, tiny, side)
    ready = time.perf_counter()
    return {
        "writing_seconds": round(written - clock, 1),
        "start_seconds": round(ready - written, 1),
    }


def sampler_before(bench: Bench) -> dict[str, Any]:
    """What the ordinary sampler makes before the pack has run."""
    latent = bench.facts["before"] = bench.facts["driven"].sampled(5)
    return {"finite": bool(torch.isfinite(latent).all()), "deviation": float(latent.float().std())}


def enhance_native(bench: Bench) -> dict[str, Any]:
    """Post-Enhance with ComfyUI's own model, twice; the second finds everything loaded."""
    return _enhanced(bench, "none")


def enhance_graphed(bench: Bench) -> dict[str, Any]:
    """The same with replayed calls, which a CPU refuses with a warning."""
    return _enhanced(bench, "graph")


def enhance_own(bench: Bench) -> dict[str, Any]:
    """Post-Enhance with the pack's own loader, whose calls are graphed on a GPU."""
    return _enhanced(bench, "own")


def _enhanced(bench: Bench, loader: str) -> dict[str, Any]:
    driven, facts = bench.facts["driven"], {}
    told = len(driven.server.log.read_text(errors="replace"))
    for which, lam in (("first", 3.0), ("second", 2.5)):
        clock = time.perf_counter()
        outputs = driven.server.run_prompt(driven.enhancing(loader, lam=lam))
        facts[f"{which}_seconds"] = round(time.perf_counter() - clock, 2)
        file = driven.server.file(outputs["save"]["images"][0])
        facts["reached"] = Image.open(file).size == (driven.side, driven.side)
    log = driven.server.log.read_text(errors="replace")[told:]
    return facts | {"graphs_given_up": NO_GRAPHS.search(log) is not None}


def interrupt(bench: Bench) -> dict[str, Any]:
    """Seconds until a long enhancement has stopped."""
    driven = bench.facts["driven"]
    prompt = driven.server.submit(driven.enhancing("none", iterations=5000))
    time.sleep(WORKING)
    clock = time.perf_counter()
    driven.server.interrupt()
    try:
        driven.server.wait(prompt)
    except Interrupted:
        seconds = time.perf_counter() - clock
        return {"seconds": round(seconds, 2), "reached": seconds < 2}
    return {"reached": False}


def sampler_after(bench: Bench) -> dict[str, Any]:
    """Whether the ordinary sampler makes what it made before."""
    same = torch.equal(bench.facts["driven"].sampled(5), bench.facts["before"])
    return {"same": same, "reached": same}


JOBS = {
    "start": Job(start, "", 60),
    "sampler before": Job(sampler_before, "", 10),
    "enhance, ComfyUI's model": Job(enhance_native, "a picture of the size", 20),
    "the same, graphed": Job(enhance_graphed, "a picture of the size", 20),
    "enhance, the pack's loader": Job(enhance_own, "a picture of the size", 20),
    "interrupt": Job(interrupt, "2 s", 10),
    "sampler after": Job(sampler_after, "the same latent", 10),
}
