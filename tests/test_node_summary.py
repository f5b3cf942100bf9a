"""The summary of the Post-Enhance node, in a simulated ComfyUI."""

import logging
import re
import sys

import pytest
import torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.report import in_force
from latent_map.map_estimation.settings import PRESETS
from latent_map.map_estimation.words import what_changed

from .simulated_comfyui import simulated_nodes
from .toys import PRIOR, ToyBackbone, picture


@pytest.fixture(scope="module")
def post_enhance():
    with simulated_nodes():
        yield sys.modules["latent_map.nodes.post_enhance"].PostEnhance


def enhanced(post_enhance, image, **changes) -> tuple:
    """What the node makes of pictures in ComfyUI's layout."""
    return post_enhance.execute(
        image=image,
        **{
            "preset": "fast",
            "iterations": 1,
            "lam": 3.0,
            "override": True,
            "strength": 1.0,
            "preview_every": 1,
            "preview": False,
            "backbone": ToyBackbone(),
            "prior": PRIOR,
            "fidelity": load_fidelity("low_resolution"),
            **changes,
        },
    )


@pytest.mark.parametrize("lam", [0.0, 3.0])
def test_one_line_a_picture_says_what_was_reached_and_what_changed(post_enhance, lam):
    image = picture(batch=2).movedim(1, -1)
    after, summary, *_ = enhanced(post_enhance, image, lam=lam)
    values, *lines = summary.split("\n")
    assert values.startswith(f"in force: 1 iterations of adam at rate 0.002, lambda {lam:g}")
    assert len(lines) == 2
    for before, result, line in zip(image, after, lines, strict=True):
        words = what_changed(*(each.movedim(-1, 0)[None] for each in (before, result)))
        assert line.startswith("quality " if lam else "nothing to do")
        assert line.endswith(f"; {words}")


def test_the_log_has_one_line_a_picture(post_enhance, caplog):
    with caplog.at_level(logging.INFO, "latent_map.nodes"):
        enhanced(post_enhance, picture(batch=2).movedim(1, -1))
    lines = [line for line in caplog.messages if line.startswith("latent MAP: ")]
    assert len(lines) == 2
    for line in lines:
        assert re.search(r"quality \S+ -> \S+, .*; \d+\.\d s, [1-9]\d* network calls$", line)


@pytest.mark.parametrize("name", ["mask", "guard"])
def test_an_unpainted_mask_is_said(post_enhance, name):
    image = picture().movedim(1, -1)
    _, summary, *_ = enhanced(post_enhance, image, **{name: torch.zeros(1, 64, 64)})
    assert f"the {name} is black everywhere" in summary


@pytest.mark.parametrize("name", ["mask", "guard"])
def test_a_mask_of_another_shape_is_refused(post_enhance, name):
    image = picture().movedim(1, -1)
    mask = torch.zeros(1, image.shape[1], 2 * image.shape[2])
    mask[:, :3] = 1
    with pytest.raises(ValueError, match=f"the {name} is .* of another shape"):
        enhanced(post_enhance, image, **{name: mask})


def test_regions_hold_their_part_and_an_unpainted_one_is_said(post_enhance):
    image = picture().movedim(1, -1)
    left = torch.zeros(1, 16, 16)
    left[..., :8] = 1
    options = {"iterations": 4, "lam": 1.0, "start": "input"}
    regions = sys.modules["latent_map.nodes.region_weight"].RegionWeight
    (chained,) = regions.execute(torch.zeros(1, 16, 16), 5.0, *regions.execute(left, 1e3))
    free, *_ = enhanced(post_enhance, image, **options)
    held, summary, *_ = enhanced(post_enhance, image, regions=chained, **options)
    half = [(result - image)[:, :, :8].square().mean() for result in (free, held)]
    assert half[1] < 0.9 * half[0]
    assert "the mask of region 2 is black everywhere" in summary
    assert "region 1" not in summary


def test_the_values_in_force_are_the_presets_where_nothing_overrides_them(post_enhance):
    image = picture().movedim(1, -1)
    _, summary, *_ = enhanced(post_enhance, image, override=False, preset="gentle", iterations=9)
    wanted = "in force: 2 iterations of adam at rate 0.001, lambda 3, expectation 1; start: 50%"
    assert summary.startswith(wanted)


def test_the_values_in_force_are_those_that_the_backbone_can_follow(post_enhance):
    backbone = ToyBackbone()
    backbone.conditioned = False
    _, summary, *_ = enhanced(post_enhance, picture().movedim(1, -1), backbone=backbone)
    assert "lambda 3; start: input; " in summary


def test_noise_that_is_given_is_said_to_be_the_start():
    assert "; start: the noise given; " in in_force(PRESETS["fast"], given_noise=True)
