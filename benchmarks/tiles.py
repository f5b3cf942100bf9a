"""Tiles: peak memory against the picture's side, and whether seams show.

    python -m benchmarks.tiles memory [--sides 512 1024 2048] [--out benchmarks/results]
    python -m benchmarks.tiles seams PHOTO ... [--out benchmarks/results]

memory: one gradient of the whole chain (encode, invert, decode, pull back; one diffusion step) in a
process of its own, tiled and untiled, with small random networks of Stable Diffusion's kind. What
is reported is the growth of the process's peak resident memory over loading its networks. The
norms' statistics are measured in two passes, not until they settle: memory is the same.

seams: the fast preset on photographs with the pocket backbone, tiled and untiled. The bijection
makes the inverted picture come back either way, so what differs is what the optimiser made of it.
How much that is depends on what is seen there: one photograph tells nothing of borders, so places
at borders and inside are compared over several, with the spread from photograph to photograph.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.pocket.network import MULTIPLE, REACH
from latent_map.edict.backbones.stable_diffusion.denoiser import VaeCodec
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.protocols import Binding
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tiling import frozen_norms
from latent_map.edict.tiling.tiles import spans, tiling
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from latent_map.map_estimation.spaces import DiffusionSpace
from PIL import Image
from torch import Tensor

from .meters import KIB, peak_mib
from .pairs import machine, save_json
from .photographs import central_square

TILE = 256
UNTILED_LIMIT = 2048  # pixels a side: beyond, untiled needs more memory than the machine has
SEAM_SIDE, SEAM_TILE, SEAM_ITERATIONS = 160, 80, 2
NEAR = 8  # pixels from a tile's edge: "at a border"


class SmallBackbone:
    """Random networks: an autoencoder with an eightfold reduction, and a U-Net on its latents."""

    name = "small"
    multiple = 32
    conditioned = True
    reach = 0
    recipe = None

    def __init__(self):
        from diffusers import AutoencoderKL, UNet2DModel

        torch.manual_seed(0)
        self.unet = UNet2DModel(
            in_channels=4,
            out_channels=4,
            block_out_channels=(32, 32, 32),
            down_block_types=("DownBlock2D",) * 3,
            up_block_types=("UpBlock2D",) * 3,
            add_attention=False,
            norm_num_groups=8,
        )
        # Of any length, whatever diffusers' signature says.
        blocks: dict[str, Any] = {
            "block_out_channels": (4, 4, 8, 8),
            "down_block_types": ("DownEncoderBlock2D",) * 4,
            "up_block_types": ("UpDecoderBlock2D",) * 4,
        }
        self.vae = AutoencoderKL(**blocks, layers_per_block=1, norm_num_groups=2, latent_channels=4)
        for network in (self.unet, self.vae):
            network.eval().requires_grad_(False)

    def schedule(self, steps: int, spacing: Any):
        """Stable Diffusion's."""
        return vp_schedule(scaled_linear_alphas(), steps, "v", spacing)

    def bind(self, image: Tensor) -> Binding:  # noqa: ARG002
        """Nothing is conditioned on the picture."""
        return Binding(SmallDenoiser(self.unet), VaeCodec(self.vae))


class SmallDenoiser:
    """The U-Net, the same everywhere."""

    def __init__(self, unet: Any):
        self.unet = unet

    def __call__(self, latent: Tensor, label: float) -> Tensor:
        return self.unet(latent.float(), label, return_dict=False)[0]

    def window(self, top: int, left: int, height: int, width: int) -> "SmallDenoiser":  # noqa: ARG002
        """There is no condition to cut."""
        return self


def measure_one(side: int, tile: int | None) -> dict[str, Any]:
    """Memory and CPU seconds of one gradient, in this process."""
    torch.set_num_threads(1)
    frozen_norms.SETTLED = float("inf")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    backbone = SmallBackbone()
    options = InversionOptions(1, tile=tile, bijection=EdictOptions(0.93))
    small = bind_picture(backbone, image[..., :64, :64], replace(options, tile=None))
    DiffusionSpace(small, check=False).start()
    base, clock = peak_mib("cpu"), time.process_time()
    space = DiffusionSpace(bind_picture(backbone, image, options), "recompute", check=False)
    latents = space.synthesise(space.start(), with_gradient=True).requires_grad_(True)
    energy = space.decode(latents).square().mean()
    (gradient,) = torch.autograd.grad(energy, latents)
    space.pull_back(gradient)
    picture = image.nbytes / KIB**2
    return {
        "side": side,
        "tile": tile,
        "peak_mib": round(peak_mib("cpu") - base, 1),
        "picture_mib": round(picture, 1),
        "cpu_seconds": round(time.process_time() - clock, 1),
    }


def memory(sides: list[int], out: Path) -> None:
    """Measure each side in its own process; write after each, so that nothing is lost."""
    path = out / "tiles.json"
    report = json.loads(path.read_text()) if path.exists() else {}
    rows = {(row["side"], row["tile"]): row for row in report.get("memory", [])}
    for side in sides:
        for tile in (TILE, None):
            if tile is None and side > UNTILED_LIMIT:
                continue
            arguments = ["one", str(side), *(["--tile", str(tile)] if tile else [])]
            command = [sys.executable, "-m", "benchmarks.tiles", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows[side, tile] = json.loads(done.stdout.splitlines()[-1])
            ordered = [rows[key] for key in sorted(rows, key=str)]
            report["memory"] = sorted(ordered, key=lambda row: row["side"])
            save(report | {"machine": machine()}, out)


def seams(photos: list[Path], out: Path) -> None:
    """Enhance tiled and untiled; compare the difference at the tiles' borders and inside."""
    torch.set_num_threads(1)
    backbone, prior = load_backbone("pocket"), load_prior("pocket")
    fast, rows = preset("fast"), []
    fast = replace(fast, iterations=SEAM_ITERATIONS, check_round_trip=False, check_gradient=False)
    path = out / "tiles.json"
    for photo in photos:
        image, results = central_square(photo, SEAM_SIDE), []
        for tile in (None, SEAM_TILE):
            chosen = replace(fast, inversion=replace(fast.inversion, tile=tile))
            (result,) = enhance(image, backbone, prior, load_fidelity("low_resolution"), chosen)
            results.append(result.picture)
        untiled, tiled = results
        rows.append({"photo": photo.name, **seam_figures(image, untiled, tiled, SEAM_TILE)})
        print(rows[-1], flush=True)
        if photo == photos[0]:
            save_sheet(image, untiled, tiled, out / "tiles_seams.png")
        report = json.loads(path.read_text()) if path.exists() else {}
        save(report | {"machine": machine(), "seams": rows}, out)


def seam_figures(image: Tensor, untiled: Tensor, tiled: Tensor, tile: int) -> dict[str, float]:
    """Mean difference of the results near the tiles' edges and elsewhere.

    Left out is the picture's own frame, where networks see padding and differ less whatever tiles.

    Returns: the difference; its jump from pixel to pixel, which is what an eye sees; and what
        enhancing changed: where it is larger, so is the difference, seams or not.
    """
    rows, columns = (near_an_edge(side, tile) for side in image.shape[-2:])
    where = (rows[:, None] | columns)[NEAR:-NEAR, NEAR:-NEAR]
    difference, change = tiled - untiled, (untiled - image).abs().mean((0, 1))
    size = difference.abs().mean((0, 1))
    jump = torch.zeros_like(size)
    jump[:, 1:] += difference.diff(dim=-1).abs().mean((0, 1))
    jump[1:] += difference.diff(dim=-2).abs().mean((0, 1))
    figures = {}
    for name, whole in (("difference", size), ("jump", jump), ("change", change)):
        values = whole[NEAR:-NEAR, NEAR:-NEAR]
        figures |= {f"{name}_borders": float(values[where].mean())}
        figures |= {f"{name}_inside": float(values[~where].mean())}
    return figures


def near_an_edge(size: int, tile: int) -> Tensor:
    """Which places of a side are near a tile's edge that is not the picture's."""
    cut = tiling(tile, MULTIPLE, REACH)
    tiles = spans(size, tile, cut.overlap, cut.align)
    edges = [edge for span in tiles for edge in (span.start, span.start + span.length)]
    places = torch.arange(size) + 0.5
    distances = [(places - edge).abs() for edge in edges if 0 < edge < size]
    return torch.stack(distances).amin(0) < NEAR


def seam_summary(rows: list[dict[str, Any]]) -> list[str]:
    """Ratios of borders to inside over the photographs: of the means, and the spread; Markdown."""
    lines = ["| | borders | inside | ratio | ratio, photograph by photograph |", "|---" * 5 + "|"]
    for name in ("difference", "jump", "change"):
        borders = np.array([row[f"{name}_borders"] for row in rows])
        inside = np.array([row[f"{name}_inside"] for row in rows])
        changed = inside > 0  # others came back as they were
        ratios = borders[changed] / inside[changed]
        spread = f"{ratios.mean():.3f}"
        if len(ratios) > 1:
            spread += f" +- {ratios.std(ddof=1) / len(ratios) ** 0.5:.3f} (standard error)"
        lines.append(
            f"| {name} | {borders.mean():.3g} | {inside.mean():.3g} | "
            f"{borders.mean() / inside.mean():.3f} | {spread} |"
        )
    return lines


def save_sheet(image: Tensor, untiled: Tensor, tiled: Tensor, path: Path) -> None:
    """Input, untiled, tiled, and their difference twenty times enlarged about grey."""
    difference = (0.5 + 20 * (tiled - untiled)).clamp(0, 1)
    sheet = torch.cat((image, untiled, tiled, difference), -1)[0]
    pixels = (255 * sheet.permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def save(report: dict[str, Any], out: Path) -> None:
    """JSON and Markdown."""
    save_json(out / "tiles.json", report)
    lines = ["# Tiles", "", f"Machine: {report['machine']}", ""]
    if "memory" in report:
        lines += [
            f"One gradient of the whole chain, small networks; tiles of {TILE} pixels.",
            "",
            "| side (pixels) | tile | peak memory (MiB) | of which the picture | CPU (s) |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['side']} | {row['tile'] or 'none'} | {row['peak_mib']} | "
            f"{row['picture_mib']} | {row['cpu_seconds']} |"
            for row in report["memory"]
        ]
    if "seams" in report:
        lines += [
            "",
            f"Seams: {len(report['seams'])} photographs of {SEAM_SIDE} pixels in tiles of "
            f"{SEAM_TILE}, fast preset with {SEAM_ITERATIONS} iterations; a border is what is "
            f"nearer than {NEAR} pixels to a tile's edge, and the picture's own frame is left out. "
            "`change` is what enhancing changed, "
            "untiled: where that is larger, so is the difference, seams or not.",
            "",
            *seam_summary(report["seams"]),
        ]
    (out / "tiles.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("one")
    one.add_argument("side", type=int)
    one.add_argument("--tile", type=int)
    all_sides = commands.add_parser("memory")
    all_sides.add_argument("--sides", type=int, nargs="+", default=[512, 1024, 2048])
    photos = commands.add_parser("seams")
    photos.add_argument("photos", type=Path, nargs="+")
    for command in (all_sides, photos):
        command.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.command == "one":
        print(json.dumps(measure_one(options.side, options.tile)))
    elif options.command == "memory":
        memory(options.sides, options.out)
    else:
        seams(options.photos, options.out)


if __name__ == "__main__":
    main()
