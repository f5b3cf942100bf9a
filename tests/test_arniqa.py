"""ARNIQA against pyiqa's own computation, from files of the published layouts, and its files."""

import os
import zipfile

import pytest
import torch
from latent_map.files.pickles import is_program, program_tensors
from latent_map.iqa_priors.arniqa import FEATURES, arniqa, build_encoder, read_linear
from latent_map.iqa_priors.loading import load_prior
from safetensors.torch import save_file
from torch import nn

from .toys import picture

SAME = 1e-5  # float32, the same operations in another order
STEP, FINITE_DIFFERENCE = 1e-4, 0.02  # float64; ReLU kinks within the step
SINGLES = 1e-9  # float64: sums over a batch round otherwise
FILES = ("ARNIQA.pth", "regressor_koniq10k.pth")


class Regressor(nn.Module):
    """A ridge regression as sk2torch wraps it, with which such programs are made."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weights = nn.Parameter(torch.randn(1, 2 * FEATURES, generator=generator))
        self.biases = nn.Parameter(torch.tensor(40.0))

    def forward(self, features):
        return (features @ self.weights.t() + self.biases).view(-1)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return build_encoder().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, encoder):
    path = tmp_path_factory.mktemp("arniqa")
    state = {f"model.{name}": value for name, value in encoder.state_dict().items()}
    torch.save(state | {"projector.0.weight": torch.zeros(3, 3)}, path / FILES[0])
    torch.jit.script(Regressor()).save(path / FILES[1])
    return path


def test_it_scores_as_pyiqas(folder, monkeypatch):
    arch = pytest.importorskip("pyiqa.archs.arniqa_arch")
    real = arch.torchvision.models.resnet50
    monkeypatch.setattr(arch.torchvision.models, "resnet50", lambda weights: real(weights=None))
    stored = torch.load(folder / FILES[0], weights_only=True)
    monkeypatch.setattr(arch.torch.hub, "load_state_dict_from_url", lambda *_, **__: stored)
    monkeypatch.setattr(arch, "load_file_from_url", lambda *_, **__: folder / FILES[1])
    theirs = arch.ARNIQA("koniq").eval().requires_grad_(False)
    ours = load_prior("arniqa", path=folder)
    for size in ((64, 80), (75, 61)):
        moving = picture(2, *size, batch=2).requires_grad_(True)
        score, wanted = ours.scores(moving)["arniqa"], theirs(moving)
        assert torch.allclose(score, wanted, atol=SAME)
        slope, expected = (torch.autograd.grad(s.sum(), moving)[0] for s in (score, wanted))
        assert (slope - expected).norm() < 1e-3 * expected.norm()
        assert expected.norm() > 0


def test_its_gradient_is_that_of_its_score_and_leaves_no_pixel_out(folder):
    encoder = build_encoder().eval().requires_grad_(False)
    state = torch.load(folder / FILES[0], weights_only=True)
    state = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    encoder.load_state_dict(state)
    metric = arniqa(encoder.double(), *read_linear(folder / FILES[1], 2 * FEATURES), (1, 100))
    images = picture(3, 48, 40, batch=2).double()
    moving = images.clone().requires_grad_(True)
    scores = metric.official(moving)
    (slope,) = torch.autograd.grad(scores.sum(), moving)
    assert (slope.abs().amax(1) > 0).all()
    with torch.no_grad():
        direction = STEP * slope / slope.norm()
        up, down = (metric.official(images + sign * direction).sum() for sign in (1, -1))
        singles = torch.cat([metric.official(image) for image in images.split(1)])
        assert torch.equal(metric.official(images), scores)
    assert float((up - down) / (2 * STEP)) == pytest.approx(
        float(slope.norm()), rel=FINITE_DIFFERENCE
    )
    assert torch.allclose(scores, singles, rtol=SINGLES)


def test_the_smallest_picture_and_what_is_none(folder):
    prior = load_prior("arniqa", path=folder)
    assert prior(picture(1, 16, 16)).isfinite().all()
    with pytest.raises(ValueError, match="pass RGB"):
        prior.scores(torch.rand(1, 1, 32, 32))


class Harmful(nn.Module):
    """A program that fails when it is run."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2 * FEATURES, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the program was run")


def test_a_regressor_is_read_and_not_run(tmp_path):
    path, program = tmp_path / "regressor.pth", Harmful()
    torch.jit.script(program).save(path)
    with pytest.raises(Exception, match="the program was run"):
        torch.jit.load(path)(torch.zeros(1))
    assert is_program(path)
    assert program_tensors(path, "it").keys() == {"inner.weight", "inner.bias"}
    slope, offset = read_linear(path, 2 * FEATURES)
    assert torch.equal(slope, program.inner.weight.detach()[0])
    assert torch.equal(offset, program.inner.bias.detach()[0])


def test_a_regressor_may_be_plain_weights(tmp_path):
    tensors = {"weight": torch.rand(1, 8), "bias": torch.rand(1)}
    torch.save(tensors, tmp_path / "it.pth")
    save_file(tensors, tmp_path / "it.safetensors")
    for name in ("it.pth", "it.safetensors"):
        slope, offset = read_linear(tmp_path / name, 8)
        assert torch.equal(slope, tensors["weight"][0])
        assert torch.equal(offset, tensors["bias"][0])


class Runs:
    def __reduce__(self):
        return os.putenv, ("LATENT_MAP_TEST_CODE_RAN", "1")


def repacked(source, target, content):
    """The program with another data.pkl."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, content if name.endswith("/data.pkl") else old.read(name))


def test_a_program_with_anything_but_tensors_is_refused(folder, tmp_path):
    import pickle

    path = tmp_path / "regressor.pth"
    repacked(folder / FILES[1], path, pickle.dumps(Runs()))
    with pytest.raises(ValueError, match=r"regressor\.pth .*.*putenv"):
        read_linear(path, 2 * FEATURES)
    for content in (b"", b"nonsense", pickle.dumps(3)):
        repacked(folder / FILES[1], path, content)
        with pytest.raises(ValueError, match=r"regressor\.pth is damaged"):
            read_linear(path, 2 * FEATURES)


def test_other_maps_are_refused(tmp_path):
    path = tmp_path / "regressor.pth"
    two = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 1))
    torch.jit.script(two).save(path)
    with pytest.raises(ValueError, match=r"no linear map of 8 features \(0\.weight \(8, 8\)"):
        read_linear(path, 8)


def test_another_encoder_is_refused(folder, tmp_path):
    (tmp_path / FILES[1]).symlink_to(folder / FILES[1])
    torch.save({"model.0.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / FILES[0])
    with pytest.raises(ValueError, match=r"ARNIQA\.pth does not fit ARNIQA's ResNet-50"):
        load_prior("arniqa", path=tmp_path)
