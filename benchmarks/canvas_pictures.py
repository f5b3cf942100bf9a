"""Picture the shipped workflows in a real ComfyUI: thumbnails of results, and the README's canvas.

    COMFYUI_PATH=~/ComfyUI python -m benchmarks.canvas_pictures [NAME ...]

Those that need nothing but the pack are run, and their thumbnail is what came out: before and
after. The others need weights of gigabytes: theirs shows the sample and says what the workflow is.
docs/canvas_*.jpg are photographs of the canvas, classic and Nodes 2.0. A NAME is a workflow's or
docs/canvas_...jpg; without any, all are made. Needs chromium and playwright-core, see
tests/comfyui/README.md. Minutes on a CPU.
"""

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tests.comfyui.server import REPOSITORY, ComfyServer, comfy_server

EDGE = 40  # pixels of canvas around the nodes, their titles included
SIDE = 512  # of a thumbnail
MOST_BYTES = 150_000  # of a picture that a document shows
WINDOW = (110, 60, 366, 316)  # of the sample: the blossom, left, top, right, bottom
WHITE, BAND = (255, 255, 255), (20, 20, 24, 190)
RESULTS = ("Enhance a picture", "Enhance step by step", "Compare priors", "Score pictures")
RESULTS_SLOT = 1  # of Compare Priors
CHAINS = {  # what the others do to a picture, a step a line
    "With SD 1.5 and a tile ControlNet": ("Post-Enhance", "with SD 1.5 + tile ControlNet"),
    "With SDXL": ("Post-Enhance", "with SDXL"),
    "With SDXL Turbo": ("Post-Enhance, few steps", "with SDXL Turbo"),
    "With SeeSR": ("Post-Enhance", "with SeeSR"),
    "After an upscale model": ("Upscale model", "then Post-Enhance"),
    "After SeedVR2": ("SeedVR2", "then Post-Enhance"),
    "After SUPIR": ("SUPIR", "then Post-Enhance"),
    "After SUPIR (ComfyUI-SUPIR pack)": ("SUPIR (pack)", "then Post-Enhance"),
    "After Ultimate SD Upscale": ("Ultimate SD Upscale", "then Post-Enhance"),
    "After HYPIR": ("HYPIR", "then Post-Enhance"),
    "Guard faces and text": ("Post-Enhance", "careful with faces and text"),
    "Edit by exact inversion": ("EDICT Invert", "another prompt", "EDICT Reconstruct"),
}
# The frontend's own settings: nothing but nodes on the canvas.
BARE = dict.fromkeys(
    ("Comfy.Minimap.Visible", "Comfy.Graph.CanvasInfo", "Comfy.Graph.CanvasMenu"), False
) | {"LiteGraph.Canvas.MinFontSizeForLOD": 0}  # texts of small nodes, too
CANVASES = {  # of which workflow, on which canvas
    "docs/canvas_optimizer.jpg": ("Enhance step by step", "classic"),
    "docs/canvas_nodes2.jpg": ("Enhance a picture", "nodes2"),
}


def crop_to_nodes(screenshot: Image.Image, graph: dict) -> Image.Image:
    """The part of the canvas that the workflow's nodes take, by its own view."""
    scale, offset = graph["extra"]["ds"]["scale"], graph["extra"]["ds"]["offset"]
    starts = [[node["pos"][i] for node in graph["nodes"]] for i in (0, 1)]
    ends = [[node["pos"][i] + node["size"][i] for node in graph["nodes"]] for i in (0, 1)]
    low = [(min(starts[i]) + offset[i]) * scale for i in (0, 1)]
    high = [(max(ends[i]) + offset[i]) * scale for i in (0, 1)]
    left, top, right, bottom = low[0] - EDGE // 2, low[1] - EDGE, high[0] + EDGE / 2, high[1] + 10
    return screenshot.crop((max(0, int(left)), int(top), int(right), int(bottom)))


def photograph(name: str, mode: str, server: ComfyServer, folder: Path) -> Image.Image:
    """The picture of a workflow's nodes after a run."""
    workflow, shot = REPOSITORY / "workflows" / f"{name}.json", folder / "canvas.png"
    script = REPOSITORY / "tests" / "comfyui" / "canvas.mjs"
    patient = {"CANVAS_TIMEOUT": "1200", **os.environ}
    server.request("/settings", BARE)
    command = ["node", script, server.url, workflow, shot, mode]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=patient)
    return crop_to_nodes(Image.open(shot).convert("RGB"), json.loads(workflow.read_text()))


def results(name: str, server: ComfyServer) -> list[Image.Image]:
    """The pictures that a workflow makes of the sample, the viewers' sheets left out."""
    prompt = json.loads((REPOSITORY / "tests" / "comfyui" / "api" / f"{name}.json").read_text())
    prompt = {key: node for key, node in prompt.items() if node["class_type"] != "ImageCompare"}
    for key, node in list(prompt.items()):  # every result is saved
        made = {
            "DLM_ComparePictures": node["inputs"].get("after"),
            "DLM_ComparePriors": [key, RESULTS_SLOT],
        }.get(node["class_type"])
        if made:
            inputs = {"images": made}
            prompt[f"result {key}"] = {"class_type": "PreviewImage", "inputs": inputs}
    outputs = server.run_prompt(prompt)
    shown = [key for key in outputs if prompt[key]["class_type"] == "PreviewImage"]
    keys = [key for key in shown if key.startswith("result ")] or shown
    references = [reference for key in keys for reference in outputs[key]["images"]]
    return [Image.open(server.file(reference)).convert("RGB") for reference in references]


def side_by_side(pictures: dict[str, Image.Image]) -> Image.Image:
    """One square picture whose stripes are of different pictures, each with its name."""
    card = Image.new("RGB", (SIDE, SIDE))
    draw = ImageDraw.Draw(card)
    width = SIDE // len(pictures)
    for index, (label, picture) in enumerate(pictures.items()):
        left = index * width
        whole = picture.crop(WINDOW).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        card.paste(whole.crop((left, 0, left + width + len(pictures), SIDE)), (left, 0))
        if index:
            draw.line((left, 0, left, SIDE), WHITE, 3)
        _label(card, label, (left + 12, SIDE - 44), 24)
    return card


def chain(sample: Image.Image, steps: tuple[str, ...]) -> Image.Image:
    """The sample, and over it what a workflow does to it: no result, since none was made."""
    card = sample.crop(WINDOW).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    top = SIDE - 70 * len(steps) - 8
    for index, step in enumerate(steps):
        _label(card, step, (16, top + 70 * index), 34)
    return card


def _label(card: Image.Image, text: str, place: tuple[int, int], size: int) -> None:
    font = ImageFont.load_default(size)
    while font.getlength(text) > SIDE - 40:
        size -= 1
        font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(card, "RGBA")
    left, top, right, bottom = draw.textbbox(place, text, font)
    draw.rounded_rectangle((left - 8, top - 6, right + 8, bottom + 6), 6, BAND)
    draw.text(place, text, WHITE, font)


def thumbnail(name: str, server: ComfyServer, sample: Image.Image) -> Image.Image:
    """What a workflow's thumbnail shows."""
    if name not in RESULTS:
        return chain(sample, CHAINS[name])
    made = results(name, server)
    labels = {
        "Compare priors": ("pocket", "niqe", "brisque-cpp"),
        "Score pictures": ("its quality",),
    }.get(name, ("after",))
    before = {} if name == "Compare priors" else {"before": sample}
    if name == "Score pictures":
        before = {"the picture": sample}
    return side_by_side(before | dict(zip(labels, made, strict=True)))


def main() -> None:
    """Write workflows/*.jpg and docs/canvas_*.jpg."""
    shipped = sorted(path.stem for path in (REPOSITORY / "workflows").glob("*.json"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join((*shipped, *CANVASES)))
    names = parser.parse_args().names or (*shipped, *CANVASES)
    if unknown := set(names) - {*shipped, *CANVASES}:
        parser.error(f"no workflow or canvas is called {', '.join(sorted(unknown))}: see --help")
    sample = Image.open(REPOSITORY / "docs" / "sample.png").convert("RGB")
    with tempfile.TemporaryDirectory() as place, comfy_server() as server:
        for name in names:
            if name in CANVASES:
                write_small(photograph(*CANVASES[name], server, Path(place)), REPOSITORY / name)
                continue
            card = thumbnail(name, server, sample)
            card.save(REPOSITORY / "workflows" / f"{name}.jpg", quality=88, optimize=True)


def write_small(picture: Image.Image, path: Path) -> None:
    """Write a JPEG of the best quality that MOST_BYTES hold."""
    for quality in range(92, 40, -4):
        picture.save(path, quality=quality, optimize=True)
        if path.stat().st_size <= MOST_BYTES:
            return
    raise ValueError(f"{path} does not fit into {MOST_BYTES} bytes: make the picture smaller")


if __name__ == "__main__":
    main()
