"""pyiqa's metrics that can only score, and those that are not offered."""

import pytest
import torch
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.pyiqa.offline import pyiqa_arch

from .toys import Harmful, picture, refuse_network

pytest.importorskip("pyiqa")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    refuse_network(monkeypatch)


def test_entropy_by_hand():
    prior = load_prior("entropy")
    image = torch.zeros(2, 3, 96, 96)
    image[0, ..., 48:] = 1.0  # two grey levels
    assert prior.scores(image)["entropy"].tolist() == pytest.approx([1, 0], abs=1e-5)


@pytest.mark.parametrize("name", ["entropy", "piqe"])
def test_a_metric_without_gradient_scores_but_is_no_prior(name):
    prior = load_prior(name)
    image = picture(4, 96, 96)
    quality = prior(image)
    assert 0 <= float(quality) <= 1
    assert not quality.requires_grad
    with pytest.raises(ValueError, match=f"{name}.*not improve them"):
        prior(image.requires_grad_(True))
    with torch.no_grad():
        assert torch.equal(prior(image), quality)


def forest(value):
    """One tree that always says `value`, as pyiqa's model file keeps it."""
    import numpy as np

    node = np.zeros((1, 1), dtype=np.int32)
    threshold, predicted = np.zeros((1, 1)), np.full((1, 1), float(value))
    fields = [node, node, node, node, threshold, predicted, np.ones((1, 1), dtype=np.int32)]
    return np.array([[tuple(fields)]], dtype=[(f"f{i}", object) for i in range(len(fields))])


@pytest.fixture
def nrqm_folder(tmp_path):
    """NRQM with constant trees 2, 3 and 4, weighted 0.5, 1, 1, 1: a made-up model of the real
    layout; and NIQE's pristine model."""
    import numpy as np
    from latent_map.iqa_priors.niqe import PARAMETERS_FILE, load_niqe_parameters
    from scipy.io import savemat

    trees = np.empty((1, 3), dtype=object)
    for index, value in enumerate((2, 3, 4)):
        trees[0, index] = forest(value)
    linear = np.array([[0.5], [1.0], [1.0], [1.0]])
    savemat(tmp_path / "NRQM_model.mat", {"model": {"linear": linear, "rf": trees}})
    mean, covariance = load_niqe_parameters(PARAMETERS_FILE)
    niqe = {"mu_prisparam": mean.numpy()[None], "cov_prisparam": covariance.numpy()}
    savemat(tmp_path / "niqe_modelparameters.mat", niqe)
    return tmp_path


def test_nrqm_reads_its_file(nrqm_folder):
    prior, image = load_prior("nrqm", path=nrqm_folder), picture(4, 96, 96)
    assert float(prior.scores(image)["nrqm"]) == pytest.approx(0.5 + 2 + 3 + 4, abs=1e-5)
    with pytest.raises(ValueError, match="random forests"):
        prior(image.requires_grad_(True))


def test_the_perceptual_index_is_made_of_nrqm_and_niqe(nrqm_folder, monkeypatch):
    arch = pyiqa_arch("niqe_arch")
    monkeypatch.setattr(arch.NIQE, "forward", lambda self, image: torch.tensor([4.0]))
    pi = load_prior("pi", path=nrqm_folder).scores(picture(4, 104, 104))["pi"]
    assert float(pi) == pytest.approx((10 - 9.5 + 4) / 2, abs=1e-5)


def test_a_damaged_model_file_is_refused(nrqm_folder):
    (nrqm_folder / "NRQM_model.mat").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"NRQM_model\.mat is damaged"):
        load_prior("nrqm", path=nrqm_folder)


def test_brisque_reads_tensors_only(tmp_path):
    path = tmp_path / "brisque_svm_weights.pth"
    torch.save((Harmful(), torch.zeros(1)), path)
    with pytest.raises(ValueError, match="more than weights"):
        load_prior("brisque", path=path)


def test_names_that_cannot_be_offered_say_why():
    with pytest.raises(ValueError, match=r"'qalign' is not offered: .*8-bit.*unasked"):
        load_prior("qalign")
