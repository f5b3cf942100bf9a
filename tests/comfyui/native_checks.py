"""Checks of ComfyUI's own models as backbones, in numbers."""

import weakref
from functools import partial

import native_models
import torch
from latent_map.edict.gradients import vector_jacobian, with_graph
from latent_map.map_estimation.gradient_check import check_map
from latent_map.nodes import (
    edict_invert,
    edict_reconstruct,
    fidelity_loss,
    iqa_prior,
    latent_map_optimizer,
    post_enhance,
)
from latent_map.nodes.native import backbone as native_backbone
from native_process import (
    STEPS,
    backbone,
    finite_differences,
    in_node,
    interrupted,
    ksampler,
    load,
    load_control,
    picture,
    run_node,
    state,
)


def check_gradient(kind="sd15", cfg="1", control=""):
    tiny, net = load(kind), load_control() if control else None
    if control == "carried":  # by the CONDITIONING, with a picture of its own
        with torch.inference_mode():
            carried = net.set_cond_hint(1 - picture(), 0.7)
        tiny = tiny._replace(positive=[[c, {**d, "control": carried}] for c, d in tiny.positive])
    bound = backbone(tiny, float(cfg), net if control == "control" else None)
    found = in_node(lambda: finite_differences(bound))
    return found | {"hint_left": net is not None and net.cond_hint is not None}


def check_sampler(kind="sd15", control=""):
    """KSampler before, after a gradient, after an interrupted gradient: the same bits?"""
    tiny, net = load(kind), load_control() if control else None
    before = ksampler(tiny, control=net)
    bound = backbone(tiny, control=net)
    in_node(lambda: finite_differences(bound))
    after = ksampler(tiny, control=net)
    first = state(tiny, net)
    stopped = interrupted(bound)
    last = ksampler(tiny, control=net)
    found = state(tiny, net)
    again = in_node(lambda: finite_differences(bound))
    return {
        "std": float(before.std()),
        "after": torch.equal(before, after),
        "interrupted": stopped,
        "after_interrupt": torch.equal(before, last),
        "left": {k: int(first[k]) + int(found[k]) for k in found},
        "relative_error": again["relative_error"],
    }


def check_lora():
    """A patched model: the patch counts, and is gone afterwards to the last bit."""
    tiny = load("sd15")
    before = ksampler(tiny)
    key = "diffusion_model.middle_block.1.proj_in.weight"
    weight = tiny.model.model.state_dict()[key].clone()
    with torch.inference_mode():
        patched = tiny.model.clone()
        patched.add_patches({key: ("diff", (torch.ones_like(weight) * 0.05,))}, 1.0)
    outputs = []
    for model in (tiny.model, patched):
        bound = backbone(tiny._replace(model=model))
        outputs.append(in_node(lambda bound=bound: finite_differences(bound)))
    inside = float((tiny.model.model.state_dict()[key] - weight).abs().max())
    after = ksampler(tiny)
    return {
        "shift_inside": inside,
        "shift": float((tiny.model.model.state_dict()[key] - weight).abs().max()),
        "after": torch.equal(before, after),
        "slopes": [found["norm"] for found in outputs],
        "relative_error": max(found["relative_error"] for found in outputs),
        **state(tiny),
    }


def check_network(kind):
    """What the network is handed, and what the denoiser gives back, for arbitrary latents."""
    bound, seen = backbone(load(kind)), []

    def watch(module, given, output):
        seen.append((given[0].clone(), float(given[1][0]), output.clone()))

    def run():
        binding = bound.bind(picture())
        latent = binding.codec.encode(picture()).double()
        network = bound.patcher.model.diffusion_model
        errors = []
        for step in bound.schedule(4, "trailing").steps:
            for amplitude in (0.5, 1.0, 2.0):
                hook = network.register_forward_hook(watch)
                u = amplitude * (latent + 0.1)
                direction = binding.denoiser(u, step.label)
                hook.remove()
                given, time, output = seen[-1]
                label = step.label * 1000 if kind in ("sd3", "flux_1000") else step.label
                errors.append(
                    (
                        float((given - u).norm() / u.norm()),
                        abs(time - label),
                        float((direction - output).norm() / output.norm()),
                    )
                )
        names = ("input_error", "label_error", "output_error")
        return dict(zip(names, (max(column) for column in zip(*errors, strict=True)), strict=True))

    return in_node(run)


def check_half(precision):
    """A network in half precision: a gradient of 1e-8 against that of 1, and the self-check."""
    dtype, tiny = getattr(torch, precision), load("sd15")
    tiny.model.model.diffusion_model.to(dtype).dtype = dtype
    tiny.model.model.model_config.set_inference_dtype(dtype, None)

    def measured():
        denoiser, codec = backbone(tiny).bind(picture())
        latent = codec.encode(picture()).double()
        gradient = torch.randn(latent.shape, generator=torch.Generator().manual_seed(1))
        call = partial(denoiser, label=500.0)
        large, small = (vector_jacobian(*with_graph(call, latent), s * gradient) for s in (1, 1e-8))
        checks = [check_map(function, latent) for function in (call, codec.decode)]
        return {
            "precision": str(next(tiny.model.model.diffusion_model.parameters()).dtype),
            "lost": float((1e8 * small - large).norm() / large.norm()),
            "wrong": [check.wrong for check in checks],
            "apart": max(check.error for check in checks),
        }

    return in_node(measured)


def check_nodes(kind="sd15", control=""):
    """Every node of the pack that takes a backbone, each in a session of its own."""
    bound = backbone(load(kind), control=load_control() if control else None)
    image = picture(2).movedim(1, -1)
    (prior,) = run_node(iqa_prior.IqaPrior, name="pocket")
    (fidelity,) = run_node(
        fidelity_loss.FidelityLoss, name="low_resolution", scale=4, reduction="mse"
    )
    options = {"steps": STEPS, "mixing": 0.93, "own_mixing": True, "strength": 1.0}
    options |= {"spacing": "trailing", "order": "fixed"}
    (latents,) = run_node(edict_invert.EdictInvert, backbone=bound, image=image, **options)
    back, _ = run_node(edict_reconstruct.EdictReconstruct, latents=latents)
    options = {"iterations": 2, "optimizer": "adam", "learning_rate": 0.05, "momentum": 0.5}
    options |= {"lam": 0.01, "clip": 0.0, "patience": 0, "target_quality": 0.0}
    options |= {"memory": "store", "preview_every": 0, "check_gradient": True}
    best, traces, _ = run_node(
        latent_map_optimizer.LatentMapOptimizer,
        latents=latents,
        prior=prior,
        fidelity=fidelity,
        **options,
    )
    optimised, _ = run_node(edict_reconstruct.EdictReconstruct, latents=best)
    options = {"preset": "fast", "iterations": 1, "lam": 1.0, "strength": 1.0}
    enhanced, *_ = run_node(
        post_enhance.PostEnhance,
        image=image,
        backbone=bound,
        prior=prior,
        fidelity=fidelity,
        preview_every=0,
        **options,
    )

    def through_codec(item):
        codec = bound.bind(item).codec
        return codec.decode(codec.encode(item)).clamp(0, 1).movedim(1, -1)

    wanted = in_node(lambda: torch.cat([through_codec(item) for item in picture(2).split(1)]))
    return {
        "round_trip": float((back - wanted).abs().max()),
        "moved": float((optimised - back).abs().max()),
        "falls": [trace[-1].energy < trace[0].energy for trace in traces],
        "finite": bool(torch.isfinite(enhanced).all()),
        "shape": list(enhanced.shape),
    }


def check_batch(kind="sd15", control="control"):
    """How many bound networks, each with its picture and hints, there are at once in batches."""
    bound = backbone(load(kind), control=load_control() if control else None)
    (prior,) = run_node(iqa_prior.IqaPrior, name="pocket")
    alive, counts = weakref.WeakSet(), []

    class Counted(native_backbone.CuttableDenoiser):
        def __init__(self, *options):
            super().__init__(*options)
            alive.add(self)
            counts.append(len(alive))

    def most(length):
        counts.clear()
        options = {
            "preset": "fast",
            "override": False,
            "iterations": 1,
            "lam": 1.0,
            "strength": 1.0,
        }
        image = picture(length).movedim(1, -1)
        run_node(
            post_enhance.PostEnhance,
            image=image,
            backbone=bound,
            prior=prior,
            preview_every=0,
            check_gradient=False,
            **options,
        )
        return max(counts)

    original = native_backbone.CuttableDenoiser
    native_backbone.CuttableDenoiser = Counted
    try:
        found = {"one": most(1), "three": most(3)}
    finally:
        native_backbone.CuttableDenoiser = original
    return found | {"left": len(alive)}


def check_refusals():
    """What is said of models that cannot work."""
    return {name: refusal(make) for name, make in native_models.REFUSED.items()}


def refusal(make):
    try:
        bound = backbone(make(), cfg=1.0 if make is not native_models.unguided else 4.0)
        in_node(lambda: bound.bind(picture()).denoiser(torch.zeros(1, 4, 8, 8), 999))
    except ValueError as error:
        return str(error)
    return "worked"
