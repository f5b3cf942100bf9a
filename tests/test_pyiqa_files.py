"""pyiqa's networks built without downloads, and the layouts of their files."""

from types import SimpleNamespace

import pytest
import torch
from latent_map.iqa_priors.catalog import PRIORS, PYIQA_PRIORS
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.pyiqa.networks import (
    NETWORKS,
    random_network,
)
from latent_map.iqa_priors.pyiqa.offline import no_downloads, pyiqa_arch, read_checkpoint

from .toys import Harmful, picture, refuse_network

pytest.importorskip("pyiqa")
TINY = {"cnniqa": (33, 40), "paq2piq": (64, 80)}


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    refuse_network(monkeypatch)


def image_for(name, batch=1):
    return picture(3, *TINY[name], batch=batch).double()


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
            assert row.load.options["name"] in NETWORKS
