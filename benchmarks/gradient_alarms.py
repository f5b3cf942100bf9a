"""How often the gradient self-check warns wrongly, and how many planted faults it misses.

    python -m benchmarks.gradient_alarms docs/sample.png --write FILE.md

Fifty crops of a photograph: as they are, with hard contrast (pure black and white), cut out on
white, and nearly all black. Half precision is simulated: what the network says is rounded to
bfloat16. Faults are planted as careless wrappers have them: the network's output is detached, or a
part of the network's, the decoder's or the judge's.
"""

import argparse
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.protocols import Backbone, Binding
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.pictures import read_picture
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.prior import QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.result import Cancel
from latent_map.map_estimation.settings import preset
from torch import Tensor

PICTURES, SIDE, SEED = 50, 48, 0
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


class Wrapped:
    """A backbone of which one part is wrapped."""

    def __init__(self, backbone: Backbone, part: str, wrap: Callable[[Tensor], Tensor]):
        self.backbone, self.part, self.wrap = backbone, part, wrap

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backbone, name)

    def bind(self, image: Tensor) -> Binding:
        """With the network's or the decoder's output wrapped."""
        binding = self.backbone.bind(image)
        if self.part == "network":
            whole = binding.denoiser
            return binding._replace(denoiser=lambda z, label: self.wrap(whole(z, label)))
        return binding._replace(codec=_Decoder(binding.codec, self.wrap))


class _Decoder:
    def __init__(self, codec: Any, wrap: Callable[[Tensor], Tensor]):
        self.codec, self.wrap = codec, wrap

    def __getattr__(self, name: str) -> Any:
        return getattr(self.codec, name)

    def decode(self, latents: Tensor) -> Tensor:
        return self.wrap(self.codec.decode(latents))


def half(output: Tensor) -> Tensor:
    """Rounded to bfloat16."""
    return output.bfloat16().to(output)


def cut(output: Tensor) -> Tensor:
    """The same, of whose gradient three tenths are lost."""
    return 0.7 * output + 0.3 * output.detach()


def lost(output: Tensor) -> Tensor:
    """The same, of whose gradient next to nothing is left; without any the run is refused."""
    return 0.01 * output + 0.99 * output.detach()


class Warnings(logging.Handler):
    """Counts warnings of the self-check."""

    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """One more."""
        self.count += record.levelno >= logging.WARNING and "gradient check" in record.getMessage()


def pictures(path: Path, count: int) -> list[tuple[str, Tensor]]:
    """Crops of a picture by turns of the kinds."""
    whole = read_picture(path).pixels
    generator = torch.Generator().manual_seed(SEED)
    chosen = []
    for number in range(count):
        top, left = (
            int(torch.randint(side - SIDE + 1, (), generator=generator))
            for side in whole.shape[-2:]
        )
        kind = list(KINDS)[number % len(KINDS)]
        crop = whole[..., top : top + SIDE, left : left + SIDE].contiguous()
        chosen.append((kind, KINDS[kind](crop)))
    return chosen


def alarms(images: list[tuple[str, Tensor]], backbone: Any, prior: Any) -> int:
    """How many of the pictures are warned of."""
    settings = preset("fast")
    fidelity, handler, count = load_fidelity("low_resolution"), Warnings(), 0
    logger = logging.getLogger("latent_map")
    logger.addHandler(handler)

    def stop(_: Any) -> None:
        raise Cancel  # the check is made before the first step is told

    for _, image in images:
        handler.count = 0
        enhance(image, backbone, prior, fidelity, settings, stop)
        count += handler.count > 0
    logger.removeHandler(handler)
    return count


def main() -> None:
    """Count, and print or write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    images = pictures(options.picture, options.pictures)
    plain, prior = load_backbone("pocket"), load_prior("pocket")
    if not isinstance(prior, QualityPrior):
        raise TypeError("the embedded prior is a single one")
    judge = QualityPrior("cut", lambda image: cut(prior.metric(image)), prior.logistic)
    rows = [
        ("none", "float32", plain, prior),
        ("none", "bfloat16 (simulated)", Wrapped(plain, "network", half), prior),
        ("network, all but detached", "float32", Wrapped(plain, "network", lost), prior),
        ("network, 3/10 detached", "float32", Wrapped(plain, "network", cut), prior),
        ("decoder, 3/10 detached", "float32", Wrapped(plain, "decoder", cut), prior),
        ("judge, 3/10 detached", "float32", plain, judge),
    ]
    lines = [
        "# Alarms of the gradient self-check\n",
        f"{len(images)} pictures of {SIDE} px a side ({', '.join(KINDS)}). Written by "
        "`python -m benchmarks.gradient_alarms`.\n",
        "| planted fault | network | alarms |",
        "|---|---|---|",
    ]
    for fault, precision, backbone, judged_by in rows:
        count = alarms(images, backbone, judged_by)
        lines.append(f"| {fault} | {precision} | {count} of {len(images)} |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if options.write:
        options.write.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
