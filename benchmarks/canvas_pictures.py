"""Photograph the shipped workflows in a real ComfyUI: their thumbnails and the README's canvas.

    COMFYUI_PATH=~/ComfyUI python -m benchmarks.canvas_pictures

Needs chromium and playwright-core, see tests/comfyui/README.md. Minutes on a CPU.
"""

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from tests.comfyui.server import REPOSITORY, comfy_server

EDGE = 40  # pixels of canvas around the nodes, their titles included
THUMBNAIL = (900, 900)  # at most


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
    """Run the workflow on the canvas; the picture of its nodes."""
    workflow, shot = REPOSITORY / "workflows" / f"{name}.json", folder / f"{name}.png"
    script = REPOSITORY / "tests" / "comfyui" / "canvas.mjs"
    patient = {"CANVAS_TIMEOUT": "1200", **os.environ}
    command = ["node", script, url, workflow, shot]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=patient)
    return crop_to_nodes(Image.open(shot).convert("RGB"), json.loads(workflow.read_text()))


def main() -> None:
    """Write workflows/*.jpg and docs/canvas_optimizer.png."""
    with comfy_server() as server, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        sample = shutil.copy(REPOSITORY / "docs" / "sample.png", folder / "latent_map_sample.png")
        server.upload_image(sample)
        for name in ("post_enhance_pocket", "optimizer_pocket"):
            picture = photograph(name, server.url, folder)
            if name == "optimizer_pocket":
                colours = picture.quantize(256)
                colours.save(REPOSITORY / "docs" / "canvas_optimizer.png", optimize=True)
            picture.thumbnail(THUMBNAIL)
            picture.save(REPOSITORY / "workflows" / f"{name}.jpg", quality=85, optimize=True)


if __name__ == "__main__":
    main()
