"""Photograph the shipped workflows in a real ComfyUI: their thumbnails and the README's canvas.

    COMFYUI_PATH=~/ComfyUI python -m benchmarks.canvas_pictures [NAME ...]

Those that need nothing but the pack are run first. The others need weights of gigabytes: they are
photographed as they lie on the canvas, over empty files of the right names and stand-ins for the
SUPIR nodes. Needs chromium and playwright-core, see tests/comfyui/README.md. Minutes on a CPU.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.comfyui.server import REPOSITORY, comfy_server

EDGE = 40  # pixels of canvas around the nodes, their titles included
THUMBNAIL = (900, 900)  # at most
SELF_CONTAINED = ("post_enhance_pocket", "optimizer_pocket")
FILES = (
    "checkpoints/v1-5-pruned-emaonly-fp16.safetensors",
    "checkpoints/sd_xl_base_1.0.safetensors",
    "checkpoints/SUPIR-v0Q.ckpt",
    "controlnet/control_v11f1e_sd15_tile.pth",
    "upscale_models/RealESRGAN_x4plus.pth",
)
# The frontend's own settings: nothing but nodes on the canvas.
BARE = dict.fromkeys(
    ("Comfy.Minimap.Visible", "Comfy.Graph.CanvasInfo", "Comfy.Graph.CanvasMenu"), False
)
NO_BADGES = {"Comfy.NodeBadge.NodeSourceBadgeMode": "None"}  # they would name the stand-ins


def crop_to_nodes(screenshot: Image.Image, graph: dict) -> Image.Image:
    """The part of the canvas that the workflow's nodes take, by its own view."""
    scale, offset = graph["extra"]["ds"]["scale"], graph["extra"]["ds"]["offset"]
    starts = [[node["pos"][i] for node in graph["nodes"]] for i in (0, 1)]
    ends = [[node["pos"][i] + node["size"][i] for node in graph["nodes"]] for i in (0, 1)]
    low = [(min(starts[i]) + offset[i]) * scale for i in (0, 1)]
    high = [(max(ends[i]) + offset[i]) * scale for i in (0, 1)]
    left, top, right, bottom = low[0] - EDGE // 2, low[1] - EDGE, high[0] + EDGE / 2, high[1] + 10
    return screenshot.crop((max(0, int(left)), int(top), int(right), int(bottom)))


def photograph(name: str, url: str, folder: Path) -> Image.Image:
    """The picture of a workflow's nodes, after a run if it can run here."""
    workflow, shot = REPOSITORY / "workflows" / f"{name}.json", folder / f"{name}.png"
    script = REPOSITORY / "tests" / "comfyui" / "canvas.mjs"
    patient = {"CANVAS_TIMEOUT": "1200", **os.environ}
    only = [] if name in SELF_CONTAINED else ["graph"]
    command = ["node", script, url, workflow, shot, *only]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=patient)
    return crop_to_nodes(Image.open(shot).convert("RGB"), json.loads(workflow.read_text()))


def main(names: list[str]) -> None:
    """Write workflows/*.jpg and docs/canvas_optimizer.png."""
    stand_ins = REPOSITORY / "tests" / "comfyui" / "supir_sockets.py"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        empty = folder / "empty"
        empty.touch()
        links = {f"models/{file}": empty for file in FILES}
        sample = shutil.copy(REPOSITORY / "docs" / "sample.png", folder / "latent_map_sample.png")
        with comfy_server({"custom_nodes/supir_sockets.py": stand_ins, **links}) as server:
            server.upload_image(sample)
            for name in names or sorted(p.stem for p in (REPOSITORY / "workflows").glob("*.json")):
                badges = {} if name in SELF_CONTAINED else NO_BADGES
                server.request("/settings", {**BARE, **badges})
                write(name, photograph(name, server.url, folder))
                server.request("/settings", dict.fromkeys(NO_BADGES, "Hide built-in"))


def write(name: str, picture: Image.Image) -> None:
    """The workflow's thumbnail; of the optimizer's also the README's picture."""
    if name == "optimizer_pocket":
        colours = picture.quantize(256)
        colours.save(REPOSITORY / "docs" / "canvas_optimizer.png", optimize=True)
    picture.thumbnail(THUMBNAIL)
    picture.save(REPOSITORY / "workflows" / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
