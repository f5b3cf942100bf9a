import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.comparison.distances import SYMMETRIC, Distances
from latent_map.comparison.features import EXTRACTORS, diversity_of, read_features
from latent_map.comparison.preparation import Input
from latent_map.comparison.selection import select
from latent_map.fidelity.catalog import FIDELITIES, VGG16
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.networks import VGG16_LAYERS

from .study_files import write_pictures
from .toys import picture

GOLDEN = json.loads((Path(__file__).parent / "data/study/golden_thurstone.json").read_text())


@pytest.mark.parametrize("diversity", ["mean", "min"])
def test_the_worked_example_is_returned(diversity):
    golden = GOLDEN["selection"]
    d1, d2 = golden["d1"], np.array(golden["d2"])
    for gamma, wanted in ((0.1, golden["gamma_0_1"][diversity]), (0.0, golden["gamma_0"])):
        picks = select(d1, d2, golden["K"], gamma, diversity)
        assert [pick.index for pick in picks] == wanted


def test_both_terms_are_told():
    golden = GOLDEN["selection"]
    picks = select(golden["d1"], np.array(golden["d2"]), 3, 0.1)
    assert [pick.d1 for pick in picks] == [0.5, 0.47, 0.48]
    # From nothing; from picture 0; the mean of those from pictures 0 and 2.
    assert [pick.d2 for pick in picks] == pytest.approx([0, 2, (0.1 + 2.1) / 2])


def test_of_equals_the_first_is_taken():
    assert [pick.index for pick in select([1, 1, 1], np.zeros((3, 3)), 2, 0.1)] == [0, 1]


def test_all_are_taken_where_there_are_too_few():
    assert sorted(pick.index for pick in select([3, 1], np.zeros((2, 2)), 20, 0.1)) == [0, 1]
    assert select([], np.zeros((0, 0)), 20, 0.1) == []


def test_diversity_keeps_a_second_of_the_same_away():
    d2 = diversity_of(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert d2 == pytest.approx(np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]]))
    assert [pick.index for pick in select([1, 0.99, 0.95], d2, 2, 0.1)] == [0, 2]
    assert [pick.index for pick in select([1, 0.99, 0.8], d2, 2, 0.1)] == [0, 1]


WITHOUT_FILES = [name for name, row in FIDELITIES.items() if not row.files]


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_the_measures_called_symmetric_are(name):
    measure, a, b = load_fidelity(name), picture(0, 64, 64), picture(1, 64, 64)
    there, back = float(measure(a, b)), float(measure(b, a))
    assert (there == pytest.approx(back, rel=1e-4)) == (name in SYMMETRIC)


def stored(folder, seed):
    (path,) = sorted(write_pictures(folder / str(seed), 1, seed=seed).iterdir())
    return path


def test_a_distance_is_computed_once_and_in_both_directions(tmp_path):
    a, b = stored(tmp_path, 0), stored(tmp_path, 1)
    keys = "a" * 64, "b" * 64
    first = Distances("vif", tmp_path / "d", "cpu")
    there = first(a, keys[0], b, keys[1])
    again = Distances("vif", tmp_path / "d", "cpu")
    again.measure = None  # pyright: ignore - it must not be needed
    assert again(b, keys[1], a, keys[0]) == there > 0
    assert again(a, keys[0], b, keys[0]) == 0


def test_a_row_that_was_cut_is_computed_again(tmp_path):
    a, b = stored(tmp_path, 0), stored(tmp_path, 1)
    keys = "a" * 64, "b" * 64
    there = Distances("mse", tmp_path / "d", "cpu")(a, keys[0], b, keys[1])
    table = tmp_path / "d" / "mse.csv"
    whole = table.read_bytes()
    table.write_bytes(whole[:-5])
    distances = Distances("mse", tmp_path / "d", "cpu")
    assert not distances.known
    assert distances(a, keys[0], b, keys[1]) == there
    assert table.read_bytes() == whole[:-5] + b"\n" + whole.partition(b"\n")[2]


def test_the_table_of_distances_names_its_columns(tmp_path):
    a, b = stored(tmp_path, 0), stored(tmp_path, 1)
    distance = Distances("mse", tmp_path / "d", "cpu")(a, "a" * 64, b, "b" * 64)
    with (tmp_path / "d" / "mse.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["result_a"], row["result_b"]) == ("a" * 64, "b" * 64)
    assert float(row["distance"]) == distance


@pytest.mark.parametrize("name", ["dists", "lpips"])
def test_a_measure_without_its_file_names_it_and_one_that_needs_none(name, no_files, tmp_path):
    with pytest.raises(ValueError, match=VGG16.name) as caught:
        Distances(name, tmp_path, "cpu")
    assert VGG16.url in str(caught.value)
    assert "measure = 'ms_ssim'" in str(caught.value)


def test_vgg_without_its_file_names_the_file_and_features_that_need_none(no_files):
    with pytest.raises(ValueError, match=VGG16.name) as caught:
        EXTRACTORS["vgg16"]("cpu")
    assert 'features = "colours_and_edges"' in str(caught.value)


@pytest.fixture
def no_files(monkeypatch, tmp_path):
    monkeypatch.setattr("latent_map.files.weight_files.standard_folders", lambda *_: (tmp_path,))
    for module in ("comparison.features", "files.catalog"):
        monkeypatch.setattr(f"latent_map.{module}.standard_folders", lambda *_: (tmp_path,))


@pytest.fixture
def random_vgg(monkeypatch, tmp_path):
    """A file as torchvision's, with random weights."""
    generator, tensors, before = torch.Generator().manual_seed(0), {}, 3
    for layer in VGG16_LAYERS:
        shape = (layer.channels, before, layer.size, layer.size)
        scale = (2 / (before * layer.size**2)) ** 0.5
        tensors[f"features.{layer.index}.weight"] = scale * torch.randn(shape, generator=generator)
        tensors[f"features.{layer.index}.bias"] = torch.zeros(layer.channels)
        before = layer.channels
    torch.save(tensors, tmp_path / VGG16.name)
    monkeypatch.setattr("latent_map.comparison.features.standard_folders", lambda *_: (tmp_path,))


def test_features_of_vgg_are_512_numbers_from_0_up(random_vgg):
    features = EXTRACTORS["vgg16"]("cpu")(picture(0, 96, 144))
    assert features.shape == (1, 512)
    assert (features >= 0).all()
    assert features.std() > 0


def test_colours_and_edges_tell_colours_and_directions():
    extract = EXTRACTORS["colours_and_edges"]("cpu")
    stripes = torch.zeros(1, 3, 256, 256)
    stripes[..., (torch.arange(256) // 8) % 2 == 0] = 1
    red = torch.zeros(1, 3, 256, 256)
    red[:, 0] = 0.9
    pictures = torch.cat([stripes, stripes.transpose(2, 3), red, red * 0.95])
    features = extract(pictures).double().numpy()
    assert features.shape == (4, 96)
    assert (features >= 0).all()
    apart = diversity_of(features)
    assert apart[0, 1] == pytest.approx(0.5, abs=0.02)  # the same colours, other directions
    assert apart[0, 2] > 0.95  # neither
    assert apart[2, 3] < 0.01


def test_features_are_computed_once_for_a_content(tmp_path, monkeypatch):
    write_pictures(tmp_path / "in", 2)
    inputs = [Input(f"picture{n}", "", "", 0, 64, 64, f"hash{n}") for n in range(2)]
    place = (inputs, tmp_path / "in", tmp_path / "features", "colours_and_edges", "cpu")
    first = read_features(*place)
    monkeypatch.setitem(EXTRACTORS, "colours_and_edges", None)
    assert np.array_equal(read_features(*place), first)
