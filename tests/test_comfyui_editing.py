"""Editing by exact inversion in a real ComfyUI, with a tiny native model and its prompts.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import numpy as np
import pytest
from PIL import Image

from .comfyui.needed import need_comfyui
from .comfyui.server import REPOSITORY, comfy_server

need_comfyui()

SAMPLE, SIDE = "latent_map_sample.png", 64
INVERSION = {"steps": 6, "mixing": 0.93, "strength": 1.0, "spacing": "trailing", "order": "fixed"}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The pack, a tiny checkpoint and a picture."""
    path = tmp_path_factory.mktemp("pictures") / SAMPLE
    with Image.open(REPOSITORY / "docs" / "sample.png") as sample:
        sample.convert("RGB").resize((SIDE, SIDE)).save(path)
    tiny = REPOSITORY / "tests" / "comfyui" / "tiny_checkpoint.py"
    with comfy_server({"custom_nodes/tiny_checkpoint.py": tiny}) as running:
        running.upload_image(path)
        yield running


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def native(prompt: str) -> dict:
    return node(
        "DLM_BackboneFromModel",
        model=["model", 0],
        vae=["model", 2],
        positive=[prompt, 0],
        cfg=1.0,
        strength=1.0,
    )


def saved(name: str) -> dict:
    return {
        f"{name} picture": node("DLM_EdictReconstruct", latents=["invert", 0], backbone=[name, 0]),
        name + " saved": node("SaveImage", images=[f"{name} picture", 0], filename_prefix="edit"),
    }


def test_the_same_prompt_gives_the_same_picture_and_another_changes_it(server):
    prompt = {
        "image": node("LoadImage", image=SAMPLE),
        "model": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "a dog": node("TinyConditioning", seed=1),
        "a cat": node("TinyConditioning", seed=2),
        "first": native("a dog"),
        "same": native("a dog"),
        "other": native("a cat"),
        "invert": node("DLM_EdictInvert", backbone=["first", 0], image=["image", 0], **INVERSION),
        **saved("first"),
        **saved("same"),
        **saved("other"),
    }
    outputs = server.run_prompt(prompt)
    first, same, other = (
        np.array(Image.open(server.file(outputs[f"{name} saved"]["images"][0]))).astype(float)
        for name in ("first", "same", "other")
    )
    np.testing.assert_array_equal(first, same)
    assert np.isfinite(other).all()
    assert np.abs(other - first).mean() > 0.1  # of 255
