import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from latent_map.edict.bijections.bdia import BdiaOptions
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bijections.obelm import OBelmOptions
from latent_map.edict.protocols import Binding
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import CombinedPrior, QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.gradient_check import (
    LIMIT,
    NETWORK_CALLS,
    GradientCheck,
    check_judge,
    check_map,
    settle,
)
from latent_map.map_estimation.terms import Ingredients, terms_of
from latent_map.map_estimation.work import WatchedBackbone, work_of
from safetensors.torch import load_file

from .test_solver import FIDELITY, make_solver, settings
from .toys import PRIOR, ToyBackbone, fidelity, noise, picture

DATA = Path(__file__).parent / "data" / "edict_golden"
EXACT = 1e-9  # a linear map in float64
TENTH = 0.03  # a tenth that is lost is measured as 7 to 13 %


def cut(output, share):
    """The same, of whose gradient a share is lost."""
    return output + share * (output.detach() - output) if share else output


class CutBackbone(ToyBackbone):
    """One that an outside wrapper has detached a part of, without any error."""

    def __init__(self, network=0.0, decoder=0.0, dtype=torch.float64):
        super().__init__()
        self.network, self.decoder, self.dtype = network, decoder, dtype

    def bind(self, image):
        whole, codec = super().bind(image)

        def denoiser(latent, label):
            return cut(whole(latent, label).to(self.dtype).to(latent), self.network)

        decode, share = codec.decode, self.decoder
        codec.decode = lambda latent: cut(decode(latent), share)
        return Binding(denoiser, codec)


def warnings(caplog):
    return [r.getMessage() for r in caplog.records if "gradient check" in r.getMessage()]


def variance(image):
    return image.flatten(1).var(1)


def prior_of(metric):
    return QualityPrior("toy", metric, Logistic(0.2, 0.08))


def run(backbone=None, prior=PRIOR, image=None, fidelity=FIDELITY, **options):
    chosen = settings(1, check_gradient=True, **options)
    return make_solver(chosen, image, prior, fidelity, backbone).run()


# Whole runs


@pytest.mark.parametrize("memory", ["store", "recompute"])
@pytest.mark.parametrize("lam", [0.01, 10.0])
def test_a_right_gradient_passes(caplog, memory, lam):
    run(memory=memory, lam=lam)
    assert not warnings(caplog)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", [EdictOptions(0.93), BdiaOptions(), OBelmOptions()])
def test_every_bijection_passes_and_loses_a_tenth_in_any_precision(caplog, kind, dtype):
    image = picture(3, 24, 16)
    chosen = settings(1, check_gradient=True, check_round_trip=False)
    chosen = replace(chosen, inversion=replace(chosen.inversion, bijection=kind))
    enhance(image, CutBackbone(dtype=dtype), PRIOR, FIDELITY, chosen)
    assert not warnings(caplog)
    enhance(image, CutBackbone(network=0.1, dtype=dtype), PRIOR, FIDELITY, chosen)
    (warning,) = warnings(caplog)
    assert "network" in warning


# Without any gradient of the decoder there is none at all, which is an error.
@pytest.mark.parametrize(
    ("part", "share"),
    [("network", 0.1), ("network", 0.3), ("network", 1.0), ("decoder", 0.1), ("decoder", 0.9)],
)
def test_a_part_that_is_cut_is_found_and_named_once(caplog, part, share):
    backbone = CutBackbone(**{part: share})
    run(backbone)
    (warning,) = warnings(caplog)
    assert f"the gradient of the {part} is {100 * share:.0f} % away" in warning
    caplog.clear()
    make_solver(settings(1), backbone=backbone).run()
    assert not warnings(caplog)


@pytest.mark.parametrize("space", ["diffusion", "pixel"])
@pytest.mark.parametrize("share", [0.1, 1.0])
def test_a_prior_that_is_cut_is_found_in_either_space(caplog, space, share):
    prior = prior_of(lambda image: cut(variance(image), share))
    run(prior=prior, space=space)
    (warning,) = warnings(caplog)
    assert "the gradient of the prior" in warning
    assert "another prior" in warning


def test_the_network_is_not_asked_about_in_pixels(caplog):
    backbone = CutBackbone(network=1.0)
    run(backbone, space="pixel")
    assert not warnings(caplog)
    assert not backbone.calls


def test_the_check_changes_nothing_and_costs_eight_calls():
    results, calls, planned = [], [], []
    for check in (False, True):
        backbone, chosen = ToyBackbone(), settings(3, check_gradient=check)
        results.append(make_solver(chosen, backbone=backbone).run())
        calls.append(backbone.calls)
        planned.append(work_of(backbone, chosen).calls)
    assert results[0].trace == results[1].trace
    assert torch.equal(results[0].x, results[1].x)
    assert calls[1] - calls[0] == NETWORK_CALLS == planned[1] - planned[0]


def test_on_tiles_one_of_them_is_checked(caplog):
    calls = []
    backbone = WatchedBackbone(ToyWindows(), calls.append)
    chosen = settings(1, check_gradient=True)
    chosen = replace(chosen, inversion=replace(chosen.inversion, tile=8))
    solver = make_solver(chosen, backbone=backbone)
    variables = solver.space.start()
    latents = solver.space.synthesise(variables, with_gradient=False)
    before = sum(calls)
    solver._check_gradient(variables, latents)
    assert 0 < sum(calls) - before < NETWORK_CALLS / 4
    assert not warnings(caplog)


class ToyWindows(ToyBackbone):
    """One that can be cut; what belongs to places is left out."""

    def bind(self, image):
        whole, codec = super().bind(image)
        whole.condition = None
        whole.window = lambda *_: whole
        return Binding(whole, codec)


@pytest.mark.parametrize("shift", [-2.0, -0.5, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_black_and_white_pixels_are_no_alarm(caplog, shift, dtype):
    image = (4 * (picture() - 0.5) + 0.5 + shift).clamp(0, 1)
    assert ((image == 0) | (image == 1)).any()
    run(CutBackbone(dtype=dtype), image=image)
    assert not warnings(caplog)


# Maps


@pytest.fixture(scope="module")
def unet():
    from diffusers import UNet2DConditionModel

    network = UNet2DConditionModel(**json.loads((DATA / "tiny_unet_config.json").read_text()))
    network.load_state_dict(load_file(DATA / "tiny_unet_fp32.safetensors"))
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("dtype", "share"), [(torch.float32, 0.1), (torch.float16, 0.1), (torch.bfloat16, 0.15)]
)
def test_a_trained_unet_passes_and_its_loss_is_found_in_any_precision(unet, dtype, share):
    golden, network = load_file(DATA / "edict_golden.safetensors"), unet.to(dtype)
    text = golden["emb_cond"].to(dtype)

    def call(label, share, latent):
        output = network(latent.to(dtype), label, text, return_dict=False)[0]
        return cut(output.float(), share)

    for name, label in (("paper_T20.xT", 950), ("cfg3_T4.xT", 750), ("x0", 0)):
        right = check_map(partial(call, label, 0.0), golden[name])
        assert not right.wrong
        assert right.error < LIMIT
        lost = check_map(partial(call, label, share), golden[name])
        assert lost.wrong
        assert lost.error == pytest.approx(share, abs=TENTH)


def test_both_sides_of_a_linear_map_are_the_square_of_its_answer():
    at = noise(0, 1, 3, 8, 8)
    matrix = noise(1, 192, 192)
    found = check_map(lambda z: (matrix @ z.flatten()).reshape(z.shape), at)
    assert found.autograd == pytest.approx(found.difference, rel=EXACT)
    assert found.autograd > 0
    assert found.doubt < EXACT * found.size


def test_a_place_without_a_gradient_is_found_though_the_gradient_elsewhere_is_right():
    at = noise(0, 1, 3, 16, 16)
    left = torch.zeros_like(at)
    left[..., :2] = 1  # of 16 columns
    found = check_map(lambda z: left * z.detach() + (1 - left) * z, at)
    assert found.wrong
    assert found.error == pytest.approx(1 / 8, abs=TENTH)


def test_a_map_that_gives_the_same_for_all_is_not_measured():
    assert check_map(lambda z: 0 * z + 1, noise(0, 1, 3, 8, 8)) is None


def test_a_latent_of_zeros_has_a_step_too():
    found = check_map(lambda z: cut(z.sin(), 0.1), torch.zeros(1, 3, 8, 8, dtype=torch.float64))
    assert found.error == pytest.approx(0.1, abs=TENTH)


# Judges


def test_the_slope_of_a_known_judge():
    image = picture()
    right = check_judge(lambda x: x.square().sum(), image)
    assert right.autograd == pytest.approx(right.difference, rel=1e-3)  # float32
    wrong = check_judge(lambda x: cut(x.square().sum(), 0.1), image)
    assert wrong.wrong
    assert wrong.error == pytest.approx(0.1, abs=TENTH)


def test_nothing_is_measured_of_a_judge_that_is_flat_or_of_a_black_picture():
    assert check_judge(lambda x: 0 * x.sum() + 1, picture()) is None
    assert check_judge(lambda x: 1 + 1e-12 * x.mean(), picture().double()) is None
    assert check_judge(lambda x: x.mean(), torch.zeros(1, 3, 8, 8) - 0.1) is None


def test_a_judge_with_a_kink_is_no_alarm_and_its_loss_is():
    kinked = lambda x: 1 + (x - picture()).abs().sum()  # noqa: E731 - all pixels are at their kink
    assert not check_judge(kinked, picture()).wrong
    assert check_judge(lambda x: cut(kinked(x), 0.3), picture()).wrong


def test_what_sees_a_rounded_picture_is_no_alarm_and_its_loss_is():
    rounded = lambda x: variance(x.bfloat16().float()).sum()  # noqa: E731
    image = picture(height=32, width=32).bfloat16().float()
    assert not check_judge(rounded, image).wrong
    assert check_judge(lambda x: cut(rounded(x), 0.3), image).wrong


def test_parts_that_a_fidelity_leaves_out_on_purpose_are_no_alarm(caplog):
    run(fidelity=fidelity(lambda x, y: cut((x - y).square().flatten(1).mean(1), 0.5)))
    assert not warnings(caplog)


def test_a_prior_is_checked_in_one_view():
    several = replace(PRIOR, views=4)  # the gradient of the compressed one is not its slope
    both = CombinedPrior((several, PRIOR), (1.0, 2.0))
    for prior, wanted in ((several, PRIOR), (both, replace(both, priors=(PRIOR, PRIOR)))):
        ingredients = Ingredients(prior, FIDELITY, settings())
        assert [t.checked for t in terms_of(ingredients) if t.checked is not None] == [wanted]


# Measurements


def test_a_sharp_and_right_measurement_settles_it_else_the_sharpest():
    wrong, right = GradientCheck(1.0, 0.5), GradientCheck(1.0, 1.0)
    vague, vaguer = right._replace(doubt=0.4), right._replace(doubt=0.6)
    nothing = GradientCheck(0.0, 0.0)
    assert wrong.sharp
    assert wrong.wrong
    assert settle([wrong, vague, right]) is right
    assert settle([vague, wrong]) is wrong
    assert settle([vaguer, nothing, vague]) is vague
    assert settle([nothing]) is None
    assert settle([GradientCheck(1.0, float("nan"))]) is None
    assert settle([]) is None


def test_a_gradient_that_is_no_number_is_wrong():
    assert settle([GradientCheck(float("nan"), 1.0)]).wrong
    assert GradientCheck(0.0, 1.0).error == 1
