"""What each fidelity measure alone leads back to (Ding et al., Section 2), as one sheet.

    python -m benchmarks.recovery_sheet --picture PHOTO --output docs/recovery_sheet.png

Prints a Markdown table. Measures whose weight file is missing are left out and named.
"""

import argparse
import time
from pathlib import Path

import torch
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.fidelity.loading import load_fidelity, missing_fidelity
from latent_map.fidelity.pixel import psnr
from latent_map.fidelity.recovery import Recovery, recover_reference, starting_picture
from latent_map.files.pictures import read_picture, to_image, write_image
from PIL import Image, ImageDraw
from torch import Tensor

STARTS = ("noise", "jpeg")
COLUMNS, CAPTION, GAP, HEAD = 8, 16, 6, 22
NARROWEST = 118  # pixels, what the longest caption takes


def main() -> None:
    """Write the sheet, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--left", type=int, help="of the square; default central")
    parser.add_argument("--top", type=int, help="of the square; default central")
    parser.add_argument("--iterations", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--only", nargs="*", help="some measures")
    options = parser.parse_args()
    pixels = read_picture(options.picture).pixels
    middle = [(side - options.size) // 2 for side in pixels.shape[-2:]]
    top = middle[0] if options.top is None else options.top
    left = middle[1] if options.left is None else options.left
    reference = pixels[..., top : top + options.size, left : left + options.size].contiguous()
    names = [name for name in options.only or FIDELITIES if not missing_fidelity(name)]
    print(f"{options.picture.name}, {options.size} x {options.size}, {options.iterations} steps")
    left_out = [name for name in FIDELITIES if missing_fidelity(name)]
    print(f"left out, no weight file: {', '.join(left_out) or 'none'}\n")
    print("| measure | " + " | ".join(_headings(reference)) + " | CPU seconds |")
    print("|---|" + "---|" * (2 * len(STARTS) + 1))
    rows = {name: _recover(name, reference, options) for name in names}
    write_image(options.output, _sheet(reference, rows))


def _headings(reference: Tensor) -> list[str]:
    headings = []
    for start in STARTS:
        before = psnr(starting_picture(reference, start), reference)
        headings += [f"distance from {start}", f"PSNR (start {before:.1f} dB)"]
    return headings


def _recover(name: str, reference: Tensor, options: argparse.Namespace) -> list[Recovery]:
    measure, begin = load_fidelity(name), time.process_time()
    results = []
    for start in STARTS:
        first = starting_picture(reference, start)
        results.append(
            recover_reference(measure, reference, first, options.iterations, options.learning_rate)
        )
    cells = []
    for result in results:
        cells += [f"{result.distances[0]:.3g} to {min(result.distances):.2g}"]
        cells += [f"{result.psnr:.1f}"]
    seconds = time.process_time() - begin
    print(f"| {name} | {' | '.join(cells)} | {seconds:.0f} |", flush=True)
    return results


def _sheet(reference: Tensor, rows: dict[str, list[Recovery]]) -> Image.Image:
    side = reference.shape[-1]
    cell = (max(side, NARROWEST) + GAP, side + GAP + CAPTION)
    lines = -(-(len(rows) + 2) // COLUMNS)
    block = HEAD + lines * cell[1]
    sheet = Image.new("RGB", (COLUMNS * cell[0] + GAP, len(STARTS) * block + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    for index, start in enumerate(STARTS):
        tiles = [("reference", reference)]
        first = next(iter(rows.values()))[index].start
        tiles.append((f"start {psnr(first, reference):.1f} dB", first))
        for name, results in rows.items():
            tiles.append((f"{name} {results[index].psnr:.1f} dB", results[index].picture))
        draw.text((GAP, index * block + 6), f"recovered from {start}", "black")
        for number, (caption, pixels) in enumerate(tiles):
            x = GAP + number % COLUMNS * cell[0]
            y = index * block + HEAD + number // COLUMNS * cell[1]
            sheet.paste(to_image(pixels), (x, y))
            draw.text((x, y + side + 1), caption, "black")
    return sheet


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
