"""A ComfyUI process without a server, on the CPU, with this pack in it.

Importing this sets up the process: never from pytest's own. Nodes run in inference mode here, as
ComfyUI runs them.
"""

import importlib.util
import os
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()),
    str(Path(__file__).parent),
    str(Path(__file__).parents[1]),
]
sys.argv[1:] = []  # ComfyUI reads them
import comfy.cli_args  # noqa: E402

comfy.cli_args.args.cpu = True
import torch  # noqa: E402

SPEC = importlib.util.spec_from_file_location(
    "latent_map", REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
)
sys.modules["latent_map"] = importlib.util.module_from_spec(SPEC)
import comfy.ldm.modules.attention as attention  # noqa: E402, PLR0402
import comfy.model_management as mm  # noqa: E402
import comfy.sample  # noqa: E402
import native_models  # noqa: E402
from latent_map.edict.bijections.bijection import LatentPair  # noqa: E402
from latent_map.edict.bijections.edict import EdictOptions  # noqa: E402
from latent_map.edict.inversion import invert_picture, round_trip_error  # noqa: E402
from latent_map.edict.inversion_options import InversionOptions  # noqa: E402
from latent_map.edict.tape import Tape  # noqa: E402
from latent_map.nodes import backbone_from_model, session  # noqa: E402
from latent_map.nodes.native import session as native_session  # noqa: E402

SIDE = 64  # pixels: latents of 8 x 8
STEPS = 3
OPTIONS = InversionOptions(STEPS, bijection=EdictOptions(0.93))


def in_node(function):
    """Run as ComfyUI runs a node of the pack: inference mode outside, our session inside."""
    with torch.inference_mode():
        return session.outside_inference_mode(lambda cls: function())(None)


def picture(batch: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    coarse = torch.rand((batch, 3, 8, 8), generator=generator)
    return torch.nn.functional.interpolate(coarse, SIDE, mode="bilinear") * 0.8 + 0.1


def backbone(tiny, cfg=1.0, control=None, strength=1.0, acceleration="none"):
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
            acceleration=acceleration,
        )
    return output.result[0]


def load(kind: str):
    with torch.inference_mode():  # as loader nodes run
        return native_models.KINDS[kind]()


def load_control():
    with torch.inference_mode():
        return native_models.control_net()


def run_node(node, **inputs):
    """As ComfyUI runs it; the outputs."""
    node.hidden = SimpleNamespace(prompt={}, unique_id=None)  # as the server sets it
    with torch.inference_mode():
        return node.execute(**inputs).result


def energy_of(latents, pair):
    """A smooth score of both decoded pictures."""
    images = latents.bound.codec.decode(torch.cat(pair))
    return ((images - 0.5) ** 2).mean().double() + (images.diff(dim=-1) ** 2).mean().double()


def energy_and_gradient(latents, memory="recompute"):
    tape = Tape(latents.bound.bijection.calls, memory)
    pair = latents.bound.bijection.reconstruct(latents.noise, tape)
    leaves = LatentPair(*(z.detach().requires_grad_(True) for z in pair))
    with torch.enable_grad():
        energy = energy_of(latents, leaves)
    gradient = LatentPair(*torch.autograd.grad(energy, leaves))
    return float(energy), latents.bound.bijection.pull_back(tape, gradient)


def difference(latents, direction, size):
    """Central finite difference of the energy along a direction of unit norm."""
    values = []
    for sign in (1, -1):
        moved = LatentPair(
            *(z + sign * size * d for z, d in zip(latents.noise, direction, strict=True))
        )
        values.append(float(energy_of(latents, latents.bound.bijection.reconstruct(moved))))
    return (values[0] - values[1]) / (2 * size)


def finite_differences(bound, change=1e-4):
    """Along the gradient, by a step that changes the energy by about `change` of itself."""
    latents = invert_picture(bound, picture(), OPTIONS)
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


def ksampler(tiny, seed=5, control=None):
    """ComfyUI's own sampling, as its KSampler node does it."""
    with torch.inference_mode():
        channels = tiny.model.model.latent_format.latent_channels
        noise = torch.randn((1, channels, 8, 8), generator=torch.manual_seed(seed))
        positive = tiny.positive
        if control is not None:
            hint = control.copy().set_cond_hint(picture())
            positive = [[tokens, {**options, "control": hint}] for tokens, options in positive]
        return comfy.sample.sample(
            tiny.model,
            noise,
            2,
            4.0,
            "euler",
            "normal",
            positive,
            tiny.negative,
            torch.zeros_like(noise),
        )


def state(tiny, control=None):
    """What a session might have left behind; everything is expected to be 0 or False."""
    modules = [tiny.model.model, tiny.vae.first_stage_model]
    modules += [control.control_model] if control is not None else []
    weights = [p for module in modules for p in module.parameters()]
    return {
        "requiring_grad": sum(p.requires_grad for p in weights),
        "with_grad": sum(p.grad is not None for p in weights),
        "patcher_left": tiny.model.model.current_patcher is not None,
        "hint_left": control is not None and control.cond_hint is not None,
        "attention_left": attention.optimized_attention is not CORE_ATTENTION,
        "in_training": getattr(mm, "in_training", False),
        "session_left": native_session._current.get() is not None or bool(native_session._open),
        "mode_left": torch.is_inference_mode_enabled(),
    }


CORE_ATTENTION = attention.optimized_attention


class Interrupting:
    """A denoiser whose call number `at` finds that the user has interrupted."""

    def __init__(self, denoiser, at):
        self.denoiser, self.left = denoiser, at

    def __call__(self, latent, label):
        self.left -= 1
        if self.left == 0:
            mm.interrupt_current_processing(True)
            mm.throw_exception_if_processing_interrupted()
        return self.denoiser(latent, label)


def interrupted(bound):
    """A gradient that is interrupted inside its backward pass; whether that came through."""

    def run():
        latents = invert_picture(bound, picture(), OPTIONS)
        stopping = Interrupting(latents.bound.bijection.denoiser, 2 * STEPS + 3)
        bijection = replace(latents.bound.bijection, denoiser=stopping)
        stopped = replace(latents.bound, bijection=bijection)
        energy_and_gradient(replace(latents, bound=stopped))

    try:
        in_node(run)
    except mm.InterruptProcessingException:
        return True
    return False


@contextmanager
def changed(owner, name, value):
    """An attribute with another value for a while."""
    old = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, old)
