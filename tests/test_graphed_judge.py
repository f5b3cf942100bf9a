"""Quality models whose calls are replayed: captures that are simulated on the CPU."""

import gc
import logging
from dataclasses import replace

import pytest
import torch
from latent_map.command_line import enhance_jobs
from latent_map.edict.backbones.graphed import GraphedBackbone
from latent_map.fidelity.loading import load_fidelity
from latent_map.files import constants
from latent_map.files.constants import carried, constant, kept_constants
from latent_map.iqa_priors import one_by_one
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.clip.liqe import as_scorer, build_liqe
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import CombinedPrior, QualityPrior
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.graphed_judge import graphed_judge
from latent_map.map_estimation.settings import preset

from .clip_weights import CROP_SIDE, small_clip
from .simulated_capture import SimulatedCapture
from .tiny_pictures import IMAGE, load
from .toys import PRIOR, picture

PICTURES = picture(5, 70, 90, batch=2)
ROUNDING = {"rtol": 1e-4, "atol": 1e-9}  # float32: views, and terms, are summed in another order
JUDGES = ("pocket", "liqe", "views")


@pytest.fixture
def capture():
    return SimulatedCapture()


@pytest.fixture(params=JUDGES)
def prior(request):
    if request.param == "liqe":
        metric = as_scorer(build_liqe(small_clip())).covering
        return QualityPrior("liqe", metric, Logistic(3, 0.7), CROP_SIDE, capturable=True)
    return load_prior("pocket", views=3 if request.param == "views" else 1)


def quality_and_slope(prior, pictures=PICTURES):
    moving = pictures.clone().requires_grad_(True)
    quality = prior(moving)
    (slope,) = torch.autograd.grad(quality.sum(), moving)
    return quality.detach(), slope


def assert_same(ours, theirs, views=1):
    assert torch.equal(ours[0], theirs[0])
    if views == 1:
        assert torch.equal(ours[1], theirs[1])
    torch.testing.assert_close(ours[1], theirs[1], **ROUNDING)


def test_replayed_judgements_have_the_plain_ones_bits(prior, capture):
    graphed = graphed_judge(prior, capture)
    for pictures in (PICTURES, PICTURES.flip(0) / 2):
        ours, theirs = (quality_and_slope(judge, pictures) for judge in (graphed, prior))
        assert_same(ours, theirs, prior.views)
        assert torch.equal(graphed(pictures), prior(pictures))
    assert capture.captures == 2  # the score, and with its gradient
    assert graphed.identity == prior.identity


def test_what_was_captured_in_inference_mode_takes_gradients_later(capture):
    prior = load_prior("pocket")
    graphed = graphed_judge(prior, capture)
    with torch.inference_mode():
        assert torch.equal(graphed(PICTURES), prior(PICTURES))
    assert_same(quality_and_slope(graphed), quality_and_slope(prior))
    assert capture.captures == 2


def test_large_pictures_are_replayed_one_by_one(capture, monkeypatch):
    monkeypatch.setattr(one_by_one, "LARGE", 1000)
    prior = load_prior("pocket")
    assert_same(quality_and_slope(graphed_judge(prior, capture)), quality_and_slope(prior))
    assert capture.captures == 2


def test_each_of_several_judges_is_replayed(capture):
    prior = CombinedPrior((load_prior("pocket"), replace(load_prior("pocket"), views=2)), (1, 2))
    graphed = graphed_judge(prior, capture)
    assert_same(quality_and_slope(graphed), quality_and_slope(prior), views=2)
    assert capture.captures == 4


def test_scores_are_the_published_rules(prior, capture):
    graphed = graphed_judge(prior, capture)
    assert torch.equal(graphed.scores(PICTURES)[prior.name], prior.scores(PICTURES)[prior.name])


@pytest.mark.parametrize("when", ["capture", "replay"])
def test_what_fails_is_computed_plainly_with_one_warning(prior, capture, when, caplog):
    capture.failing = when
    graphed = graphed_judge(prior, capture)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert_same(quality_and_slope(graphed), quality_and_slope(prior), prior.views)
    (warning,) = caplog.messages
    assert "going on without them" in warning


def test_what_waits_for_the_device_stays_plain_and_is_told(capture, caplog):
    assert graphed_judge(PRIOR, capture) is PRIOR
    assert "no CUDA graphs for the prior contrast" in caplog.text


def test_an_enhancement_is_the_plain_one(models, capture):
    plain, prior = load(models, "sd15"), load_prior("pocket")
    settings = replace(preset("turbo"), iterations=3)
    graphed = GraphedBackbone(plain, SimulatedCapture()), graphed_judge(prior, capture)
    ours, theirs = (
        enhance(IMAGE, backbone, judge, load_fidelity("mse"), settings)[0]
        for backbone, judge in (graphed, (plain, prior))
    )
    assert ours.trace[0].energy == theirs.trace[0].energy
    torch.testing.assert_close(ours.picture, theirs.picture, rtol=0, atol=1e-4)
    assert capture.captures >= 2


def test_the_command_replays_the_judge_where_it_is_asked_to(folder, run, monkeypatch, models):
    seen = []

    def stop(image, backbone, prior, *_, **__):
        seen.append(prior)
        raise ValueError("seen")

    monkeypatch.setattr(enhance_jobs, "enhance", stop)
    monkeypatch.setattr(
        "latent_map.edict.backbones.load_backbone", lambda *_, **__: load(models, "sd15")
    )
    for how in ("graph", "none"):
        run(
            *("enhance", "good.png", "-o", f"{how}.png", "--backbone", str(models / "sd15")),
            *("--acceleration", how),
        )
    graphed, plain = (type(prior.metric).__name__ for prior in seen)
    assert graphed == "_GraphedMetric" != plain


# Constants that graphs read


def test_constants_given_out_are_noted(monkeypatch):
    like, other = torch.zeros(2, dtype=torch.float64), torch.ones(3)
    with kept_constants() as kept:
        given = [constant(2.5, like), carried(other, like)]
    constant(2.5, like)
    assert [id(each) for each in kept] == [id(each) for each in given]


def test_constants_stay_where_a_graph_reads_them(capture):
    addresses = set()

    def metric(image):
        numbers = constant((0.25, 0.5, 0.125), image)
        addresses.add(numbers.data_ptr())
        return (image.mean((-2, -1)) * numbers).sum(-1)

    prior = QualityPrior("toy", metric, Logistic(0.3, 0.1), capturable=True)
    graphed = graphed_judge(prior, capture)
    graphed(PICTURES)
    constants._made.cache_clear()
    gc.collect()
    held = [
        each
        for captured in graphed.metric._replayed.graphs._kept.values()
        for each in captured._constants
    ]
    assert {each.data_ptr() for each in held} == addresses


def test_priors_that_read_their_pictures_are_not_captured():
    reading = ("niqe", "brisque-cpp", "laion_aes", "arniqa")
    assert not any(PRIORS[name].capturable for name in reading)
