"""The summary of the Post-Enhance node, in a simulated ComfyUI."""

import sys

import pytest
from latent_map.fidelity.loading import load_fidelity
from latent_map.map_estimation.words import what_changed

from .simulated_comfyui import simulated_nodes
from .toys import PRIOR, ToyBackbone, picture


@pytest.fixture(scope="module")
def post_enhance():
    with simulated_nodes():
        yield sys.modules["latent_map.nodes.post_enhance"].PostEnhance


@pytest.mark.parametrize("lam", [0.0, -1.0])
def test_one_line_a_picture_says_what_was_reached_and_what_changed(post_enhance, lam):
    image = picture(batch=2).movedim(1, -1)
    after, summary, *_ = post_enhance.execute(
        image=image,
        preset="fast",
        iterations=1,
        lam=lam,
        strength=1.0,
        preview_every=0,
        backbone=ToyBackbone(),
        prior=PRIOR,
        fidelity=load_fidelity("low_resolution"),
    )
    lines = summary.split("\n")
    assert len(lines) == 2
    for before, result, line in zip(image, after, lines, strict=True):
        words = what_changed(*(each.movedim(-1, 0)[None] for each in (before, result)))
        assert line.startswith("quality " if lam else "nothing to do")
        assert line.endswith(f"; {words}")
