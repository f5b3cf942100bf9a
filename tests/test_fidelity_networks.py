"""LPIPS and DISTS with random weights in the real layout, their files, and the catalogue."""

import email.message
import io
import math
import urllib.response

import pytest
import torch
from latent_map.fidelity.catalog import FIDELITIES, REFUSED
from latent_map.fidelity.dists import Dists
from latent_map.fidelity.loading import load_fidelity, missing_fidelity
from latent_map.fidelity.lpips import Lpips
from latent_map.fidelity.networks import ALEXNET_LAYERS, VGG16_LAYERS, FeatureNetwork, load_weights
from latent_map.fidelity.tables import table
from latent_map.files import transfers

from .toys import picture

LAYERS = {"vgg": VGG16_LAYERS, "alex": ALEXNET_LAYERS}
FLOAT32 = 1e-5  # relative, of sums over half a thousand channels
DIFFERENCE_STEP = 1e-6
DIFFERENCE_TOLERANCE = 0.02  # ReLU and maxima of a random network


def random_weights(network: str) -> dict[str, torch.Tensor]:
    """He-scaled weights under torchvision's names without `features.`."""
    generator, before, weights = torch.Generator().manual_seed(1), 3, {}
    for layer in LAYERS[network]:
        shape = (layer.channels, before, layer.size, layer.size)
        scale = math.sqrt(2 / (before * layer.size**2))
        weights[f"{layer.index}.weight"] = scale * torch.randn(shape, generator=generator)
        weights[f"{layer.index}.bias"] = 0.01 * torch.randn(layer.channels, generator=generator)
        before = layer.channels
    return weights


@pytest.fixture(scope="module")
def weights():
    return {network: random_weights(network) for network in LAYERS}


@pytest.fixture(scope="module")
def measures(weights):
    return {
        "lpips": Lpips("vgg", weights["vgg"]),
        "lpips_alex": Lpips("alex", weights["alex"]),
        "dists": Dists(weights["vgg"]),
    }


def torchvision_features(network: str, weights: dict[str, torch.Tensor]) -> torch.nn.Module:
    models = pytest.importorskip("torchvision").models
    with torch.device("meta"):
        whole = models.vgg16(weights=None) if network == "vgg" else models.alexnet(weights=None)
    features = whole.features.to_empty(device="cpu").eval()
    features.load_state_dict(weights)
    return features


@pytest.mark.parametrize("network", LAYERS)
def test_feature_maps_are_torchvisions(network, weights):
    features = torchvision_features(network, weights[network])
    x, theirs = picture(0, 40, 32), []
    value = x
    taps = {layer.index + 1 for layer in LAYERS[network] if layer.tap}
    for index, module in enumerate(features[: max(taps) + 1]):
        value = module(value)
        if index in taps:
            theirs.append(value.clone())
    lpips = Lpips(network, weights[network])
    ours = lpips.features(x)
    assert len(ours) == len(theirs) == 5
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, rtol=FLOAT32, atol=FLOAT32)


@pytest.mark.parametrize("name", ["lpips", "dists"])
def test_piq_computes_the_same(name, weights, measures, monkeypatch):
    perceptual = pytest.importorskip("piq.perceptual")
    features = torchvision_features("vgg", weights["vgg"])
    whole = type("Vgg", (), {"features": features})()
    monkeypatch.setattr(perceptual, "vgg16", lambda **_: whole)
    alpha, beta = table("dists.alpha"), table("dists.beta")
    total = alpha.sum() + beta.sum()
    published = {
        "lpips": [table(f"lpips.vgg.{i}")[None, :, None, None] for i in range(5)],
        "dists": {
            key: (value / total)[None, :, None, None]
            for key, value in (("alpha", alpha), ("beta", beta))
        },
    }
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: published[name])
    theirs = {"lpips": perceptual.LPIPS, "dists": perceptual.DISTS}[name](reduction="none")
    a, b = picture(1, 32, 32, batch=2), picture(2, 32, 32, batch=2)
    assert torch.allclose(measures[name](a, b), theirs(a, b).flatten(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["lpips", "lpips_alex", "dists"])
def test_networks_measure_like_the_other_measures(name, measures):
    fidelity, smallest = measures[name], FIDELITIES[name].min_side
    image = picture(0, smallest, smallest + 5, batch=2)
    assert fidelity(image, image.clone()).abs().max() < 1e-6
    a, b = (picture(seed, smallest, smallest, batch=2) for seed in (1, 2))
    together = fidelity(a, b)
    assert together.shape == (2,)
    singles = [float(fidelity(a[i : i + 1], b[i : i + 1])) for i in range(2)]
    assert together.tolist() == pytest.approx(singles, rel=FLOAT32)
    for noise in (0.0, 1e-6):
        moving = (a + noise * (b - a)).requires_grad_(True)
        (gradient,) = torch.autograd.grad(fidelity(moving, a).sum(), moving)
        assert torch.isfinite(gradient).all()
    black = torch.zeros_like(a).requires_grad_(True)
    (gradient,) = torch.autograd.grad(fidelity(black, a).sum(), black)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["lpips_alex", "dists"])
def test_gradient_is_that_of_finite_differences(name, weights):
    network = "alex" if name == "lpips_alex" else "vgg"
    exact = {key: value.double() for key, value in weights[network].items()}
    fidelity = Dists(exact) if name == "dists" else Lpips(network, exact)
    side = FIDELITIES[name].min_side
    reference, other = (picture(seed, side, side).double() for seed in (1, 2))
    moving = (0.7 * reference + 0.3 * other).requires_grad_(True)
    distance = fidelity(moving, reference)
    (gradient,) = torch.autograd.grad(distance.sum(), moving)
    direction = gradient / gradient.square().mean().sqrt()
    with torch.no_grad():
        rise = float(fidelity(moving + DIFFERENCE_STEP * direction, reference) - distance)
    expected = DIFFERENCE_STEP * float((gradient * direction).sum())
    assert rise == pytest.approx(expected, rel=DIFFERENCE_TOLERANCE)


def test_files_are_found_read_and_checked(tmp_path, monkeypatch, weights):
    monkeypatch.setenv("LATENT_MAP_MODELS", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    file = tmp_path / "iqa" / "alexnet-owt-7be5be79.pth"
    with pytest.raises(ValueError, match=r"alexnet-owt-7be5be79.pth .*download\.py\" lpips_alex"):
        load_fidelity("lpips_alex")
    assert "lpips_alex" in missing_fidelity("lpips_alex")
    assert missing_fidelity("mse") == ""
    file.parent.mkdir()
    state = {f"features.{name}": value for name, value in weights["alex"].items()}
    torch.save(state | {"classifier.1.weight": torch.zeros(2)}, file)
    assert missing_fidelity("lpips_alex") == ""
    a, b = picture(1, 40, 36), picture(2, 40, 36)
    wanted = Lpips("alex", weights["alex"])(a, b)
    for fidelity in (
        load_fidelity("lpips_alex"),
        load_fidelity("lpips_alex", path=file),
        load_fidelity("lpips_alex", path=file.parent),
    ):
        assert torch.equal(fidelity(a, b), wanted)
    with pytest.raises(ValueError, match=r"another network's \(features"):
        load_weights(file, VGG16_LAYERS)
    known = load_fidelity("lpips_alex").identity
    assert known.startswith("lpips (alex) of ")
    other = tmp_path / file.name
    torch.save({name: 2 * value for name, value in state.items()}, other)
    assert load_fidelity("lpips_alex", path=other).identity != known
    with pytest.raises(ValueError, match="needs sides of 32"):
        load_fidelity("lpips_alex")(picture(0, 31, 40), picture(1, 31, 40))


def test_a_file_that_could_run_code_is_refused(tmp_path):
    file = tmp_path / "vgg16-397923af.pth"
    torch.save({"features.0.weight": print}, file)
    with pytest.raises(ValueError, match="could run its code"):
        load_fidelity("dists", path=file)


def test_nothing_is_downloaded_unasked_and_a_wrong_file_is_dropped(tmp_path, monkeypatch):
    monkeypatch.delenv("LATENT_MAP_MODELS", raising=False)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    content, asked = b"weights", []

    def answer(request):
        asked.append(request.full_url)
        length = email.message.Message()
        length["Content-Length"] = str(len(content))
        return urllib.response.addinfourl(io.BytesIO(content), length, request.full_url, 200)

    monkeypatch.setattr(transfers, "_open", answer)
    with pytest.raises(ValueError, match="which is in none of the folders"):
        load_fidelity("lpips")
    assert not asked
    with pytest.raises(OSError, match="its sha256 is"):
        load_fidelity("lpips", download=True)
    assert asked == ["https://download.pytorch.org/models/vgg16-397923af.pth"]
    assert not list((tmp_path / "checkpoints").iterdir())


def test_every_row_says_what_it_is_and_refusals_say_why():
    for name, row in FIDELITIES.items():
        assert row.summary, name
        assert row.range, name
        assert row.licence, name
        if row.files:
            assert callable(row.load.find()), name
        else:
            assert load_fidelity(name).name == name
    for name in REFUSED:
        with pytest.raises(ValueError, match="is not offered"):
            load_fidelity(name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("vif", {"planes": "lab"}, "unknown planes 'lab': choose rgb or luma"),
        ("vif", {"scale": 2}, "unknown options scale: choose planes"),
        ("fsim", {"planes": "luma"}, "'fsim' has no options, got planes"),
        ("pamse", {"sigma": 0}, "sigma 0 must be above 0"),
        ("pamse", {"sigma": math.nan}, "must be above 0"),
        ("lpips", {"planes": "luma"}, "has no options"),
    ],
)
def test_wrong_options_are_refused_before_any_file_is_looked_for(name, options, message):
    with pytest.raises(ValueError, match=message):
        load_fidelity(name, **options)


def test_network_weights_and_features_keep_the_pictures_dtype(weights):
    network = FeatureNetwork(ALEXNET_LAYERS, weights["alex"], lambda x: x[..., ::2, ::2])
    assert network(picture(0, 40, 40).double())[0].dtype == torch.float64
