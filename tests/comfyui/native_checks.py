"""Checks of ComfyUI's own models as backbones, inside one ComfyUI process without a server.

    COMFYUI_PATH=~/ComfyUI python tests/comfyui/native_checks.py CHECK ...

Each check prints one JSON line of measured numbers, which tests/test_comfyui_native.py judges.
Nodes run in inference mode here, as ComfyUI runs them.
"""

import importlib.util
import json
import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()),
    str(Path(__file__).parent),
]
arguments, sys.argv[1:] = sys.argv[1:], []
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import torch  # noqa: E402

SPEC = importlib.util.spec_from_file_location(
    "latent_map", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
)
sys.modules["latent_map"] = importlib.util.module_from_spec(SPEC)
import comfy.sample  # noqa: E402
import native_models  # noqa: E402
from latent_map.edict.inversion import (  # noqa: E402
    InversionOptions,
    invert_picture,
    round_trip_error,
)
from latent_map.edict.tape import Tape  # noqa: E402
from latent_map.edict.transform import LatentPair, pull_back, reconstruct  # noqa: E402
from latent_map.nodes import backbone_from_model, session  # noqa: E402

SIDE = 64  # pixels: latents of 8 x 8
STEPS = 3


def in_node(function):
    """Run as ComfyUI runs a node of the pack: inference mode outside, our session inside."""
    with torch.inference_mode():
        return session.outside_inference_mode(lambda cls: function())(None)


def picture(batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand((batch, 3, 8, 8), generator=generator)
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bilinear") * 0.8 + 0.1


def backbone(tiny, cfg=1.0, control=None, strength=1.0):
    """Through the node."""
    with torch.inference_mode():
        output = backbone_from_model.BackboneFromModel.execute(
            model=tiny.model,
            vae=tiny.vae,
            positive=tiny.positive,
            cfg=cfg,
            strength=strength,
            negative=tiny.negative if cfg != 1 else None,
            control_net=control,
        )
    return output.result[0]


def load(kind: str):
    with torch.inference_mode():  # as loader nodes run
        return native_models.KINDS[kind]()


def energy_of(latents, pair):
    """A smooth score of both decoded pictures."""
    images = latents.codec.decode(torch.cat(pair))
    return ((images - 0.5) ** 2).mean().double() + (images.diff(dim=-1) ** 2).mean().double()


def energy_and_gradient(latents, memory="recompute"):
    tape = Tape(latents.bijection.calls, memory)
    pair = reconstruct(latents.bijection, latents.pair, tape)
    leaves = LatentPair(*(z.detach().requires_grad_(True) for z in pair))
    with torch.enable_grad():
        energy = energy_of(latents, leaves)
    gradient = LatentPair(*torch.autograd.grad(energy, leaves))
    return float(energy), pull_back(latents.bijection, tape, gradient)


def difference(latents, direction, size):
    """Central finite difference of the energy along a direction of unit norm."""
    values = []
    for sign in (1, -1):
        moved = LatentPair(
            *(z + sign * size * d for z, d in zip(latents.pair, direction, strict=True))
        )
        values.append(float(energy_of(latents, reconstruct(latents.bijection, moved))))
    return (values[0] - values[1]) / (2 * size)


def finite_differences(bound, change=1e-4):
    """Along the gradient, by a step that changes the energy by about `change` of itself."""
    latents = invert_picture(bound, picture(), InversionOptions(STEPS, 0.93))
    energy, gradient = energy_and_gradient(latents)
    norm = float(sum((g**2).sum() for g in gradient)) ** 0.5
    unit = [g / norm for g in gradient]
    found = difference(latents, unit, change * energy / norm)
    return {
        "round_trip": round_trip_error(latents),
        "norm": norm,
        "difference": found,
        "relative_error": abs(found - norm) / abs(found),
    }


def check_gradient(kind="sd15", cfg="1", control=""):
    tiny = load(kind)
    net = None
    if control:
        with torch.inference_mode():
            net = native_models.control_net()
    bound = backbone(tiny, float(cfg), net)
    return in_node(lambda: finite_differences(bound))


if __name__ == "__main__":
    for argument in arguments:
        name, *options = argument.split(":")
        print(json.dumps({"check": argument, **globals()[f"check_{name}"](*options)}), flush=True)
