"""How often the gradient self-check warns wrongly, and how many planted faults it misses.

    python -m benchmarks.gradient_alarms docs/sample.png PHOTOGRAPH... --write FILE.md

Crops of photographs: as they are, with hard contrast (pure black and white), cut out on white,
nearly all black, over-exposed. Each is brought to where a run checks its gradient. Half precision:
the network computes in bfloat16; what the decoder gives and what the prior sees is rounded to it.
Faults are planted as careless wrappers have them: of what a part gives, a share is detached.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.protocols import Backbone, Binding
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import read_picture
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.prior import Prior
from latent_map.map_estimation.enhancer import Enhancer
from latent_map.map_estimation.gradient_check import Part, check_judge, check_map
from latent_map.map_estimation.settings import preset
from torch import Tensor

PICTURES, SIDE, SEED = 50, 48, 0
NAMES = ("network", "decoder", "prior")
SHARES = (0.0, 0.1, 0.3, 0.99)  # that are detached; all of it is refused before it is checked
PRECISIONS = {"float32": False, "bfloat16": True}  # whether it is half
KINDS: dict[str, Callable[[Tensor], Tensor]] = {
    "as it is": lambda image: image,
    "hard contrast": lambda image: ((image - 0.5) * 4 + 0.5).clamp(0, 1),
    "on white": lambda image: torch.where(_disc(image), image, 1.0),
    "on black": lambda image: torch.where(_disc(image), image, 0.0),
    "over-exposed": lambda image: (image * 2.5).clamp(0, 1),
}


def _disc(image: Tensor) -> Tensor:
    y, x = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in image.shape[-2:]), indexing="ij")
    return (x**2 + y**2 < 0.3)[None, None]


class HalfBackbone:
    """A backbone in half precision."""

    def __init__(self, backbone: Backbone):
        self.backbone = backbone

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone, name)

    def bind(self, image: Tensor) -> Binding:
        """The network computes in bfloat16, and what the decoder gives is rounded to it."""
        binding = self.backbone.bind(image)

        def denoiser(latent: Tensor, label: float) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return binding.denoiser(latent, label).to(latent)

        return Binding(denoiser, HalfDecoder(binding.codec))


class HalfDecoder:
    """A codec whose pictures are rounded."""

    def __init__(self, codec: Any):
        self.codec = codec

    def __getattr__(self, name: str) -> Any:
        return getattr(self.codec, name)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures of numbers that bfloat16 has."""
        return rounded(self.codec.decode(latents))


def rounded(numbers: Tensor) -> Tensor:
    """To bfloat16 and back."""
    return numbers.bfloat16().to(numbers)


def cut(function: Callable[[Tensor], Tensor], share: float) -> Callable[[Tensor], Tensor]:
    """The same function, of whose gradient a share is lost."""

    def wrapped(x: Tensor) -> Tensor:
        output = function(x)
        return output + share * (output.detach() - output)

    return wrapped


def pictures(paths: list[Path], count: int) -> list[Tensor]:
    """Crops of the pictures by turns, by turns of the kinds."""
    wholes = [read_picture(path).pixels for path in paths]
    generator = torch.Generator().manual_seed(SEED)
    chosen = []
    for number in range(count):
        whole = wholes[number // len(KINDS) % len(wholes)]
        top, left = (
            int(torch.randint(side - SIDE + 1, (), generator=generator))
            for side in whole.shape[-2:]
        )
        crop = whole[..., top : top + SIDE, left : left + SIDE].contiguous()
        chosen.append(list(KINDS.values())[number % len(KINDS)](crop))
    return chosen


def of_a_run(image: Tensor, backbone: Any, prior: Prior) -> tuple[list[Part], Tensor]:
    """The maps and the picture that a run would check at its first iterate."""
    settings = replace(preset("fast"), draws=1, check_round_trip=False)
    enhancer = Enhancer(backbone, prior, load_fidelity("low_resolution"), settings)
    space, _ = enhancer.problem(image)
    variables = space.start()
    with torch.no_grad():
        latents = space.synthesise(variables, with_gradient=False)
        return space.parts(variables, latents), space.decode(latents[:1])


def alarms(
    parts: list[Part], prior: Callable[[Tensor], Tensor], picture: Tensor
) -> Iterator[tuple[str, float]]:
    """The faults, as (part, share), that are found; the share 0 is a false alarm."""
    for name in NAMES:
        for share in SHARES:
            if name == "prior":
                checks = [check_judge(cut(prior, share), picture)]
            else:
                same = [part for part in parts if part.name == name]
                checks = [check_map(cut(part.function, share), part.at) for part in same]
            if any(check is not None and check.wrong for check in checks):
                yield name, share


def main() -> None:
    """Count, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=PICTURES)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    images = pictures(options.pictures, options.count)
    plain, prior = load_backbone("pocket"), load_prior("pocket")
    found: Counter[tuple[str, str, float]] = Counter()
    for image in images:
        for precision, half in PRECISIONS.items():
            parts, picture = of_a_run(image, HalfBackbone(plain) if half else plain, prior)
            judge = (lambda x: prior(rounded(x))) if half else prior
            found.update((precision, *fault) for fault in alarms(parts, judge, picture))
    text = table(found, len(images), [path.name for path in options.pictures])
    print(text)
    if options.write:
        options.write.write_text(text, encoding="utf-8")


def table(found: Counter[tuple[str, str, float]], count: int, names: list[str]) -> str:
    """The alarms, a line a part and precision."""
    lines = [
        "# Alarms of the gradient self-check\n",
        f"{count} crops of {SIDE} px a side ({', '.join(KINDS)}) of {', '.join(names)}. Written by "
        "`python -m benchmarks.gradient_alarms`.\n",
        f"| part | computes in | {' | '.join(f'{share:.0%} detached' for share in SHARES)} |",
        "|---|---|" + len(SHARES) * "---|",
    ]
    for name in NAMES:
        for precision in PRECISIONS:
            row = [f"{found[precision, name, share]} of {count}" for share in SHARES]
            lines.append(f"| {name} | {precision} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
