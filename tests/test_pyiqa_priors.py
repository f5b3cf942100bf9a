"""pyiqa's networks with random weights: real architectures, no files, no network."""

import os
import socket
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from latent_map.iqa_priors.catalog import PRIORS, PYIQA_PRIORS
from latent_map.iqa_priors.crops import crop_outputs
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.pyiqa.networks import (
    NETWORKS,
    hyperiqa,
    published_crops,
    random_network,
    scorer_of,
)
from latent_map.iqa_priors.pyiqa.offline import no_downloads, pyiqa_arch, read_checkpoint
from torch import nn

from .toys import picture

pytest.importorskip("pyiqa")
STEP = 1e-4  # length of the finite difference's step, in float64
FINITE_DIFFERENCE = 0.02  # kinks of ReLU and max pooling within the step
SINGLES = 1e-9  # float64: matrix products of other shapes round otherwise
TINY = {"cnniqa": (33, 40), "paq2piq": (64, 80)}
light = pytest.mark.parametrize("name", TINY)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a test went to the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def networks():
    """Built once; float64."""
    return {name: random_network(name).double() for name in TINY}


def image_for(name, batch=1):
    return picture(3, *TINY[name], batch=batch).double()


def gradient(metric, image):
    moving = image.clone().requires_grad_(True)
    score = metric(moving)
    return score.detach(), torch.autograd.grad(score.sum(), moving)[0]


@light
def test_the_gradient_is_that_of_the_score(networks, name):
    metric, image = scorer_of(name, networks[name]).official, image_for(name)
    _, slope = gradient(metric, image)
    direction = slope / slope.norm()
    change = metric(image + STEP * direction) - metric(image - STEP * direction)
    assert float(change / (2 * STEP)) == pytest.approx(float(slope.norm()), rel=FINITE_DIFFERENCE)


def test_the_gradient_leaves_no_pixel_out(networks):
    _, slope = gradient(scorer_of("paq2piq", networks["paq2piq"]).official, image_for("paq2piq"))
    assert (slope.abs().amax(1) > 0).all()


@light
def test_a_batch_scores_as_its_pictures(networks, name):
    metric, images = scorer_of(name, networks[name]).official, image_for(name, batch=3)
    singles = torch.cat([metric(image) for image in images.split(1)])
    assert metric(images).shape == (3,)
    assert torch.allclose(metric(images), singles, rtol=SINGLES)
    assert singles.unique().numel() == 3


@light
def test_scores_and_gradients_are_the_same_bits_twice(networks, name):
    metric, image = scorer_of(name, networks[name]).official, image_for(name)
    for first, second in zip(gradient(metric, image), gradient(metric, image), strict=True):
        assert torch.equal(first, second)


@light
def test_the_callers_grad_mode_holds_and_weights_get_no_gradient(networks, name):
    metric = scorer_of(name, networks[name]).official
    moving = image_for(name).requires_grad_(True)
    with torch.no_grad():
        assert not metric(moving).requires_grad
    assert metric(moving).requires_grad
    assert not any(p.requires_grad for p in networks[name].parameters())


@light
def test_colours_beyond_the_range_count_as_clamped(networks, name):
    metric, image = scorer_of(name, networks[name]).official, 2 * image_for(name) - 0.5
    assert torch.equal(metric(image), metric(image.clamp(0, 1)))
    _, slope = gradient(metric, image)
    outside = (image < 0) | (image > 1)
    assert outside.any()
    assert (slope[outside] == 0).all()


class Brightness(nn.Linear):
    """A stand-in for a network: one number per picture, frozen weights."""

    def forward(self, image):
        return image.mean((1, 2, 3))[:, None]


def test_colours_at_the_ends_of_the_range_keep_their_gradient():
    image = (image_for("paq2piq") > 0.45).double()
    assert set(image.unique().tolist()) == {0, 1}
    _, slope = gradient(scorer_of("unique", Brightness(1, 1).double()).official, image)
    assert (slope > 0).all()


@pytest.mark.parametrize("size", [(16, 16), (16, 75), (61, 17)])
@light
def test_small_pictures_are_scored(networks, name, size):
    image = picture(5, *size).double()
    assert scorer_of(name, networks[name]).official(image).isfinite().all()


@light
def test_half_precision_pictures_are_scored_in_float32(name):
    network = random_network(name)
    metric = scorer_of(name, network).official
    image = image_for(name).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score = metric(image)
    assert score.dtype == torch.bfloat16
    assert torch.equal(score, metric(image.float()).bfloat16())


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (torch.rand(3, 32, 32), "shape"),
        (torch.rand(1, 1, 32, 32), "shape"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "uint8"),
        (torch.full((1, 3, 32, 32), torch.nan), "NaN"),
    ],
)
def test_what_is_no_picture_is_refused(networks, image, words):
    with pytest.raises(ValueError, match=words):
        scorer_of("cnniqa", networks["cnniqa"]).official(image)


@pytest.mark.parametrize("name", ["musiq", "topiq_nr"])
def test_pictures_too_large_for_attention_are_refused_before_any_work(name):
    metric = scorer_of(name, nn.Linear(1, 1)).official
    huge = torch.zeros(1).expand(1, 3, 2049, 2048)
    with pytest.raises(ValueError, match=r"2048x2049 pixels is too large.*at most 2048 squared"):
        metric(huge)


def test_local_scores_follow_the_picture(networks):
    found = scorer_of("paq2piq", networks["paq2piq"])
    image = image_for("paq2piq", batch=2)
    local = found.local(image)
    assert local.shape == (2, 20, 20)
    changed = image.clone()
    changed[..., :16, :16] = 0.5
    difference = (found.local(changed) - local).abs()
    assert difference[:, :4, :4].mean() > difference[:, -4:, -4:].mean()


# Crops.


@pytest.mark.parametrize("count", [25, 20, 50])
@pytest.mark.parametrize("size", [(225, 225), (300, 411), (512, 384)])
def test_the_published_crops_are_pyiqas(count, size):
    from pyiqa.archs.arch_util import uniform_crop

    place = torch.arange(size[0] * size[1], dtype=torch.float64).view(1, 1, *size)
    theirs = uniform_crop([place], 224, count)
    ours = crop_outputs(lambda crops: crops, place, published_crops(*size, count), 224)
    assert torch.equal(ours[0], theirs)


@pytest.mark.parametrize("side", [(224, 224), (224, 300), (260, 330), (100, 140)])
def test_the_published_rule_scores_as_pyiqa_does(side):
    from pyiqa.archs.arch_util import uniform_crop

    def patch(crops):
        return (crops**2).mean((1, 2, 3))

    image = picture(2, *side).double()
    network = nn.Linear(1, 1).double()
    network.forward_patch = patch
    theirs = patch(uniform_crop([image], 224, 25)).mean()
    found = scorer_of("hyperiqa", network).official(image)
    assert float(found) == pytest.approx(float(theirs), rel=1e-12)


def test_the_published_rule_leaves_a_border_out_and_covering_does_not():
    network = SimpleNamespace(forward_patch=lambda crops: crops.mean((1, 2, 3)))
    image = picture(2, 300, 320).double()
    _, official = gradient(hyperiqa(network).official, image)
    _, covering = gradient(hyperiqa(network).covering, image)
    assert (official[..., -10:, :] == 0).all()
    assert (covering > 0).all()
    assert hyperiqa(network).local(image).isfinite().all()


def test_one_crop_handed_to_a_network_that_crops_is_that_crop():
    from pyiqa.archs.arch_util import uniform_crop

    crops = torch.rand(3, 3, 224, 224)
    assert torch.equal(uniform_crop(F.pad(crops, (0, 1, 0, 1)), 224, 1), crops)


# Building without downloads.


def test_a_network_is_built_with_pyiqa_left_as_it_was():
    arch = pyiqa_arch("paq2piq_arch")
    before = dict(vars(arch))
    random_network("paq2piq")
    assert {k: v for k, v in vars(arch).items() if before.get(k) is not v} == {}


def test_pyiqa_is_left_as_it_was_after_an_error():
    arch = pyiqa_arch("dbcnn_arch")
    before = dict(vars(arch))
    replaced = []

    def break_inside():
        with no_downloads(arch):
            replaced.append(arch.load_pretrained_network)
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        break_inside()
    assert replaced[0] is not before["load_pretrained_network"]
    assert all(vars(arch)[name] is value for name, value in before.items())


def test_factories_never_ask_for_pretrained_weights():
    asked = []
    factory = SimpleNamespace(
        create_model=lambda name, **options: asked.append(options),
        Weights=int,
    )
    arch = SimpleNamespace(timm=factory)
    with no_downloads(arch):
        arch.timm.create_model("resnet50", pretrained=True, features_only=True)
        arch.timm.create_model("resnet18", weights="IMAGENET1K_V1")
        assert arch.timm.Weights is int
    assert asked == [{"pretrained": False, "features_only": True}, {"weights": None}]


def test_building_draws_none_of_the_callers_random_numbers():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    random_network("cnniqa")
    assert torch.equal(torch.rand(3), expected)


def test_pyiqas_licence_is_told(caplog, monkeypatch):
    monkeypatch.setattr("latent_map.iqa_priors.pyiqa.offline._told", [])
    with caplog.at_level("WARNING"):
        pyiqa_arch("cnniqa_arch")
        pyiqa_arch("cnniqa_arch")
    assert [record.message.count("noncommercial") for record in caplog.records] == [1]
    assert all("noncommercial" in row.licence for row in PYIQA_PRIORS.values())


def test_a_missing_pyiqa_is_named(monkeypatch):
    with pytest.raises(ValueError, match="pip install pyiqa"):
        pyiqa_arch("there_is_no_such_arch")


# Checkpoints: the layouts pyiqa's files have.


@pytest.fixture(scope="module")
def state():
    return {k: torch.randn_like(v) for k, v in random_network("cnniqa").state_dict().items()}


FILE = PRIORS["cnniqa"].files[0].name
LAYOUTS = {
    "plain": lambda state: state,
    "params": lambda state: {"params": state, "iter": 3},
    "parallel": lambda state: {f"module.{k}": v for k, v in state.items()},
    "trainer": lambda state: {
        "epoch": 2,
        "state_dict": {f"module.{k}": v for k, v in state.items()},
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_checkpoint_is_loaded_whole(tmp_path, state, layout):
    torch.save(LAYOUTS[layout](state), tmp_path / FILE)
    prior = load_prior("cnniqa", path=tmp_path)
    network = random_network("cnniqa")
    network.load_state_dict(state)
    image = image_for("cnniqa").float()
    wanted = network(image).reshape(1)
    assert torch.allclose(prior.scores(image)["cnniqa"], wanted)
    assert torch.allclose(prior(image), torch.sigmoid((wanted - 0.59) / 0.08))


def test_files_older_than_batch_norms_counters_are_loaded(tmp_path):
    network = random_network("paq2piq")
    old = {k: v for k, v in network.state_dict().items() if "num_batches_tracked" not in k}
    path = tmp_path / PRIORS["paq2piq"].files[0].name
    torch.save(old, path)
    image = image_for("paq2piq").float()
    found = load_prior("paq2piq", path=path).scores(image)["paq2piq"]
    assert torch.allclose(found, network(image).reshape(1))


class Harmful:
    def __reduce__(self):
        return os.putenv, ("LATENT_MAP_TEST_CODE_RAN", "1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"params": Harmful()}, "more than"),
        ([1, 2], "no checkpoint"),
        ({"conv1.weight": "text"}, "no checkpoint"),
    ],
)
def test_files_that_hold_anything_else_are_refused(tmp_path, content, words):
    path = tmp_path / FILE
    torch.save(content, path)
    with pytest.raises(ValueError, match=words):
        load_prior("cnniqa", path=path)


def test_damaged_and_foreign_files_are_refused(tmp_path, state):
    path = tmp_path / FILE
    path.write_bytes(b"PK" + bytes(100))
    with pytest.raises(ValueError, match=r"damaged"):
        load_prior("cnniqa", path=path)
    torch.save({**state, "fc3.weight": torch.zeros(2, 800)}, path)
    with pytest.raises(ValueError, match=r"fc3.weight has shape \(2, 800\)"):
        load_prior("cnniqa", path=path)
    torch.save({k: v for k, v in state.items() if k != "fc1.bias"}, path)
    with pytest.raises(ValueError, match=r"fc1\.bias is missing"):
        load_prior("cnniqa", path=path)


def test_safetensors_files_are_read_too(tmp_path, state):
    from safetensors.torch import save_file

    save_file(state, tmp_path / "cnniqa.safetensors")
    found = read_checkpoint(tmp_path / "cnniqa.safetensors", "cnniqa")
    assert found.keys() == state.keys()


def test_every_row_has_its_network():
    for name, row in PYIQA_PRIORS.items():
        if not row.no_gradient:
            assert row.files, name
            network = row.load.__closure__
            named = [c.cell_contents for c in network if isinstance(c.cell_contents, dict)]
            assert named[0]["name"] in NETWORKS


# Metrics that can only score.


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
    with pytest.raises(ValueError, match="more than tensors"):
        load_prior("brisque", path=path)


def test_names_that_cannot_be_offered_say_why():
    with pytest.raises(ValueError, match=r"'qalign' is not offered: .*8-bit.*unasked"):
        load_prior("qalign")
