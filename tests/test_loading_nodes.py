"""The nodes that load models, in a simulated ComfyUI: what their widgets reach."""

import sys

import pytest
import torch
from latent_map.edict.backbones.compiled import CompiledBackbone
from latent_map.edict.backbones.pocket.backbone import PocketBackbone

from .simulated_comfyui import simulated_nodes
from .toys import picture

AS_BEFORE = {"name": "pocket"}  # a prompt from before there were other widgets


@pytest.fixture(scope="module")
def nodes():
    with simulated_nodes():
        yield {
            name: sys.modules[f"latent_map.nodes.{name}"]
            for name in ("iqa_prior", "combine_priors", "load_backbone")
        }


@pytest.fixture(scope="module")
def prior(nodes):
    def load(**widgets):
        (loaded,) = nodes["iqa_prior"].IqaPrior.execute(**AS_BEFORE, **widgets)
        return loaded

    return load


def test_a_prior_is_loaded_in_so_many_views_and_in_one_by_default(prior):
    image = picture(0, 32, 32)
    one, four = prior(), prior(views=4)
    assert (one.views, four.views) == (1, 4)
    assert (one.identity, four.identity) == ("pocket", "pocket in 4 views")
    assert not torch.equal(one(image), four(image))
    assert torch.equal(one.scores(image)["pocket"], four.scores(image)["pocket"])


def test_combined_priors_keep_their_views(nodes, prior):
    combine = nodes["combine_priors"].CombinePriors.execute
    (both,) = combine(prior_a=prior(views=2), weight_a=1.0, prior_b=prior(), weight_b=1.0)
    assert [each.views for each in both.priors] == [2, 1]


@pytest.mark.parametrize(
    ("widgets", "kind"),
    [
        ({}, PocketBackbone),
        ({"compile": False}, PocketBackbone),
        ({"compile": True}, CompiledBackbone),
        ({"compile": True, "acceleration": "auto"}, CompiledBackbone),
        ({"compile": False, "acceleration": "compile"}, CompiledBackbone),
        ({"acceleration": "none"}, PocketBackbone),
    ],
)
def test_the_acceleration_is_the_librarys_and_the_toggle_of_before_still_counts(
    nodes, widgets, kind
):
    (backbone,) = nodes["load_backbone"].LoadBackbone.execute(**AS_BEFORE, **widgets)
    assert type(backbone) is kind


@pytest.mark.parametrize(
    ("widgets", "complaint"),
    [
        ({"acceleration": "graph"}, "needs a CUDA device"),
        ({"compile": True, "acceleration": "none"}, "give one of them"),
    ],
)
def test_an_acceleration_that_cannot_be_is_refused(nodes, widgets, complaint):
    with pytest.raises(ValueError, match=complaint):
        nodes["load_backbone"].LoadBackbone.execute(**AS_BEFORE, **widgets)
