"""Large pictures are scored one by one; value and gradient are those of the whole batch."""

import gc
import weakref

import pytest
import torch
from latent_map.iqa_priors import one_by_one
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior
from torch import Tensor

from .toys import picture

EXACT = 1e-6  # float32 sums in another order


class Contrast:
    """The variance of each picture; notes the batches it sees."""

    def __init__(self):
        self.seen = []

    def __call__(self, image: Tensor) -> Tensor:
        self.seen.append(len(image))
        return image.flatten(1).var(1)


@pytest.fixture
def large(monkeypatch):
    monkeypatch.setattr(one_by_one, "LARGE", 64)
    return picture(batch=3)


def slope(metric, image):
    leaf = image.clone().requires_grad_(True)
    quality = metric(leaf)
    weights = torch.arange(1.0, 1 + len(image))
    return quality.detach(), torch.autograd.grad((quality * weights).sum(), leaf)[0]


def test_value_and_gradient_are_those_of_the_batch(large, monkeypatch):
    prior = QualityPrior("contrast", Contrast(), Logistic(0.05, 0.02))
    quality, found = slope(prior, large)
    monkeypatch.undo()
    wanted_quality, wanted = slope(prior, large)
    assert torch.allclose(quality, wanted_quality, rtol=EXACT, atol=EXACT)
    assert float((found - wanted).norm()) <= EXACT * float(wanted.norm())


@pytest.mark.parametrize("with_gradient", [True, False])
def test_the_metric_sees_large_pictures_singly_and_small_ones_together(large, with_gradient):
    metric = Contrast()
    one_by_one.one_by_one(metric, large.clone().requires_grad_(with_gradient))
    one_by_one.one_by_one(metric, large[..., :8, :8].requires_grad_(with_gradient))
    assert metric.seen == [1, 1, 1, 3]


def test_no_graph_of_the_metric_outlives_the_call(large):
    kept = []

    def metric(image):
        hidden = image.exp()  # exp keeps its output
        kept.append(weakref.ref(hidden))
        gc.collect()
        alive.append(sum(reference() is not None for reference in kept))
        return hidden.square().mean((1, 2, 3))

    alive: list[int] = []
    score = one_by_one.one_by_one(metric, large.clone().requires_grad_(True))
    gc.collect()
    assert score.requires_grad
    assert alive == [1, 1, 1]
    assert all(reference() is None for reference in kept)


def test_a_network_gives_the_same_gradient_one_by_one(monkeypatch):
    prior, images = load_prior("pocket"), picture(height=40, width=48, batch=2)
    _, wanted = slope(prior, images)
    monkeypatch.setattr(one_by_one, "LARGE", 64)
    _, found = slope(prior, images)
    assert float((found - wanted).norm()) <= 1e-4 * float(wanted.norm())
