import json
from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones.seesr_network import (
    ControlledUnet,
    build_controlnet,
    build_unet,
    refuse_seesr_weights,
    rename_keys,
)
from safetensors.torch import load_file

DATA = Path(__file__).parent / "data" / "seesr_golden"
BUILDERS = {"unet": build_unet, "controlnet": build_controlnet}
CASES = [(t, s) for t in (999, 501, 20) for s in (1.0, 0.6)]

# Two float32 programs, relative to the largest value. With the two threads that made the files all
# but the gradient are equal bit by bit; one thread adds up in another order.
GOLDEN = 1e-5
DROPPED = 0.5  # relative error without the image attention; 0.82 measured


def config_of(kind):
    return json.loads((DATA / f"{kind}_config.json").read_text())


def weights_of(kind):
    return {k: v.float() for k, v in load_file(DATA / f"tiny_{kind}.fp16.safetensors").items()}


@pytest.fixture(scope="module")
def golden():
    return load_file(DATA / "io.safetensors")


@pytest.fixture(scope="module")
def networks():
    parts = {}
    for kind, build in BUILDERS.items():
        parts[kind] = build(config_of(kind))
        parts[kind].load_state_dict(rename_keys(weights_of(kind)))
    return ControlledUnet(**parts).eval().requires_grad_(False)


def eps(networks, golden, t, strength, x=None, **changed):
    inputs = {"text": golden["txt"], "tokens": golden["img"], "control": golden["cond"]} | changed
    return networks(golden["x"] if x is None else x, t, strength=strength, **inputs)


def distance(ours, theirs):
    """Largest difference, relative to the largest value."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


def relative(ours, theirs):
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize(("t", "strength"), CASES)
def test_the_networks_compute_what_seesrs_own_compute(networks, golden, t, strength):
    wanted = golden[f"eps_t{t}_s{round(10 * strength):02d}"]
    ours = eps(networks, golden, t, strength)
    assert distance(ours, wanted) < GOLDEN
    assert float((ours - wanted).abs().max()) < GOLDEN


@pytest.mark.parametrize(("t", "strength"), CASES)
def test_the_controlnets_residuals_are_seesrs(networks, golden, t, strength):
    states = (golden["txt"], golden["img"])
    down, mid = networks.controlnet(
        golden["x"], t, states, golden["cond"], conditioning_scale=strength, return_dict=False
    )
    assert distance(mid, golden[f"mid_t{t}_s{round(10 * strength):02d}"]) < GOLDEN
    if (t, strength) == (501, 1.0):
        for index, residual in enumerate(down):
            assert distance(residual, golden[f"down{index}_t501_s10"]) < GOLDEN


def test_the_gradient_through_both_networks_is_seesrs(networks, golden):
    x = golden["x"].clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((eps(networks, golden, 501, 1.0, x) * golden["w"]).sum(), x)
    assert distance(gradient, golden["grad_x_t501_s10"]) < GOLDEN


def test_the_image_tokens_matter(networks, golden):
    silent = eps(networks, golden, 501, 1.0, tokens=torch.zeros_like(golden["img"]))
    assert relative(silent, golden["eps_t501_s10"]) > 1e-2


def test_stock_networks_drop_the_image_attention_silently_and_fail_the_golden_case(golden):
    from diffusers import ControlNetModel, UNet2DConditionModel

    stock = {}
    for kind, network_class in (("unet", UNet2DConditionModel), ("controlnet", ControlNetModel)):
        network = network_class.from_config(config_of(kind))
        lost = network.load_state_dict(weights_of(kind), strict=False)
        assert not lost.missing_keys
        assert lost.unexpected_keys
        assert all("image_attentions" in name for name in lost.unexpected_keys)
        stock[kind] = network.eval()
    x, cond, text = golden["x"], golden["cond"], golden["txt"]
    with torch.no_grad():
        down, mid = stock["controlnet"](x, 501, text, cond, return_dict=False)
        (ours,) = stock["unet"](
            x,
            501,
            text,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
            return_dict=False,
        )
    assert relative(ours, golden["eps_t501_s10"]) > DROPPED


@pytest.mark.parametrize("kind", BUILDERS)
def test_seesrs_weights_are_refused_for_stock_networks(kind):
    with pytest.raises(ValueError, match=r"seesr\.safetensors holds SeeSR.*seesr backbone"):
        refuse_seesr_weights(weights_of(kind), Path("seesr.safetensors"))
    stock = [name for name in weights_of(kind) if "image_attentions" not in name]
    refuse_seesr_weights(stock, Path("stock.safetensors"))


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_weight_has_its_place(kind):
    ours = BUILDERS[kind](config_of(kind)).state_dict()
    theirs = rename_keys(weights_of(kind))
    assert len(theirs) == len(weights_of(kind))
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize("kind", BUILDERS)
def test_a_stock_configuration_is_refused(kind):
    stock = {k: v for k, v in config_of(kind).items() if k != "use_image_cross_attention"}
    with pytest.raises(ValueError, match="use_image_cross_attention"):
        BUILDERS[kind](stock)
