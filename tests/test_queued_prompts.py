"""What is done to prompts when they are queued: see nodes/queued_prompts.py."""

import sys

import pytest

from .simulated_comfyui import simulated_nodes

ENHANCE, OPTIMIZE, INVERT = "DLM_PostEnhance", "DLM_LatentMapOptimizer", "DLM_EdictInvert"


@pytest.fixture(scope="module")
def queued():
    """The module, and the toggles of the pack's nodes."""
    with simulated_nodes() as nodes:
        module = sys.modules["latent_map.nodes.queued_prompts"]
        yield module, module.toggles_of(nodes.NODES)


def prepared(queued, kind: str, **inputs) -> dict:
    """The inputs of a node of a kind, as they are when the prompt has been prepared."""
    module, kinds = queued
    prompt = {"7": {"class_type": kind, "inputs": inputs}}
    module.prepare(prompt, kinds)
    return prompt["7"]["inputs"]


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        (
            ENHANCE,
            {"preset": "paper", "iterations": -1, "lam": -1},
            {"override": False, "iterations": 40, "lam": 0.01},
        ),
        (
            ENHANCE,
            {"preset": "paper", "iterations": 7, "lam": -1.0},
            {"override": True, "iterations": 7, "lam": 0.01},
        ),
        (ENHANCE, {"tile": 0}, {"own_tile": False, "tile": 1024}),
        (ENHANCE, {"tile": 256}, {"own_tile": True, "tile": 256}),
        (INVERT, {"mixing": 0}, {"own_mixing": False, "mixing": 0.93}),
        (INVERT, {"mixing": 0.9}, {"own_mixing": True, "mixing": 0.9}),
        (INVERT, {"mixing": ["3", 0]}, {"own_mixing": True, "mixing": ["3", 0]}),
        (
            OPTIMIZE,
            {"clip": 0.0, "patience": 5, "target_quality": 0},
            {
                "limit_gradient": False,
                "stop_without_progress": True,
                "stop_at_target": False,
                "patience": 5,
            },
        ),
    ],
)
def test_saved_values_of_before_mean_what_they_meant(queued, kind, given, expected):
    inputs = prepared(queued, kind, **given)
    assert expected.items() <= inputs.items()


def test_a_toggle_that_is_on_lets_no_number_pass(queued):
    """ComfyUI itself refuses them: they are below the widget's least."""
    given = {"preset": "fast", "iterations": 0, "lam": -1, "override": True}
    assert given.items() <= prepared(queued, ENHANCE, **given).items()


def test_a_new_prompt_is_left_alone_but_for_previews(queued):
    given = {"preset": "fast", "iterations": 5, "lam": 1.0, "override": False, "own_tile": False}
    inputs = prepared(queued, ENHANCE, **given, tile=512, preview=False, preview_every=3)
    assert inputs == {**given, "tile": 512, "preview": True, "preview_every": 1}


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        ({"preview": True, "preview_every": 3}, 3),
        ({"preview": False, "preview_every": 3}, 0),
        ({"preview_every": 0}, 0),
        ({"preview_every": 4}, 4),
    ],
)
def test_the_interval_of_previews_reaches_the_node_beside_the_prompt(
    queued, monkeypatch, given, interval
):
    module, _ = queued
    inputs = prepared(queued, OPTIMIZE, **given)
    assert (inputs["preview"], inputs["preview_every"]) == (True, 1)
    context = type("Context", (), {"node_id": "7"})
    monkeypatch.setattr(module, "get_executing_context", lambda: context)
    assert module.preview_interval(True, 1) == interval


@pytest.mark.parametrize("every", ["3", -1, 2.5, ["4", 0]])
def test_an_interval_that_is_none_is_left_for_comfyui_to_refuse(queued, every):
    assert prepared(queued, OPTIMIZE, preview_every=every)["preview_every"] == every


@pytest.mark.parametrize("prompt", [{}, {"1": None}, {"1": {"class_type": "KSampler"}}, {"1": {}}])
def test_what_is_not_ours_stays_as_it_is(queued, prompt):
    module, kinds = queued
    before = dict(prompt)
    module.prepare(prompt, kinds)
    assert prompt == before
