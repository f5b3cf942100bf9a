"""pyiqa's networks with random weights: real architectures, no files, no network."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from latent_map.iqa_priors.crops import crop_outputs
from latent_map.iqa_priors.pyiqa.networks import (
    hyperiqa,
    published_crops,
    random_network,
    scorer_of,
)
from torch import nn

from .toys import picture, refuse_network

pytest.importorskip("pyiqa")
STEP = 1e-4  # length of the finite difference's step, in float64
FINITE_DIFFERENCE = 0.02  # kinks of ReLU and max pooling within the step
SINGLES = 1e-9  # float64: matrix products of other shapes round otherwise
TINY = {"cnniqa": (33, 40), "paq2piq": (64, 80)}
light = pytest.mark.parametrize("name", TINY)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    refuse_network(monkeypatch)


@pytest.fixture(scope="module")
def networks():
    """Built once; float64."""
    return {name: random_network(name).double() for name in TINY}


def image_for(name, batch=1):
    return picture(3, *TINY[name], batch=batch).double()


def gradient(metric, image):
    moving = image.clone().requires_grad_(True)
    score = metric(moving)
    return score.detach(), torch.autograd.grad(score.sum(), moving)[0]


@light
def test_the_gradient_is_that_of_the_score(networks, name):
    metric, image = scorer_of(name, networks[name]).official, image_for(name)
    _, slope = gradient(metric, image)
    direction = slope / slope.norm()
    change = metric(image + STEP * direction) - metric(image - STEP * direction)
    assert float(change / (2 * STEP)) == pytest.approx(float(slope.norm()), rel=FINITE_DIFFERENCE)


def test_the_gradient_leaves_no_pixel_out(networks):
    _, slope = gradient(scorer_of("paq2piq", networks["paq2piq"]).official, image_for("paq2piq"))
    assert (slope.abs().amax(1) > 0).all()


@light
def test_a_batch_scores_as_its_pictures(networks, name):
    metric, images = scorer_of(name, networks[name]).official, image_for(name, batch=3)
    singles = torch.cat([metric(image) for image in images.split(1)])
    assert metric(images).shape == (3,)
    assert torch.allclose(metric(images), singles, rtol=SINGLES)
    assert singles.unique().numel() == 3


@light
def test_scores_and_gradients_are_the_same_bits_twice(networks, name):
    metric, image = scorer_of(name, networks[name]).official, image_for(name)
    for first, second in zip(gradient(metric, image), gradient(metric, image), strict=True):
        assert torch.equal(first, second)


@light
def test_the_callers_grad_mode_holds_and_weights_get_no_gradient(networks, name):
    metric = scorer_of(name, networks[name]).official
    moving = image_for(name).requires_grad_(True)
    with torch.no_grad():
        assert not metric(moving).requires_grad
    assert metric(moving).requires_grad
    assert not any(p.requires_grad for p in networks[name].parameters())


@light
def test_colours_beyond_the_range_count_as_clamped(networks, name):
    metric, image = scorer_of(name, networks[name]).official, 2 * image_for(name) - 0.5
    assert torch.equal(metric(image), metric(image.clamp(0, 1)))
    _, slope = gradient(metric, image)
    outside = (image < 0) | (image > 1)
    assert outside.any()
    assert (slope[outside] == 0).all()


class Brightness(nn.Linear):
    """A stand-in for a network: one number per picture, frozen weights."""

    def forward(self, image):
        return image.mean((1, 2, 3))[:, None]


def test_colours_at_the_ends_of_the_range_keep_their_gradient():
    image = (image_for("paq2piq") > 0.45).double()
    assert set(image.unique().tolist()) == {0, 1}
    _, slope = gradient(scorer_of("unique", Brightness(1, 1).double()).official, image)
    assert (slope > 0).all()


@pytest.mark.parametrize("size", [(16, 16), (16, 75), (61, 17)])
@light
def test_small_pictures_are_scored(networks, name, size):
    image = picture(5, *size).double()
    assert scorer_of(name, networks[name]).official(image).isfinite().all()


@light
def test_half_precision_pictures_are_scored_in_float32(name):
    network = random_network(name)
    metric = scorer_of(name, network).official
    image = image_for(name).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = metric(image)
    assert score.dtype == torch.bfloat16
    assert torch.equal(score, metric(image.float()).bfloat16())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 32, 32), "shape"),
        (torch.rand(1, 1, 32, 32), "shape"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 32, 32), torch.nan), "NaN"),
    ],
)
def test_what_is_no_picture_is_refused(networks, image, words):
    with pytest.raises(ValueError, match=words):
        scorer_of("cnniqa", networks["cnniqa"]).official(image)


@pytest.mark.parametrize("name", ["musiq", "topiq_nr"])
def test_pictures_too_large_for_attention_are_refused_before_any_work(name):
    metric = scorer_of(name, nn.Linear(1, 1)).official
    huge = torch.zeros(1).expand(1, 3, 2049, 2048)
    with pytest.raises(ValueError, match=r"2048x2049 pixels is too large.*at most 2048 squared"):
        metric(huge)


def test_local_scores_follow_the_picture(networks):
    found = scorer_of("paq2piq", networks["paq2piq"])
    image = image_for("paq2piq", batch=2)
    local = found.local(image)
    assert local.shape == (2, 20, 20)
    changed = image.clone()
    changed[..., :16, :16] = 0.5
    difference = (found.local(changed) - local).abs()
    assert difference[:, :4, :4].mean() > difference[:, -4:, -4:].mean()


# Crops.


@pytest.mark.parametrize("count", [25, 20, 50])
@pytest.mark.parametrize("size", [(225, 225), (300, 411), (512, 384)])
def test_the_published_crops_are_pyiqas(count, size):
    from pyiqa.archs.arch_util import uniform_crop

    place = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
    theirs = uniform_crop([place], 224, count)
    ours = crop_outputs(lambda crops: crops, place, published_crops(*size, count), 224)
    assert torch.equal(ours[0], theirs)


@pytest.mark.parametrize("side", [(224, 224), (224, 300), (260, 330), (100, 140)])
def test_the_published_rule_scores_as_pyiqa_does(side):
    from pyiqa.archs.arch_util import uniform_crop

    def patch(crops):
        return (crops**2).mean((1, 2, 3))

    image = picture(2, *side).double()
    network = nn.Linear(1, 1).double()
    network.forward_patch = patch
    theirs = patch(uniform_crop([image], 224, 25)).mean()
    found = scorer_of("hyperiqa", network).official(image)
    assert float(found) == pytest.approx(float(theirs), rel=1e-12)


def test_the_published_rule_leaves_a_border_out_and_covering_does_not():
    network = SimpleNamespace(forward_patch=lambda crops: crops.mean((1, 2, 3)))
    image = picture(2, 300, 320).double()
    _, official = gradient(hyperiqa(network).official, image)
    _, covering = gradient(hyperiqa(network).covering, image)
    assert (official[..., -10:, :] == 0).all()
    assert (covering > 0).all()
    assert hyperiqa(network).local(image).isfinite().all()


def test_one_crop_handed_to_a_network_that_crops_is_that_crop():
    from pyiqa.archs.arch_util import uniform_crop

    crops = torch.rand(3, 3, 224, 224)
    assert torch.equal(uniform_crop(F.pad(crops, (0, 1, 0, 1)), 224, 1), crops)
