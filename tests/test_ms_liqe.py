"""MS-LIQE: its equations by hand."""

import math

import pytest
import torch
from latent_map.iqa_priors.clip.liqe import (
    Liqe,
    build_liqe,
    one_level,
    published_crops,
)
from latent_map.iqa_priors.clip.model import (
    load_clip,
)
from latent_map.iqa_priors.clip.ms_liqe import three_levels
from latent_map.iqa_priors.training.ms_liqe import (
    save_ms_liqe,
)

from .clip_weights import CROP_SIDE, picture, small_clip

SAME = 1e-5  # float32
SLOPE = 1e-6  # float64, central differences


def sizes(image):
    return [tuple(level.shape[-2:]) for level in three_levels()(image)]


def test_the_pyramid_is_one_three_quarters_and_a_short_side_of_224():
    assert sizes(torch.rand(1, 3, 512, 512)) == [(512, 512), (384, 384), (224, 224)]
    assert sizes(torch.rand(1, 3, 480, 641)) == [(480, 641), (360, 481), (224, 299)]


def test_scales_too_small_for_a_crop_are_left_out():
    assert sizes(torch.rand(1, 3, 299, 400)) == [(299, 400), (224, 300), (224, 300)]
    assert sizes(torch.rand(1, 3, 297, 400)) == [(297, 400), (224, 302)]
    assert sizes(torch.rand(1, 3, 100, 150)) == [(224, 336)]


def test_the_pyramid_is_antialiased_and_keeps_even_areas():
    stripes = torch.arange(512).remainder(2).float().expand(1, 3, 512, 512)
    top = three_levels()(stripes)[-1]
    assert (top - 0.5).abs().max() < 0.1
    for level in three_levels()(torch.full((1, 3, 300, 400), 0.3)):
        torch.testing.assert_close(level, torch.full_like(level, 0.3))


class Painter:
    """An image tower that embeds a crop by its mean red, on the way from "bad" to "perfect"."""

    logit_scale = torch.tensor(math.log(2.0), dtype=torch.float64)

    def encode_image(self, crops):
        angle = crops[:, 0].mean((1, 2)) * math.pi / 2
        zero = torch.zeros_like(angle)
        return torch.stack((angle.cos(), zero, zero, zero, angle.sin()), -1)


def painted(pyramid, pooling="crops"):
    return Liqe(Painter(), torch.eye(5, dtype=torch.float64), pyramid, pooling, side=4)


def quality(logits):
    weights = [math.exp(2 * value) for value in logits]
    return sum(v * w for v, w in enumerate(weights, start=1)) / sum(weights)


def test_similarities_are_averaged_before_the_softmax():
    # Two crops, one all black (bad: 1, perfect: 0), one all red (0, 1): mean 0.5 each; Eq. (23).
    image = torch.zeros(1, 3, 4, 8, dtype=torch.float64)
    image[:, 0, :, 4:] = 1
    metric = painted(lambda x: [x[..., :4], x[..., 4:]])
    assert metric.official(image).item() == pytest.approx(quality((0.5, 0, 0, 0, 0.5)))
    uneven = painted(lambda x: [x[..., :4], x[..., :4], x[..., 4:]])
    found = uneven.official(image).item()
    # Eq. (24) then (22); the mean of the crops' qualities would be another number.
    assert found == pytest.approx(quality((2 / 3, 0, 0, 0, 1 / 3)))
    bad, perfect = quality((1, 0, 0, 0, 0)), quality((0, 0, 0, 0, 1))
    assert abs(found - (2 * bad + perfect) / 3) > 0.01


def test_each_crop_weighs_the_same_or_each_scale():
    # A scale of 4 x 40 has two of the published crops (32 px apart), one of 4 x 4 has one.
    assert len(published_crops(4, 40, 4)) == 2
    image = torch.zeros(1, 3, 4, 40, dtype=torch.float64)

    def pyramid(x):
        return [x, torch.cat((torch.ones_like(x[:, :1]), x[:, 1:]), 1)[..., :4]]

    by_crop, by_level = painted(pyramid), painted(pyramid, "levels")
    wanted = quality((2 / 3, 0, 0, 0, 1 / 3)), quality((0.5, 0, 0, 0, 0.5))
    for rule in ("official", "covering"):
        assert getattr(by_crop, rule)(image).item() == pytest.approx(wanted[0])
        assert getattr(by_level, rule)(image).item() == pytest.approx(wanted[1])


@pytest.fixture(scope="module")
def initial(tmp_path_factory):
    path = tmp_path_factory.mktemp("initial") / "clip.safetensors"
    save_ms_liqe(path, small_clip(), {})
    return path


def test_liqe_is_the_same_code_with_one_level(initial):
    clip, image = load_clip(initial), picture(CROP_SIDE, CROP_SIDE)
    both = build_liqe(clip, pyramid=three_levels(CROP_SIDE)), build_liqe(clip, pyramid=one_level)
    # At the size of one crop the scales of the pyramid are the picture itself.
    first = both[0].official(image)
    second = Liqe(clip, both[1].text, lambda x: [x], side=CROP_SIDE).official(image)
    torch.testing.assert_close(first, second, rtol=0, atol=SAME)


@pytest.mark.parametrize("rule", ["official", "covering"])
def test_the_slope_is_that_of_finite_differences(rule, initial):
    clip = load_clip(initial).double()
    score = getattr(build_liqe(clip, pyramid=three_levels(CROP_SIDE)), rule)
    image = picture(70, 60).double().requires_grad_(True)
    (slope,) = torch.autograd.grad(score(image).sum(), image)
    step = 1e-4 * slope / slope.norm()
    with torch.no_grad():
        difference = score(image + step) - score(image - step)
    assert difference.item() / 2e-4 == pytest.approx(slope.norm().item(), rel=SLOPE)


def test_the_prior_sees_every_pixel(initial):
    metric = build_liqe(load_clip(initial), pyramid=three_levels(CROP_SIDE))
    image = picture(75, 90).requires_grad_(True)
    (slope,) = torch.autograd.grad(metric.covering(image).sum(), image)
    assert (slope.abs().amax(1) > 0).float().mean() > 0.999
