"""Reference image recovery from the command line."""

import argparse
import csv
import io
import math
from pathlib import Path

from PIL import Image, ImageDraw
from torch import Tensor
from tqdm import tqdm

from ..fidelity.loading import load_fidelity
from ..fidelity.recovery import Recovery, recover_reference, starting_picture
from ..files.pictures import Picture, check_output, read_picture, write_image, write_picture
from ..files.state_file import check_writable, write_atomically
from .plan import check_device, check_distinct

PLOT, MARGIN = (640, 320), 60


def recover(options: argparse.Namespace) -> int:
    """Lead noise, or a poor JPEG, back to a reference under one measure.

    Writes the picture, and beside it its curve as NAME.csv and NAME_curve.png. Returns: 0.
    """
    check_device(options.device)
    fidelity = load_fidelity(options.fidelity, options.device, options.weights)
    curve = options.output.with_suffix(".csv")
    plot = options.output.with_name(f"{options.output.stem}_curve.png")
    check_distinct((options.reference, options.output, curve, plot))
    for output in (options.output, plot):
        check_output(output)
    check_writable(curve)
    reference = _reference(options.reference, options.size).to(options.device)
    start = starting_picture(reference, options.start, options.seed)
    with tqdm(total=options.iterations, disable=None, desc=options.fidelity) as bar:

        def show(iteration: int, _: float) -> None:
            bar.update(iteration - bar.n)

        result = recover_reference(
            fidelity,
            reference,
            start,
            options.iterations,
            options.learning_rate,
            show,
        )
    write_picture(options.output, Picture(result.picture.cpu().float()))
    write_atomically(curve, _table(result).encode())
    write_image(plot, plot_curve(result.distances, f"{options.fidelity} from {options.start}"))
    print(
        f"{options.output}: {options.fidelity} {result.distances[0]:.4g} -> "
        f"{min(result.distances):.4g}, PSNR {psnr(result.start, reference):.1f} -> "
        f"{result.psnr:.1f} dB"
    )
    return 0


def plot_curve(distances: tuple[float, ...], title: str) -> Image.Image:
    """Distance per iteration; logarithmic where all are positive."""
    plot = Image.new("RGB", PLOT, "white")
    draw = ImageDraw.Draw(plot)
    logarithmic = min(distances) > 0
    heights = [math.log10(d) for d in distances] if logarithmic else list(distances)
    low, span = min(heights), (max(heights) - min(heights)) or 1.0
    left, top, right, bottom = MARGIN, MARGIN // 2, PLOT[0] - 20, PLOT[1] - 30
    points = [
        (
            left + (right - left) * i / max(1, len(heights) - 1),
            bottom - (bottom - top) * (height - low) / span,
        )
        for i, height in enumerate(heights)
    ]
    draw.rectangle((left, top, right, bottom), outline=(200, 200, 200))
    draw.line(points, fill=(190, 60, 20), width=2)
    draw.text((left, 8), f"{title}{', logarithmic' if logarithmic else ''}", "black")
    draw.text((4, top), f"{max(distances):.3g}", "black")
    draw.text((4, bottom - 10), f"{min(distances):.3g}", "black")
    draw.text((left, bottom + 8), "0", "black")
    draw.text((right - 60, bottom + 8), f"{len(distances) - 1} steps", "black")
    return plot


def psnr(x: Tensor, reference: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of pictures in [0, 1]."""
    error = float((x - reference).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def _reference(path: Path, size: int | None) -> Tensor:
    """A picture, or its central square of at most `size` pixels."""
    pixels = read_picture(path).pixels
    if size is None:
        return pixels
    if size < 16:
        raise ValueError(f"size {size} is too small: choose 16 or more")
    top, left = ((side - min(side, size)) // 2 for side in pixels.shape[-2:])
    return pixels[..., top : top + size, left : left + size].contiguous()


def _table(result: Recovery) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("iteration", "distance"))
    writer.writerows(enumerate(result.distances))
    return text.getvalue()
