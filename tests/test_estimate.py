"""The one-step estimate, where everything is known in closed form."""

import math
from dataclasses import replace

import pytest
import torch
from latent_map.edict.bound_picture import bind_picture
from latent_map.edict.estimate import estimate_latent, noised, seeded_noise, whole_step
from latent_map.edict.inversion import invert_picture
from latent_map.edict.protocols import Binding

from .pairs import ALPHAS, schedule_of
from .toys import FoldingCodec, ToyBackbone, edict, noise, picture

EXACT = 1e-9  # of numbers up to 15, after tens of roundings


class Knowing(ToyBackbone):
    """A model that knows the clean latent behind every noisy one: the picture moved by `by`."""

    def __init__(self, prediction, by=0.1):
        super().__init__(prediction)
        self.by = by

    def bind(self, image):
        codec = FoldingCodec()
        clean = codec.encode(image) + self.by

        def denoiser(latent, label):
            root, rest = math.sqrt(ALPHAS[int(label)]), math.sqrt(1 - ALPHAS[int(label)])
            eps = (latent - root * clean) / rest
            return eps if self.prediction == "eps" else root * eps - rest * clean

        return Binding(denoiser, codec)


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("steps", [3, 20])
@pytest.mark.parametrize("prediction", ["eps", "v"])
def test_a_model_that_knows_the_clean_picture_estimates_it(prediction, steps, strength):
    bound = bind_picture(Knowing(prediction), picture(), edict(steps, strength=strength))
    for draws in (1, 3):
        estimate = estimate_latent(bound, draws, seed=5)
        torch.testing.assert_close(estimate, bound.encode() + 0.1, rtol=0, atol=EXACT)


@pytest.mark.parametrize("spacing", ["trailing", "leading"])
@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_one_step_undoes_the_noise_whose_direction_it_is_told(prediction, spacing):
    latent, eps = noise(0, 1, 4, 4, 4), noise(1, 1, 4, 4, 4)
    for schedule in (schedule_of(prediction, 7, spacing), schedule_of(prediction, 7).last(0.5)):
        step = whole_step(schedule)
        noisy = noised(latent, eps, step, prediction)
        direction = {
            "eps": eps,
            "flow": eps - latent,
            "v": step.a * eps + step.b * latent,
        }[prediction]
        torch.testing.assert_close(step.a * noisy + step.b * direction, latent)


@pytest.mark.parametrize("prediction", ["eps", "v", "flow"])
def test_the_whole_schedule_in_one_step_is_the_schedule_of_one(prediction):
    ours = whole_step(schedule_of(prediction, 20))
    theirs = whole_step(schedule_of(prediction, 1))
    assert ours.label == theirs.label
    assert ours.a == pytest.approx(theirs.a)
    assert ours.b == pytest.approx(theirs.b)


def test_it_is_the_mean_over_its_noises_and_costs_a_call_each():
    backbone = ToyBackbone()
    bound = bind_picture(backbone, picture(), edict(3))
    one = estimate_latent(bound, 1, seed=3)
    assert backbone.calls == 1
    both = estimate_latent(bound, 2, seed=3)
    assert backbone.calls == 3
    latent, step = bound.encode(), whole_step(bound.bijection.schedule)
    first, second = seeded_noise(latent, 2, 3)
    noisy = noised(latent, second, step, "v")
    other = step.a * noisy + step.b * bound.bijection.denoiser(noisy, step.label)
    torch.testing.assert_close(both, (one + other) / 2)
    assert not torch.equal(first, second)
    assert torch.equal(estimate_latent(bound, 2, seed=3), both)
    assert not torch.equal(estimate_latent(bound, 2, seed=4), both)


def test_an_estimate_is_inverted_in_the_pictures_place_and_stays_bound_to_it():
    image, backbone = picture(), ToyBackbone()
    inverted = invert_picture(backbone, image, edict(3), draws=2)
    assert torch.equal(inverted.bound.picture, image)
    back = inverted.bound.reconstruct(inverted.noise)
    wanted = estimate_latent(inverted.bound, 2)
    torch.testing.assert_close(back, wanted.expand_as(back))


def test_an_estimate_without_sight_of_the_picture_is_refused_at_full_strength():
    backbone = ToyBackbone()
    backbone.conditioned = False
    with pytest.raises(ValueError, match="toy is not conditioned on the picture, so at"):
        invert_picture(backbone, picture(), edict(3), draws=1)
    assert backbone.calls == 0
    invert_picture(backbone, picture(), replace(edict(6), strength=0.5), draws=1)
