"""Checks of native models on tiles, in numbers."""

from dataclasses import replace

import torch
from autograd_thread import gradients_in_another_thread
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.tiling.codec import TiledCodec
from latent_map.edict.tiling.tiles import TiledDenoiser
from latent_map.map_estimation.work import Work
from latent_map.nodes.inverted_picture import PackedPicture
from latent_map.nodes.session import Progress
from native_process import (
    backbone,
    difference,
    energy_and_gradient,
    in_node,
    ksampler,
    load,
    load_control,
    picture,
    state,
)

TILE = 128  # pixels
OPTIONS = InversionOptions(2, tile=TILE, bijection=EdictOptions(0.93))
HEIGHT, WIDTH = 128, 192
PART = (0, 64, 128, 128)  # top, left, height, width


def wide():
    return torch.nn.functional.interpolate(picture(), (HEIGHT, WIDTH), mode="bicubic").clamp(0, 1)


def carrying(tiny, hint):
    with torch.inference_mode():
        net = load_control().set_cond_hint(hint, 0.7)
    conds = [[[c, {**d, "control": net}] for c, d in given] for given in tiny[2:]]
    return tiny._replace(positive=conds[0], negative=conds[1])


def check_tiles(kind="sd15", cfg="1", control="", memory="store"):
    """Inverted in one node's session, differentiated in another's; an ordinary sampler after."""
    tiny, net = load(kind), load_control() if control == "control" else None
    before = ksampler(tiny)
    if control == "carried":
        tiny = carrying(tiny, 1 - wide())
    bound = backbone(tiny, float(cfg), net)

    def invert():
        progress = Progress(Work(1000))
        latents = invert_picture(progress.watch(bound), wide(), OPTIONS)
        whole = invert_picture(bound, wide(), replace(OPTIONS, tile=None))
        return PackedPicture.pack(latents, bound), whole, progress.done

    def differentiate():
        opened = latents.unpack(torch.device("cpu"), Progress(Work(1000)).watch(bound))
        with torch.no_grad():
            latent = whole.bound.codec.encode(wide())  # what the norms were frozen on
            pictures = [one.bound.codec.decode(latent) for one in (opened, whole)]
            error = round_trip_error(opened)
        energy, gradient = energy_and_gradient(opened, memory)
        norm = float(sum((g**2).sum() for g in gradient)) ** 0.5
        found = difference(opened, [g / norm for g in gradient], 1e-4 * energy / norm)
        return {
            "tiled": [
                isinstance(opened.bound.bijection.denoiser, TiledDenoiser),
                isinstance(opened.bound.codec, TiledCodec),
            ],
            "round_trip": error,
            "norm": norm,
            "relative_error": abs(found - norm) / abs(found),
            "decoder": float((pictures[0] - pictures[1]).norm() / pictures[1].norm()),
        }

    latents, whole, calls = in_node(invert)
    with gradients_in_another_thread():  # as on a GPU, where nothing of the node's context is there
        found = in_node(differentiate)
    after = ksampler(load(kind)._replace(model=tiny.model, vae=tiny.vae))
    return found | {
        "counted": calls,
        "from_whole": float((latents.noise.x - whole.noise.x).norm() / whole.noise.x.norm()),
        "after": torch.equal(before, after),
        "left": {name: int(value) for name, value in state(tiny, net).items()},
    }


def outputs_differ(tiny, control, whole_hint, part_hint, sizes=None):
    """A window's output against that of a model bound to the part's own picture."""
    top, left, height, width = PART
    image = wide()
    part = image[..., top : top + height, left : left + width]
    here, there = (carrying(tiny, h) if h is not None else tiny for h in (whole_hint, part_hint))
    if sizes:
        there = there._replace(positive=[[c, {**d, **sizes}] for c, d in there.positive])
    net = load_control() if control else None

    def run():
        latent = torch.randn((1, 4, height // 8, width // 8), generator=torch.manual_seed(3))
        window = backbone(here, control=net).bind(image).denoiser.window(*PART)
        own = backbone(there, control=net).bind(part).denoiser
        blind = backbone(there).bind(part).denoiser
        with torch.no_grad():
            found, wanted, other = (f(latent.double(), 499) for f in (window, own, blind))
        return {
            "error": float((found - wanted).norm() / wanted.norm()),
            "effect": float((other - wanted).norm() / wanted.norm()),
        }

    return in_node(run)


def check_windows():
    """Own and carried hints are cut, the latter at another scale; SDXL's sizes are the whole's."""
    top, left, height, width = PART
    small = (1 - wide())[..., ::2, ::2]
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    cut = large[..., top : top + height, left : left + width]
    sizes = {"width": WIDTH, "height": HEIGHT}
    sdxl = load("sdxl")
    return {
        "control": outputs_differ(load("sd15"), True, None, None),
        "carried": outputs_differ(load("sd15"), False, small, cut),
        "uncut": outputs_differ(load("sd15"), False, small, small),
        "sizes": outputs_differ(sdxl, False, None, None, sizes),
        "part_sizes": outputs_differ(sdxl, False, None, None),
    }


def check_no_tiles():
    """Conditionings that cannot be cut: what is said, and that a tile is refused."""
    tiny = load("sd15")
    ((tokens, options),) = tiny.positive
    area = tiny._replace(positive=[[tokens, {**options, "area": (4, 4, 0, 0), "strength": 1.0}]])
    found = {}
    for name, given in {"area": area, "plain": tiny}.items():
        bound = backbone(given)
        try:
            in_node(lambda bound=bound: invert_picture(bound, wide(), OPTIONS))
            found[name] = "worked"
        except ValueError as error:
            found[name] = str(error)
    return found
