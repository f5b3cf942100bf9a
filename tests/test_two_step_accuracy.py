"""How near the bijections come to the exact trajectory of a network that is known."""

import math
from itertools import pairwise

import pytest
import torch
from latent_map.edict.bijections import bijection_options
from latent_map.edict.bijections.bijection import LatentPair

from .pairs import ALPHAS, PREDICTIONS, schedule_of
from .toys import noise

every_prediction = pytest.mark.parametrize("prediction", PREDICTIONS)


class Gaussian:
    """The ideal network of pixels that are Gaussian: everything is known in closed form."""

    mean, deviation = 0.5, 0.3

    def __init__(self, prediction):
        self.prediction = prediction

    def __call__(self, latent, label):
        signal, rest = self.levels(label)
        variance = (signal * self.deviation) ** 2 + rest**2
        eps = rest * (latent - signal * self.mean) / variance
        picture = self.mean + signal * self.deviation**2 * (latent - signal * self.mean) / variance
        return {
            "eps": eps,
            "v": signal * eps - rest * picture,
            "flow": eps - picture,
        }[self.prediction]

    def levels(self, label):
        if self.prediction == "flow":
            return 1 - label, label
        return math.sqrt(ALPHAS[label]), math.sqrt(1 - ALPHAS[label])

    def exact(self, latent, label):
        """The end of the exact trajectory."""
        signal, rest = self.levels(label)
        now = math.sqrt((signal * self.deviation) ** 2 + rest**2)
        return self.mean + (latent - signal * self.mean) * self.deviation / now

    def error(self, steps, name):
        """Root mean square distance to the exact trajectory's end, from noise."""
        schedule, latent = schedule_of(self.prediction, steps), noise(0, 1000)
        wanted = self.exact(latent, schedule.steps[0].label)
        if name == "ddim":
            for a, b, label in schedule.steps:
                latent = a * latent + b * self(latent, label)
            return float((latent - wanted).square().mean().sqrt())
        options = bijection_options(name, **({"mixing": 0.93} if name == "edict" else {}))
        second = latent if name == "edict" else torch.zeros_like(latent)
        bijection = options.couple(self, schedule, steps)
        end = bijection.reconstruct(LatentPair(latent, second)).x
        return float((end - wanted).square().mean().sqrt())


@every_prediction
def test_obelm_is_closer_to_the_exact_trajectory_than_ddim_and_edict(prediction):
    toy_ = Gaussian(prediction)
    for steps in (10, 20, 40):
        errors = {c: toy_.error(steps, c) for c in ("obelm", "bdia", "ddim", "edict")}
        assert errors["obelm"] <= errors["bdia"] < errors["ddim"]
        assert errors["obelm"] < errors["edict"]
    assert toy_.error(20, "obelm") < 0.3 * toy_.error(20, "ddim")


@every_prediction
def test_obelm_is_of_second_order_and_ddim_of_first(prediction):
    for rule, low, high in (("obelm", 3.0, 20.0), ("ddim", 1.5, 2.2)):
        errors = [Gaussian(prediction).error(steps, rule) for steps in (20, 40, 80)]
        assert all(low < more / less < high for more, less in pairwise(errors))
