"""Editing by exact inversion: the same noise, reconstructed with another model."""

import sys

import pytest
import torch

from .simulated_comfyui import simulated_nodes
from .toys import ToyBackbone, picture

EXACT = 1e-6  # pictures are float32


class Prompted(ToyBackbone):
    """The toy with something like a prompt: a shift of the network's output."""

    def __init__(self, prompt: float):
        super().__init__()
        self.prompt = prompt

    def bind(self, image):
        binding = super().bind(image)
        denoise = binding.denoiser
        return binding._replace(denoiser=lambda z, label: denoise(z, label) + self.prompt)


@pytest.fixture(scope="module")
def nodes():
    with simulated_nodes():
        invert = sys.modules["latent_map.nodes.edict_invert"].EdictInvert
        reconstruct = sys.modules["latent_map.nodes.edict_reconstruct"].EdictReconstruct
        yield invert, reconstruct


def inverted(nodes, image, backbone, bijection):
    options = {"steps": 6, "mixing": 0.93, "strength": 1.0, "spacing": "trailing"}
    return nodes[0].execute(
        backbone=backbone, image=image, order="fixed", bijection=bijection, **options
    )[0]


@pytest.mark.parametrize("bijection", ["edict", "bdia"])
def test_the_same_model_gives_the_picture_back_and_another_prompt_changes_it(nodes, bijection):
    image = picture(batch=2).movedim(1, -1)
    latents = inverted(nodes, image, Prompted(0.0), bijection)
    same, _ = nodes[1].execute(latents=latents, backbone=Prompted(0.0))
    edited, _ = nodes[1].execute(latents=latents, backbone=Prompted(0.05))
    assert (same - image).abs().max() < EXACT
    assert torch.isfinite(edited).all()
    assert (edited - image).abs().mean() > 1e-3


def test_without_another_model_the_first_one_is_taken(nodes):
    image = picture().movedim(1, -1)
    latents = inverted(nodes, image, Prompted(0.3), "edict")
    back, _ = nodes[1].execute(latents=latents)
    assert (back - image).abs().max() < EXACT


def test_a_model_whose_noise_has_another_shape_is_refused(nodes):
    from latent_map.edict.backbones import load_backbone

    latents = inverted(nodes, picture().movedim(1, -1), ToyBackbone(), "edict")
    with pytest.raises(ValueError, match="reconstructs from"):
        nodes[1].execute(latents=latents, backbone=load_backbone("pocket"))
