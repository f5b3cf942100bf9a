"""Properties of every fidelity measure, as the table of docs/fidelity.md.

    python -m benchmarks.fidelity --picture PHOTO [--vgg16 FILE --alexnet FILE]

Measured on a central square of the picture and the same with noise. Networks without a weight
file get random weights of the right shapes (marked in the table): good for the rows that are about
the computation, not about what is perceived.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.fidelity.dists import Dists
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.lpips import Lpips
from latent_map.fidelity.networks import ALEXNET_LAYERS, VGG16_LAYERS
from latent_map.files.pictures import read_picture
from torch import Tensor

SIDE, COST_SIDE = 64, 128
NOISE = 0.05
NEAR = 1e-7
STEPS = (1e-2, 1e-4)  # of the finite difference, root mean square per pixel value
SMALLEST = 16
REPEATS = 1

Measure = Callable[[Tensor, Tensor], Tensor]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, required=True)
    parser.add_argument("--vgg16", type=Path, help="torchvision's weights")
    parser.add_argument("--alexnet", type=Path, help="torchvision's weights")
    parser.add_argument("--only", nargs="*", help="some measures")
    options = parser.parse_args()
    pixels = read_picture(options.picture).pixels
    print(
        "| measure | at equality | gradient there / near | with noise 0.05 | difference over "
        f"gradient, step {STEPS[0]:g} / {STEPS[1]:g} | smallest side | time over mse |"
    )
    print("|---|---|---|---|---|---|---|")
    baseline = _cost(load_fidelity("mse"), pixels)
    for name in options.only or FIDELITIES:
        measure, note = _load(name, options)
        print(_row(name + note, measure, pixels, baseline, FIDELITIES[name].min_side), flush=True)


def _load(name: str, options: argparse.Namespace) -> tuple[Measure, str]:
    row = FIDELITIES[name]
    if not row.files:
        return load_fidelity(name), ""
    path = options.alexnet if name == "lpips_alex" else options.vgg16
    if path is not None:
        return load_fidelity(name, path=path), ""
    layers = ALEXNET_LAYERS if name == "lpips_alex" else VGG16_LAYERS
    generator, weights, before = torch.Generator().manual_seed(0), {}, 3
    for layer in layers:
        shape = (layer.channels, before, layer.size, layer.size)
        scale = math.sqrt(2 / (before * layer.size**2))
        weights[f"{layer.index}.weight"] = scale * torch.randn(shape, generator=generator)
        weights[f"{layer.index}.bias"] = torch.zeros(layer.channels)
        before = layer.channels
    if name == "dists":
        return Dists(weights), " (random weights)"
    return Lpips("alex" if name == "lpips_alex" else "vgg", weights), " (random weights)"


def _row(name: str, measure: Measure, pixels: Tensor, baseline: float, smallest: int) -> str:
    reference = _centre(pixels, SIDE).double()
    noise = torch.randn(reference.shape, generator=torch.Generator().manual_seed(0)).double()
    at_equality = float(measure(reference, reference.clone()))
    there = _gradient(measure, reference, reference)
    near = _gradient(measure, reference + NEAR * noise, reference)
    finite = all(bool(torch.isfinite(g).all()) for g in (there, near))
    moved = reference + NOISE * noise
    gradient = _gradient(measure, moved, reference)
    ratios = [_difference_ratio(measure, moved, reference, gradient, step) for step in STEPS]
    cells = (
        name,
        f"{at_equality:.0e}" if at_equality else "0",
        f"{there.norm():.1e} / {near.norm():.1e}" if finite else "not finite",
        f"{float(measure(moved, reference)):.4g}",
        " / ".join(f"{ratio:.3f}" for ratio in ratios),
        str(max(smallest, _smallest(measure))),
        f"{_cost(measure, pixels) / baseline:.0f}",
    )
    return f"| {' | '.join(cells)} |"


def _centre(pixels: Tensor, side: int) -> Tensor:
    top, left = ((length - side) // 2 for length in pixels.shape[-2:])
    if min(top, left) < 0:
        raise ValueError(f"the picture is smaller than {side} pixels: choose another")
    return pixels[..., top : top + side, left : left + side]


def _gradient(measure: Measure, x: Tensor, reference: Tensor) -> Tensor:
    x = x.clone().requires_grad_(True)
    return torch.autograd.grad(measure(x, reference).sum(), x)[0]


def _difference_ratio(
    measure: Measure, x: Tensor, reference: Tensor, gradient: Tensor, step: float
) -> float:
    """Change of the measure along its gradient, over what the gradient says."""
    direction = gradient / gradient.square().mean().sqrt()
    with torch.no_grad():
        rise = measure(x + step * direction, reference) - measure(x - step * direction, reference)
    return float(rise) / (2 * step * float((gradient * direction).sum()))


def _smallest(measure: Measure) -> int:
    for side in (1, 8, SMALLEST, 32, 64):
        image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        try:
            measure(image, image.flip(-1))
        except ValueError:
            continue
        return side
    raise RuntimeError("no size can be measured")


def _cost(measure: Measure, pixels: Tensor) -> float:
    """Seconds of a distance and its gradient in float32, the best of some."""
    reference = _centre(pixels, COST_SIDE)
    run = partial(_gradient, measure, reference.flip(-1), reference)
    run()
    seconds = []
    for _ in range(REPEATS):
        begin = time.process_time()
        run()
        seconds.append(time.process_time() - begin)
    return min(seconds)


if __name__ == "__main__":
    main()
