"""Checks of ComfyUI's own models whose calls are replayed; the capture is simulated on the CPU."""

import logging
from dataclasses import replace
from functools import partial

import comfy.model_management as mm
import torch
from fake_cuda import FakeCuda, forbidden
from latent_map.edict.backbones.graphed import GraphedDenoiser
from latent_map.edict.inversion import invert_picture
from latent_map.nodes.native import backbone as native_backbone
from latent_map.nodes.native.conditioning import controls_of
from latent_map.nodes.native.graphs import graphed, reasons
from native_process import (
    OPTIONS,
    backbone,
    changed,
    energy_and_gradient,
    in_node,
    ksampler,
    load,
    load_control,
    picture,
    state,
)
from native_tiling import OPTIONS as TILED
from native_tiling import carrying, wide
from simulated_capture import SimulatedCapture


class Warnings(logging.Handler):
    """What was warned of."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


def simulated(function, failing=""):
    """Run with the simulated capture in the place of CUDA's: (result, capture, warnings)."""
    capture, warned = SimulatedCapture(), Warnings()
    capture.failing = failing
    logging.getLogger("latent_map").addHandler(warned)
    native_backbone.graphed = partial(graphed, capture=capture)
    try:
        return in_node(function), capture, warned.texts
    finally:
        native_backbone.graphed = graphed
        logging.getLogger("latent_map").removeHandler(warned)


def both(tiny, cfg, net):
    """The backbone called plainly, and with graphs."""
    return (backbone(tiny, cfg, net, acceleration=name) for name in ("none", "graph"))


def noise_and_gradient(bound, image, options):
    latents = invert_picture(bound, image, options)
    return torch.cat([*latents.noise, *energy_and_gradient(latents)[1]])


def check_graphs(kind="sd15", cfg="1", control="", tiles=""):
    """Two pictures, one after the other: the plain call's bits, and no more captures for two."""
    tiny, net = load(kind), load_control() if control == "control" else None
    if control == "carried":
        tiny = carrying(tiny, 1 - picture())
    images = [wide(), 1 - wide()] if tiles else [picture(), 1 - picture()]
    options = TILED if tiles else OPTIONS
    before = ksampler(tiny, control=net)
    plain, replayed = both(tiny, float(cfg), net)

    def run(bound):
        return [noise_and_gradient(bound, image, options) for image in images]

    wanted = in_node(lambda: run(plain))
    found, capture, warned = simulated(lambda: run(replayed))
    again, _, _ = simulated(lambda: run(replayed))  # another node, on graphs of its own
    after = ksampler(tiny, control=net)
    return {
        "same": [torch.equal(*pair) for pair in zip(found, wanted, strict=True)],
        "again": [torch.equal(*pair) for pair in zip(again, wanted, strict=True)],
        "captures": capture.captures,
        "replays": capture.replays,
        "warned": warned,
        "after": torch.equal(before, after),
        "left": {name: int(value) for name, value in state(tiny, net).items()},
    }


def check_failing_graphs(when):
    """A capture or a replay that fails: one warning, and the plain call's bits."""
    tiny, net = load("sd15"), load_control()
    plain, replayed = both(tiny, 1.0, net)
    wanted = in_node(lambda: noise_and_gradient(plain, picture(), OPTIONS))
    found, _, warned = simulated(lambda: noise_and_gradient(replayed, picture(), OPTIONS), when)
    return {"same": torch.equal(found, wanted), "warned": warned}


def check_no_graphs():
    """What is said where calls cannot be captured, and that the run goes on plainly."""
    found = {}
    for name, tiny, net in cannot_be_captured():
        plain, replayed = both(tiny, 1.0, net)
        wanted = in_node(lambda bound=plain: noise_and_gradient(bound, picture(), OPTIONS))
        result, capture, warned = simulated(
            lambda bound=replayed: noise_and_gradient(bound, picture(), OPTIONS)
        )
        found[name] = {
            "same": torch.equal(result, wanted),
            "captures": capture.captures,
            "warned": warned,
        }
    here, _ = both(load("sd15"), 1.0, None)
    here.acceleration = "graph"
    warned = Warnings()
    logging.getLogger("latent_map").addHandler(warned)
    in_node(lambda: noise_and_gradient(here, picture(), OPTIONS))
    logging.getLogger("latent_map").removeHandler(warned)
    return found | {"cpu": warned.texts, "elsewhere": in_node(reasons_elsewhere)}


def reasons_elsewhere():
    """Why the calls of a model that is offloaded cannot be captured."""
    plain, _ = both(load("sd15"), 1.0, None)
    call = plain.bind(picture()).denoiser.call()
    return list(reasons(replace(call, device=torch.device("cuda")), [plain.patcher], True))


def cannot_be_captured():
    """Names, models and ControlNets that must not be captured."""
    yield "flux", load("flux"), None
    with torch.inference_mode():
        wrapped, patched, held, early = (load("sd15") for _ in range(4))
        wrapped = wrapped._replace(model=wrapped.model.clone())
        wrapped.model.set_model_unet_function_wrapper(
            lambda run, given: run(given["input"], given["timestep"], **given["c"])
        )
        patched = patched._replace(model=patched.model.clone())
        patched.model.set_model_attn1_patch(lambda q, k, v, _: (q, k, v))
        ((tokens, options),) = held.positive
        held = held._replace(positive=[[tokens, {**options, "start_percent": 0.0}]])
        hint = load_control().set_cond_hint(picture(), 1.0, (0.0, 0.5))
        ((tokens, options),) = early.positive
        early = early._replace(positive=[[tokens, {**options, "control": hint}]])
    yield "wrapper", wrapped, None
    yield "patch", patched, None
    yield "start_percent", held, None
    yield "half control", early, None


def check_capturable(kind="sd15", cfg="1", control=""):
    """What a capture of the model's call would forbid, as fake CUDA tensors see it.

    A "ranged" control looks at the noise level in each call, as ComfyUI leaves it.
    """
    tiny, net = load(kind), load_control() if control else None
    device = FakeCuda()

    def walk():
        bound = backbone(tiny, float(cfg), net, acceleration="graph")
        plain = bound.bind(picture()).denoiser
        call = plain.call()
        if isinstance(call, GraphedDenoiser):
            call = call.inner
        on_device = replace(
            call.holding({name: device.tensor(each) for name, each in call.bound().items()}),
            inner=device.moved(call.inner),
            device=torch.device("cuda"),
            sampling=replace(call.sampling, sigmas=device.tensor(call.sampling.sigmas)),
        )
        for part in controls_of(on_device.conds):
            part.control_model = device.moved(part.control_model)
            part.load_device = torch.device("cuda")
            part.timestep_range = (1e9, 0.0) if control == "ranged" else part.timestep_range
        latent = device.tensor(torch.zeros(plain.shape, dtype=torch.float64))
        label = device.tensor(torch.zeros(1))
        # It asks the driver, for whom a device must be there.
        with changed(mm, "get_free_memory", lambda *_: 1e12), device.entered():
            return forbidden(lambda: on_device(latent, label))

    found, _, warned = simulated(walk)
    return {"forbidden": [list(each) for each in found], "warned": warned}
