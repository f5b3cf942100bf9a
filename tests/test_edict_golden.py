import json
from pathlib import Path

import pytest
import torch
from latent_map.edict.bijections.bijection import LatentPair
from latent_map.edict.bijections.edict import Edict
from latent_map.edict.schedule import scaled_linear_alphas, vp_schedule
from latent_map.edict.tape import Tape
from safetensors.torch import load_file

DATA = Path(__file__).parent / "data" / "edict_golden"
CASES = ("cfg3_T4", "paper_T20")
MEMORIES = ("store", "recompute", "auto")

LATENTS = 1e-10  # two float64 programs; un-mixing grows rounding 1e3 times, 1e-14 measured
GRADIENT = 1e-9  # the same rounding through twice as many operations
MODES = 1e-12  # the modes do the same arithmetic
ORDERS_APART = 0.1  # the two orders differ by 20-25 %: a mixed-up order cannot pass


@pytest.fixture(scope="module")
def golden():
    return load_file(DATA / "edict_golden.safetensors")


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel(**json.loads((DATA / "tiny_unet_config.json").read_text()))
    network.load_state_dict(load_file(DATA / "tiny_unet_fp32.safetensors"))
    return network.double().eval().requires_grad_(False)


@pytest.fixture(params=CASES)
def case(request, golden, unet):
    """(tensor by name, bijection by order) of one golden case."""
    meta = json.loads((DATA / "meta.json").read_text())[request.param]

    def denoiser(latent, label):
        conditional = unet(latent, label, golden["emb_cond"], return_dict=False)[0]
        if meta["guidance"] == 1:
            return conditional
        unconditional = unet(latent, label, golden["emb_uncond"], return_dict=False)[0]
        return unconditional + meta["guidance"] * (conditional - unconditional)

    schedule = vp_schedule(scaled_linear_alphas(), meta["T"], "eps", "leading")

    def bijection(order):
        return Edict(denoiser, schedule, meta["p"], order)

    return (lambda name: golden.get(name, golden.get(f"{request.param}.{name}"))), bijection


def error(ours, theirs):
    """Relative L2 distance; the larger one for pairs."""
    if not torch.is_tensor(ours):
        return max(error(a, b) for a, b in zip(ours, theirs, strict=True))
    return float((ours - theirs).norm() / theirs.norm())


def pair(tensor, suffix=""):
    return LatentPair(tensor(f"xT{suffix}"), tensor(f"yT{suffix}"))


def test_leading_schedule_has_edicts_labels_and_levels(case):
    tensor, bijection = case
    steps = bijection("alternate").schedule.steps
    assert [step.label for step in steps] == tensor("timesteps").tolist()
    levels = tensor("alphas").flip(0)
    ratios = torch.tensor([step.a for step in steps], dtype=torch.float64)
    assert error(ratios, (levels[1:] / levels[:-1]).sqrt()) < LATENTS


@pytest.mark.parametrize(("order", "suffix"), [("alternate", ""), ("fixed", "_fixed_order")])
def test_inversion_equals_edicts(case, order, suffix):
    tensor, bijection = case
    ours = bijection(order).invert(LatentPair(tensor("x0"), tensor("x0")))
    assert error(ours, pair(tensor, suffix)) < LATENTS


def test_the_two_orders_are_told_apart(case):
    tensor, _ = case
    assert error(pair(tensor), pair(tensor, "_fixed_order")) > ORDERS_APART


def test_reconstruction_equals_edicts(case):
    tensor, bijection = case
    ours = bijection("alternate").reconstruct(pair(tensor))
    assert error(ours, (tensor("rec_x"), tensor("rec_y"))) < LATENTS


def test_fixed_order_reconstructs_the_picture(case):
    tensor, bijection = case
    ours = bijection("fixed").reconstruct(pair(tensor, "_fixed_order"))
    assert error(ours, (tensor("x0"), tensor("x0"))) < LATENTS


def test_gradient_equals_autograd_through_edict_in_all_memory_modes(case):
    tensor, bijection = case
    perturbed = LatentPair(tensor("pert_x"), tensor("pert_y"))
    x0, ramp = tensor("x0"), torch.linspace(-1, 1, 1024, dtype=torch.float64).reshape(1, 4, 16, 16)
    gradients = []
    for memory in MEMORIES:
        tape = Tape(bijection("alternate").calls, memory)
        decoded = bijection("alternate").reconstruct(perturbed, tape)
        assert error(decoded, (tensor("dec_pert_x"), tensor("dec_pert_y"))) < LATENTS
        by_decoded = LatentPair(*((2 * (v - x0) - 0.01 * ramp) / (2 * v.numel()) for v in decoded))
        gradients.append(bijection("alternate").pull_back(tape, by_decoded))
        assert error(gradients[-1], (tensor("grad_x"), tensor("grad_y"))) < GRADIENT
    assert all(error(other, gradients[0]) < MODES for other in gradients[1:])
