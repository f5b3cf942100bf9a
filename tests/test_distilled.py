"""Checkpoints distilled to few steps, tiny and with random weights, through both loaders."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    EulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    TCDScheduler,
)
from latent_map.edict.backbones.stable_diffusion.distilled import guidance_embedding
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.settings import preset
from latent_map.map_estimation.work import work_of

from . import tiny_diffusers as tiny
from .tiny_pictures import IMAGE, load
from .toys import PRIOR

ROUND_TRIP = 1e-6  # float64 state; measured 3e-15
FINITE_DIFFERENCE = 0.01  # float32 network
SAME = 1e-6  # the same weights and operations
LCM = replace(tiny.SD15, told=16)
# As their publishers' scheduler_config.json has them.
TRAILING = {"timestep_spacing": "trailing"}
KINDS = {
    "sd_turbo": (tiny.SD2, {"_class_name": "EulerDiscreteScheduler", **TRAILING}),
    "sdxl_turbo": (tiny.SDXL, {"_class_name": "EulerAncestralDiscreteScheduler", **TRAILING}),
    "hyper": (tiny.SD15, {"_class_name": "DDIMScheduler", **TRAILING}),
    "lcm": (LCM, {"_class_name": "LCMScheduler", "original_inference_steps": 50}),
    "zero_snr": (tiny.SD2_V, {**TRAILING, "rescale_betas_zero_snr": True}),
}


@pytest.fixture(scope="module")
def distilled(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distilled")
    for name, (family, scheduler) in KINDS.items():
        tiny.write_folder(folder / name, family, **scheduler)
    vocabulary = len(json.loads((folder / "lcm" / "tokenizer" / "vocab.json").read_text()))
    tiny.write_single_file(folder / "lcm.safetensors", LCM, vocabulary)
    return folder


def loaded(folder, name, **options):
    return load(folder, name, **({"cfg": 8.5} if name.startswith("lcm") else {}), **options)


def few(steps, strength=1.0, spacing="trailing"):
    return InversionOptions(steps, spacing, strength, None, EdictOptions(mixing=0.93))


# Schedules


@pytest.mark.parametrize("scheduler", [LCMScheduler, TCDScheduler])
def test_a_consistency_model_takes_its_scheduler_s_labels(scheduler):
    theirs = scheduler()
    for steps in range(1, 51):
        theirs.set_timesteps(steps)
        ours = vp_schedule(scaled_linear_alphas(), steps, known=50)
        assert [step.label for step in ours.steps] == theirs.timesteps.tolist()


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_turbo_takes_its_scheduler_s_labels_which_are_the_trailing_ones(distilled, steps):
    theirs = EulerDiscreteScheduler(timestep_spacing="trailing")
    theirs.set_timesteps(steps)
    ours = loaded(distilled, "sd_turbo").schedule(steps)
    assert np.allclose([step.label for step in ours.steps], theirs.timesteps.numpy(), atol=0.5)


def test_both_loaders_find_a_consistency_model_s_labels(distilled):
    for name in ("lcm", "lcm.safetensors"):
        labels = [step.label for step in loaded(distilled, name).schedule(4).steps]
        assert labels == [999, 759, 499, 259]
    assert [step.label for step in loaded(distilled, "hyper").schedule(4).steps][1] == 749


@pytest.mark.parametrize(
    ("options", "words"),
    [(few(4, spacing="leading"), "spacing trailing"), (few(51), "from 1 to 50")],
)
def test_labels_that_a_consistency_model_does_not_know_are_refused(distilled, options, words):
    with pytest.raises(ValueError, match=words):
        bind_picture(loaded(distilled, "lcm"), IMAGE, options)


# Guidance


def test_the_guidance_is_told_as_diffusers_tells_it():
    theirs = LatentConsistencyModelPipeline.get_guidance_scale_embedding(
        None, torch.tensor([7.5]), embedding_dim=16
    )
    ours = guidance_embedding({"time_cond_proj_dim": 16}, 8.5)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_the_network_is_told_its_guidance_in_one_branch(distilled):
    latent = torch.randn((1, 4, 4, 4), generator=torch.Generator().manual_seed(1)).double()
    backbone = load(distilled, "lcm", cfg=8.5)
    denoiser = backbone.bind(IMAGE).denoiser
    expected = backbone.networks.unet(
        latent.float(),
        torch.tensor([499.0]),
        encoder_hidden_states=denoiser.text,
        timestep_cond=guidance_embedding({"time_cond_proj_dim": 16}, 8.5),
    ).sample
    found = denoiser(latent, 499.0)
    torch.testing.assert_close(found, expected, rtol=SAME, atol=SAME)
    other = load(distilled, "lcm", cfg=4.0).bind(IMAGE).denoiser(latent, 499.0)
    assert float((other - found).norm() / found.norm()) > 1e-3
    assert denoiser.branches == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [({}, "cfg 1 is none .*8.5 is usual"), ({"cfg": 8.5, "negative": "noise"}, "leave it out")],
)
@pytest.mark.parametrize("name", ["lcm", "lcm.safetensors"])
def test_guidance_that_it_was_not_distilled_for_is_refused(distilled, name, options, words):
    with pytest.raises(ValueError, match=words):
        load(distilled, name, **options)


def test_both_loaders_give_the_same_consistency_model(distilled):
    folder, single = (loaded(distilled, name) for name in ("lcm", "lcm.safetensors"))
    ours, theirs = (invert_picture(b, IMAGE, few(4)).noise.x for b in (folder, single))
    torch.testing.assert_close(ours, theirs, rtol=SAME, atol=SAME)
    assert all("consistency model" in backbone.name for backbone in (folder, single))


# The way through


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("steps", [2, 3, 4])
@pytest.mark.parametrize("name", KINDS)
def test_the_round_trip_in_few_steps_is_exact(distilled, name, steps, strength):
    options = few(steps, strength)
    assert round_trip_error(invert_picture(loaded(distilled, name), IMAGE, options)) < ROUND_TRIP


@pytest.mark.parametrize("name", KINDS)
def test_the_gradient_of_few_steps_is_that_of_a_finite_difference(distilled, name):
    """Half the way: where eps-prediction starts from pure noise, random networks are chaotic."""
    options = few(4, 0.5)
    inverted = invert_picture(loaded(distilled, name), IMAGE, options)
    bijection, pair = inverted.bound.bijection, inverted.noise
    weight = torch.randn(pair.x.shape, generator=torch.Generator().manual_seed(5)).double()
    tape = Tape(bijection.calls, "recompute")
    bijection.reconstruct(pair, tape)
    gradient = bijection.pull_back(tape, LatentPair(weight, torch.zeros_like(weight))).x
    step = 2e-4 * gradient / gradient.norm()

    def energy(x):
        with torch.no_grad():
            return float((bijection.reconstruct(LatentPair(x, pair.y)).x * weight).sum())

    slope = (energy(pair.x + step) - energy(pair.x - step)) / 4e-4
    assert abs(slope / float(gradient.norm()) - 1) < FINITE_DIFFERENCE


@pytest.mark.parametrize("name", ["sd_turbo", "lcm"])
def test_the_preset_enhances_and_makes_the_calls_that_are_planned(distilled, name):
    backbone = loaded(distilled, name)
    settings = replace(preset("turbo"), iterations=2)
    assert work_of(backbone, settings).reconstruction == 4
    (result,) = enhance(IMAGE, backbone, PRIOR, load_fidelity("mse"), settings)
    assert len(result.trace) == 3
    assert result.picture.shape == IMAGE.shape
