"""The embedded denoiser; its file's faults are in test_weights.py."""

from pathlib import Path

import pytest
import torch
from latent_map.edict.backbones import load_backbone
from latent_map.edict.backbones.pocket.haar import haar, inverse_haar
from latent_map.edict.inversion import invert_picture
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.fidelity.loading import load_fidelity
from latent_map.files.state_file import load_state, save_state
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.resume import STATE_KIND
from latent_map.map_estimation.settings import MapSettings
from safetensors.torch import load_file

from .toys import PRIOR, edict, noise, picture

# What the network's own recipe computes with the same weights; made once, see its README.
GOLDEN = Path(__file__).parent / "data" / "pocket_golden" / "golden.safetensors"
SAME = 1e-5  # float32; another machine's convolutions add up in another order
ROUNDING = 1e-6


@pytest.fixture(scope="module")
def pocket():
    return load_backbone("pocket")


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


def test_the_haar_transform_keeps_distances_and_comes_back():
    image = picture(3, 24, 16, batch=2)
    assert haar(image).norm() == pytest.approx(float(image.norm()), rel=ROUNDING)
    assert (inverse_haar(haar(image)) - image).abs().max() < ROUNDING


def test_the_picture_itself_is_zero_and_corrections_come_back(pocket):
    image, other = picture(0, 32, 48), picture(1, 32, 48)
    codec = pocket.bind(image).codec
    assert not codec.encode(image).any()
    assert (codec.decode(codec.encode(other)) - other).abs().max() < ROUNDING


def test_the_embedding_is_the_recipes(pocket, golden):
    with torch.no_grad():
        ours = pocket.network.embed(golden["condition"])
    torch.testing.assert_close(ours, golden["embedding"], atol=SAME, rtol=SAME)


@pytest.mark.parametrize(("items", "output"), [(2, "output"), (1, "output_first_embedding")])
def test_the_velocity_is_the_recipes(pocket, golden, items, output):
    """Also with one picture's embedding for all."""
    inputs = golden["noisy"], golden["condition"], golden["labels"], golden["embedding"][:items]
    with torch.no_grad():
        ours = pocket.network(*inputs)
    torch.testing.assert_close(ours, golden[output], atol=SAME, rtol=SAME)


def test_a_bound_picture_gives_the_recipes_velocity(pocket, golden):
    denoiser = pocket.bind(golden["picture"]).denoiser
    torch.testing.assert_close(denoiser.degradation, golden["embedding"], atol=SAME, rtol=SAME)
    for item, label in enumerate(golden["labels"].tolist()):
        ours = denoiser(golden["noisy"], label)[item]
        torch.testing.assert_close(ours, golden["output"][item], atol=SAME, rtol=SAME)


def test_items_of_a_batch_are_independent(pocket):
    images, latents = picture(0, 32, 48, batch=2), noise(1, 2, 48, 8, 12)
    together = pocket.bind(images).denoiser(latents, 700.0)
    for item in range(2):
        alone = pocket.bind(images[item : item + 1]).denoiser(latents[item : item + 1], 700.0)
        assert (alone[0] - together[item]).abs().max() < SAME


def test_the_velocity_depends_on_the_picture_as_a_whole(pocket):
    """What is wrong with it is told from all of it, not from the places alone."""
    denoiser, latent = pocket.bind(picture(0, 64, 64)).denoiser, noise(0, 1, 48, 4, 4)
    part, alone = denoiser.window(0, 0, 16, 16), pocket.bind(picture(0, 64, 64)[..., :16, :16])
    assert torch.equal(part.degradation, denoiser.degradation)
    assert (part(latent, 800.0) - alone.denoiser(latent, 800.0)).abs().max() > 100 * SAME


def test_its_name_in_states_is_not_the_one_users_give(pocket):
    assert pocket.name == "pocket 2"
    assert pocket.recipe == {"name": "pocket"}


@pytest.mark.parametrize("name", ["pocket", "pocket, compiled"])
def test_noise_of_the_denoiser_of_version_0_1_is_refused(name, pocket, tmp_path):
    path = tmp_path / "a.state"
    save_latents(path, invert_picture(pocket, picture(0, 16, 16), edict(2)))
    tensors, metadata = load_state(path, "EDICT latents")
    save_state(path, "EDICT latents", tensors, {**metadata, "backbone": name})
    with pytest.raises(ValueError, match=r"a\.state.* replaced .*: invert .* again") as caught:
        load_latents(path)
    assert "\n" not in str(caught.value)


def test_runs_of_the_denoiser_of_version_0_1_are_refused(pocket, tmp_path):
    path, image = tmp_path / "run.state", picture(0, 16, 16)
    settings = MapSettings(inversion=edict(2), iterations=3, check_gradient=False)
    fidelity = load_fidelity("low_resolution")

    def interrupt(step):
        if step.row.iteration == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        enhance(image, pocket, PRIOR, fidelity, settings, callback=interrupt, state=path)
    tensors, description = load_state(path, STATE_KIND)
    assert description["backbone"] == "pocket 2"
    save_state(path, STATE_KIND, tensors, {**description, "backbone": "pocket"})
    with pytest.raises(ValueError, match=r"run\.state.* replaced .*: delete it"):
        enhance(image, pocket, PRIOR, fidelity, settings, state=path)
