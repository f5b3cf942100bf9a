"""Interrupted runs on ComfyUI's own models: gone on from on purpose, on the same and on others."""

import tempfile

import comfy.model_management as mm
import folder_paths
import native_models
import torch
from latent_map.nodes import kept_runs, post_enhance, session
from native_process import backbone, changed, load, load_control, picture, run_node

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


def interrupt(tiny, at=2):
    """Interrupt a run after so many iterates; its state."""
    step = session.Progress.step

    def stopping(self, given):
        step(self, given)
        if given.row.iteration == at:
            mm.interrupt_current_processing(True)
            mm.throw_exception_if_processing_interrupted()

    with changed(session.Progress, "step", stopping):
        try:
            enhanced(tiny)
        except mm.InterruptProcessingException:
            (state,) = kept_runs.states_folder().glob("*.state")
            return state
    raise RuntimeError("the run was not interrupted")


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
        state = interrupt(patched(load("sd15")))
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
