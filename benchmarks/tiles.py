"""Tiles: peak memory against the picture's side, and whether seams show.

    python -m benchmarks.tiles memory [--sides 512 1024 2048] [--out benchmarks/results]
    python -m benchmarks.tiles seams PHOTO [--out benchmarks/results]

memory: one gradient of the whole chain (encode, invert, decode, pull back; one diffusion step) in a
process of its own, tiled and untiled, with small random networks of Stable Diffusion's kind. What
is reported is the growth of the process's peak resident memory over loading its networks. The
norms' statistics are measured in two passes, not until they settle: memory is the same.

seams: the fast preset on a photograph with the pocket backbone, tiled and untiled. The bijection
makes the inverted picture come back either way, so what differs is what the optimiser made of it.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from latent_map.edict import frozen_norms
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.diffusers_denoiser import VaeCodec
from latent_map.edict.inversion import InversionOptions
from latent_map.edict.protocols import Binding
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tiles import spans
from latent_map.fidelity import load_fidelity
from latent_map.iqa_priors import load_prior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from latent_map.map_estimation.spaces import DiffusionSpace
from PIL import Image
from torch import Tensor

from .pairs import machine, save_json

TILE = 256
UNTILED_LIMIT = 2048  # pixels a side: beyond, untiled needs more memory than the machine has
SEAM_SIDE, SEAM_TILE, SEAM_ITERATIONS = 208, 112, 5
KIB = 1024


class SmallBackbone:
    """Random networks: an autoencoder with an eightfold reduction, and a U-Net on its latents."""

    name = "small"
    multiple = 32

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
        self.vae = AutoencoderKL(
            block_out_channels=(4, 4, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=1,
            norm_num_groups=2,
            latent_channels=4,
        )
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


def peak_mib() -> float:
    """The process's peak resident memory so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KIB


def measure_one(side: int, tile: int | None) -> dict[str, Any]:
    """Memory and CPU seconds of one gradient, in this process."""
    torch.set_num_threads(1)
    frozen_norms.SETTLED = float("inf")
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 16, 16, generator=generator)
    image = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    backbone, options = SmallBackbone(), InversionOptions(1, 0.93, tile=tile)
    DiffusionSpace(backbone, image[..., :64, :64], replace(options, tile=None), check=False).start()
    base, clock = peak_mib(), time.process_time()
    space = DiffusionSpace(backbone, image, options, "recompute", check=False)
    latents = space.synthesise(space.start(), with_gradient=True).requires_grad_(True)
    energy = space.decode(latents).square().mean()
    (gradient,) = torch.autograd.grad(energy, latents)
    space.pull_back(gradient)
    picture = image.nbytes / KIB**2
    return {
        "side": side,
        "tile": tile,
        "peak_mib": round(peak_mib() - base, 1),
        "picture_mib": round(picture, 1),
        "cpu_seconds": round(time.process_time() - clock, 1),
    }


def memory(sides: list[int], out: Path) -> None:
    """Measure each side in its own process; write after each, so that nothing is lost."""
    path = out / "tiles.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    rows = {(row["side"], row["tile"]): row for row in found.get("memory", [])}
    for side in sides:
        for tile in (TILE, None):
            if tile is None and side > UNTILED_LIMIT:
                continue
            arguments = ["one", str(side), *(["--tile", str(tile)] if tile else [])]
            command = [sys.executable, "-m", "benchmarks.tiles", *arguments]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows[side, tile] = json.loads(done.stdout.splitlines()[-1])
            ordered = [rows[key] for key in sorted(rows, key=str)]
            found |= {"machine": machine(), "memory": sorted(ordered, key=lambda row: row["side"])}
            save(found, out)


def seams(photo: Path, out: Path) -> None:
    """Enhance tiled and untiled; compare the difference at the tiles' borders and inside."""
    torch.set_num_threads(1)
    pixels = np.asarray(Image.open(photo).convert("RGB"), dtype=np.float32) / 255
    pixels = np.ascontiguousarray(pixels[:SEAM_SIDE, :SEAM_SIDE])
    image = torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None]
    backbone, prior = load_backbone("pocket"), load_prior("pocket")
    fast, results = preset("fast"), []
    for tile in (None, SEAM_TILE):
        chosen = replace(
            fast, inversion=replace(fast.inversion, tile=tile), iterations=SEAM_ITERATIONS
        )
        (result,) = enhance(image, backbone, prior, load_fidelity("low_resolution"), chosen)
        results.append(result)
    untiled, tiled = (result.picture for result in results)
    facts = seam_figures(image, untiled, tiled, SEAM_TILE)
    facts["quality"] = [result.trace[result.best_iteration].quality for result in results]
    path = out / "tiles.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    save(found | {"machine": machine(), "seams": facts | {"photo": photo.name}}, out)
    save_sheet(image, untiled, tiled, out / "tiles_seams.png")


def seam_figures(image: Tensor, untiled: Tensor, tiled: Tensor, tile: int) -> dict[str, float]:
    """Mean differences in the bands where tiles overlap, and in the rest.

    Returns: difference of the results at borders and inside; the jump of the difference from pixel
        to pixel there, which is what an eye sees; and how far the results are from the input.
    """
    difference = tiled - untiled
    band = overlap_band(image.shape[-1], tile, 16)
    rows = overlap_band(image.shape[-2], tile, 16)
    where = (band[None, :] | rows[:, None]).expand(image.shape[-2:])
    size = difference.abs().mean((0, 1))
    jumps = torch.zeros_like(size)
    jumps[:, 1:] += difference.diff(dim=-1).abs().mean((0, 1))
    jumps[1:] += difference.diff(dim=-2).abs().mean((0, 1))
    return {
        "difference_borders": float(size[where].mean()),
        "difference_inside": float(size[~where].mean()),
        "jump_borders": float(jumps[where].mean()),
        "jump_inside": float(jumps[~where].mean()),
        "change_by_enhancing": float((untiled - image).abs().mean()),
    }


def overlap_band(size: int, tile: int, multiple: int) -> Tensor:
    """Which places of a side more than one tile covers."""
    found = spans(size, tile, tile // 4, multiple)
    counts = torch.zeros(size)
    for span in found:
        counts[span.start : span.start + span.length] += 1
    return counts > 1


def save_sheet(image: Tensor, untiled: Tensor, tiled: Tensor, path: Path) -> None:
    """Input, untiled, tiled, and their difference twenty times enlarged about grey."""
    difference = (0.5 + 20 * (tiled - untiled)).clamp(0, 1)
    sheet = torch.cat((image, untiled, tiled, difference), -1)[0]
    pixels = (255 * sheet.permute(1, 2, 0)).round().byte().numpy()
    Image.fromarray(pixels).save(path, optimize=True)


def save(found: dict[str, Any], out: Path) -> None:
    """JSON and Markdown."""
    save_json(out / "tiles.json", found)
    lines = ["# Tiles", "", f"Machine: {found['machine']}", ""]
    if "memory" in found:
        lines += [
            f"One gradient of the whole chain, small networks; tiles of {TILE} pixels.",
            "",
            "| side (pixels) | tile | peak memory (MiB) | of which the picture | CPU (s) |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {row['side']} | {row['tile'] or 'none'} | {row['peak_mib']} | "
            f"{row['picture_mib']} | {row['cpu_seconds']} |"
            for row in found["memory"]
        ]
    if "seams" in found:
        rows = [(k.replace("_", " "), v) for k, v in found["seams"].items()]
        lines += [
            "",
            f"Seams, {SEAM_SIDE} pixels in tiles of {SEAM_TILE}, fast preset with "
            f"{SEAM_ITERATIONS} iterations.",
            "",
        ]
        lines += ["| measure | value |", "|---|---|"]
        lines += [f"| {name} | {value} |" for name, value in rows]
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
    photo = commands.add_parser("seams")
    photo.add_argument("photo", type=Path)
    for command in (all_sides, photo):
        command.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    if options.command == "one":
        print(json.dumps(measure_one(options.side, options.tile)))
    elif options.command == "memory":
        memory(options.sides, options.out)
    else:
        seams(options.photo, options.out)


if __name__ == "__main__":
    main()
