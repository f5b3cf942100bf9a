"""Reference image recovery from the command line."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..fidelity.choices import Start
from ..files.distinct import check_distinct, check_unnamed
from .arguments import argument, option
from .device import check_device, device_option
from .force import force_option

if TYPE_CHECKING:
    from torch import Tensor

    from ..fidelity.recovery import Recovery

SEED = 0
PLOT, CURVE_COLOUR = (640, 320), (190, 60, 20)


@dataclass(frozen=True, kw_only=True)
class Options:
    """Which picture to come back to, under which measure and from where."""

    reference: Path = argument("picture file")
    output: Path = option("picture file to write", "-o", "--output")
    fidelity: str = option("a measure of docs/fidelity.md", default="low_resolution")
    start: Start = option("where to begin", "--from", default="noise")
    iterations: int = option("gradient steps", default=500)
    learning_rate: float = option("of Adam", default=0.02)
    size: int | None = option("central square of this many pixels", default=None)
    seed: int = option("of the noise", default=SEED)
    weights: Path | None = option("the measure's weight file, or its folder", default=None)
    force: bool = force_option()
    device: str = device_option()


def run(options: Options) -> int:
    """Lead noise, or a poor JPEG, back to a reference under one measure.

    Writes the picture, and beside it its curve as NAME.csv and NAME_curve.png. Returns: 0.
    """
    from tqdm import tqdm

    from ..fidelity.loading import load_fidelity
    from ..fidelity.pixel import psnr
    from ..fidelity.recovery import recover_reference, starting_picture
    from ..files.pictures import Picture, check_output, write_image, write_picture
    from ..files.written import check_writable, write_atomically
    from ..map_estimation.curves import Curve, plot_curves

    check_device(options.device)
    if options.start != "noise" and options.seed != SEED:
        raise ValueError(f"--seed changes nothing with --from {options.start}: leave it out")
    curve = options.output.with_suffix(".csv")
    plot = options.output.with_name(f"{options.output.stem}_curve.png")
    check_distinct((options.output, curve, plot), (options.reference, options.weights))
    check_unnamed((curve, plot), options.force)
    for output in (options.output, plot):
        check_output(output)
    check_writable(curve)
    fidelity = load_fidelity(options.fidelity, options.device, options.weights)
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
    title = f"{options.fidelity} from {options.start}"
    distances = Curve(title, result.distances, CURVE_COLOUR, logarithmic=True)
    write_image(plot, plot_curves([distances], *PLOT))
    print(
        f"{options.output}: {options.fidelity} {result.distances[0]:.4g} -> "
        f"{min(result.distances):.4g}, PSNR {psnr(result.start, reference):.1f} -> "
        f"{result.psnr:.1f} dB"
    )
    print(f"{curve}: the distance at every iteration; {plot}: its plot")
    return 0


def _reference(path: Path, size: int | None) -> Tensor:
    """A picture, or its central square of at most `size` pixels."""
    from ..files.pictures import read_picture

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
