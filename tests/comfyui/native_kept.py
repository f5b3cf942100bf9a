"""Interrupted runs on ComfyUI's own models: gone on from on purpose, on the same and on others."""

import tempfile

import comfy.model_management as mm
import folder_paths
import native_models
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
from latent_map.nodes import edict_invert, kept_runs, latent_map_optimizer, post_enhance, session
from native_process import STEPS, backbone, changed, load, load_control, picture, run_node

PATCHED = "diffusion_model.middle_block.1.proj_in.weight"
WIDGETS = {"preset": "fast", "override": True, "iterations": 3, "lam": 1.0, "strength": 1.0}
WIDGETS |= {"start": "input", "preview_every": 1, "check_gradient": False}


def patched(tiny, strength=1.0):
    """As a LoRA loader does it."""
    with torch.inference_mode():
        model = tiny.model.clone()
        shape = model.model.state_dict()[PATCHED].shape
        model.add_patches({PATCHED: ("diff", (torch.full(shape, 0.05),))}, strength)
    return tiny._replace(model=model)


def enhanced(tiny, state=None, cfg=1.0, control=None):
    """The pictures and the summary of Post-Enhance."""
    image = picture().movedim(1, -1)
    bound = backbone(tiny, cfg, control)
    made = run_node(post_enhance.PostEnhance, image=image, backbone=bound, state=state, **WIDGETS)
    return made[0], made[1].split("\n")


def optimised(tiny, state=None):
    """The best noise of the optimizer, after an inversion."""
    prior, fidelity = load_prior("pocket"), load_fidelity("low_resolution")
    inversion = {"steps": STEPS, "mixing": 0.93, "own_mixing": True, "strength": 1.0}
    inversion |= {"spacing": "trailing", "order": "fixed"}
    image = picture().movedim(1, -1)
    (latents,) = run_node(
        edict_invert.EdictInvert, backbone=backbone(tiny), image=image, **inversion
    )
    ascent = {"iterations": 3, "optimizer": "adam", "learning_rate": 0.05, "momentum": 0.5}
    ascent |= {"lam": 0.01, "clip": 0.1, "patience": 10, "target_quality": 0.9}
    ascent |= {"memory": "recompute", "preview_every": 1, "check_gradient": False}
    given = {"latents": latents, "prior": prior, "fidelity": fidelity, "state": state}
    (best,), *_ = run_node(latent_map_optimizer.LatentMapOptimizer, **given, **ascent)
    return best.noise


def interrupt(work, tiny, at=2):
    """Interrupt a run after so many iterates; its state."""
    step = session.Progress.step

    def stopping(self, given):
        step(self, given)
        if given.row.iteration == at:
            mm.interrupt_current_processing(True)
            mm.throw_exception_if_processing_interrupted()

    with changed(session.Progress, "step", stopping):
        try:
            work(tiny)
        except mm.InterruptProcessingException:
            (state,) = kept_runs.states_folder().glob("*.state")
            return state
    raise RuntimeError("the run was not interrupted")


def refusal(work, tiny, state):
    try:
        work(tiny, state)
    except ValueError as error:
        return str(error)
    return "went on"


def what_came(tiny, state, **options):
    try:
        return enhanced(tiny, state, **options)[1][1]
    except ValueError as error:
        return str(error)


def check_kept():
    """What is said where a state of a patched model is given on purpose."""
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        whole, _ = enhanced(patched(load("sd15")))
        state = interrupt(enhanced, patched(load("sd15")))
        again, (_, said, *_) = enhanced(patched(load("sd15")), state)
        same = load("sd15")
        with torch.inference_mode():
            other = native_models.sd15(seed=1)
            vae = native_models.tiny_kl(seed=5)
        return {
            "same_bits": torch.equal(again, whole),
            "same": said,
            "patch": what_came(same, state),
            "strength": what_came(patched(same, 0.5), state),
            "weights": what_came(patched(other), state),
            "vae": what_came(patched(same._replace(vae=vae)), state),
            "prompt": what_came(patched(same._replace(positive=same.negative)), state),
            "cfg": what_came(patched(same), state, cfg=2.0),
            "control": what_came(patched(same), state, control=load_control()),
            "same_again": what_came(patched(same), state),
        }


def check_kept_noise():
    """The same of the optimizer, whose noise tells the model."""
    with tempfile.TemporaryDirectory() as folder:
        folder_paths.set_output_directory(folder)
        whole = optimised(load("sd15"))
        state = interrupt(optimised, load("sd15"))
        again = optimised(load("sd15"), state)
        refused = refusal(optimised, patched(load("sd15")), state)
        left = len(list(kept_runs.states_folder().iterdir()))
        optimised(load("sd15"))  # goes on of itself
        return {
            "same_bits": all(torch.equal(*pair) for pair in zip(whole, again, strict=True)),
            "patch": refused,
            "left": [left, len(list(kept_runs.states_folder().iterdir()))],
        }
