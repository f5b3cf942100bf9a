"""QualiCLIP(+) and the LAION aesthetics predictor against pyiqa's, at small size.

openai-clip, which pyiqa's versions need, does not import beside a current setuptools: the
stand-in for pkg_resources is for these tests alone.
"""

import sys
import types

import pytest
import torch
from latent_map.iqa_priors import load_prior
from latent_map.iqa_priors.clip_model import Clip, clip_tensors, shape_of
from latent_map.iqa_priors.laion_aes import Head, laion_aes
from latent_map.iqa_priors.qualiclip import qualiclip

from . import clip_weights as cw

pytest.importorskip("pyiqa")
pytest.importorskip("ftfy", reason="openai-clip's")
SAME = 1e-5  # float32 through two implementations of the same network
STEP, FINITE_DIFFERENCE = 1e-4, 0.02  # float64; ReLU kinks within the step
TEXTS = 14


@pytest.fixture(scope="module")
def pyiqa_clip():
    """pyiqa's CLIP files, importable, and a builder of small CLIPs."""
    with pytest.MonkeyPatch.context() as patch:
        stand_in = types.ModuleType("pkg_resources")
        stand_in.packaging = pytest.importorskip("packaging")
        pytest.importorskip("packaging.version")
        patch.setitem(sys.modules, "pkg_resources", stand_in)
        try:
            from pyiqa.archs import clip_model, laion_aes_arch, qualiclip_arch
        except ImportError as error:
            pytest.skip(f"pyiqa's CLIP: NOT RUN ({error})")
    return types.SimpleNamespace(
        model=clip_model.CLIP, laion=laion_aes_arch, qualiclip=qualiclip_arch
    )


def their_clip(pyiqa_clip, weights, layers, width, patch):
    sizes = cw.CONTEXT, cw.VOCABULARY, cw.TEXT_WIDTH, cw.TEXT_WIDTH // 64, cw.TEXT_LAYERS
    clip = pyiqa_clip.model(cw.FEATURES, 224, layers, width, patch, *sizes)
    clip.load_state_dict(weights)
    return clip.eval()


def resnet_of(pyiqa_clip):
    sizes = cw.RESIDUAL["blocks"], cw.RESIDUAL["width"], None
    return their_clip(pyiqa_clip, cw.resnet_checkpoint(), *sizes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """QualiCLIP.pth with made-up weights."""
    path = tmp_path_factory.mktemp("qualiclip")
    texts = cw.draw(5, (TEXTS, cw.FEATURES))
    weights = {f"clip_model.{name}": value for name, value in cw.resnet_checkpoint().items()}
    features = {"prompts_features": texts / texts.norm(dim=-1, keepdim=True)}
    torch.save({**weights, **features}, path / "QualiCLIP.pth")
    return path


@pytest.fixture
def theirs(pyiqa_clip, folder, monkeypatch):
    """Builds pyiqa's QualiCLIP around the same files."""
    arch = pyiqa_clip.qualiclip
    monkeypatch.setattr(arch, "load", lambda *_: resnet_of(pyiqa_clip))
    monkeypatch.setattr(arch, "load_file_from_url", lambda _: folder / "QualiCLIP.pth")
    return lambda name: arch.QualiCLIP(name, pretrained=False).eval()


def compare(ours, theirs, image):
    """Scores and gradients."""
    results = []
    for metric in (ours, theirs):
        moving = image.clone().requires_grad_(True)
        score = metric(moving).reshape(-1)
        results.append((score.detach(), torch.autograd.grad(score.sum(), moving)[0]))
    (score, slope), (wanted, wanted_slope) = results
    assert torch.allclose(score, wanted, atol=SAME)
    assert (slope - wanted_slope).norm() < 1e-3 * wanted_slope.norm()


def test_qualiclip_is_pyiqas(theirs, folder):
    ours = load_prior("qualiclip", path=folder).metric
    compare(ours, theirs("qualiclip"), cw.picture(70, 90))


def test_qualiclip_plus_is_pyiqas(theirs, folder):
    metric = theirs("qualiclip+")
    metric.prompt_learner.ctx.data = 0.3 * cw.draw(9, tuple(metric.prompt_learner.ctx.shape))
    file = folder / "QualiCLIP+_koniq.pth"
    torch.save({"params": metric.state_dict()}, file)
    image = cw.picture(70, 90)
    ours = load_prior("qualiclip+", path=folder).metric
    compare(ours, metric, image)
    plain = load_prior("qualiclip", path=folder).metric
    assert abs(float(ours(image) - plain(image))) > 10 * SAME


def test_qualiclips_gradient_is_that_of_its_score():
    found = clip_tensors(cw.resnet_checkpoint())
    clip = Clip(shape_of(found))
    clip.load_state_dict(found)
    texts = torch.nn.functional.normalize(cw.draw(5, (TEXTS, cw.FEATURES)).double(), dim=-1)
    metric = qualiclip(clip.eval().requires_grad_(False).double(), texts)
    moving = cw.picture(48, 64).double().requires_grad_(True)
    (slope,) = torch.autograd.grad(metric(moving).sum(), moving)
    # The small tower's few channels are all at rest (ReLU) here and there.
    assert (slope.abs().amax(1) > 0).double().mean() > 0.9
    direction = STEP * slope / slope.norm()
    with torch.no_grad():
        change = (metric(moving + direction) - metric(moving - direction)) / (2 * STEP)
    assert float(change) == pytest.approx(float(slope.norm()), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize("drop", ["prompts_features", "clip_model.visual.conv1.weight"])
def test_a_qualiclip_file_that_lacks_something_is_refused(folder, tmp_path, drop):
    tensors = torch.load(folder / "QualiCLIP.pth", weights_only=True)
    del tensors[drop]
    torch.save(tensors, tmp_path / "QualiCLIP.pth")
    with pytest.raises(ValueError, match=r"QualiCLIP\.pth"):
        load_prior("qualiclip", path=tmp_path)


def test_a_picture_too_small_for_the_tower_is_refused(folder):
    with pytest.raises(ValueError, match="at least 32"):
        load_prior("qualiclip", path=folder)(cw.picture(31, 40))


class Squares(torch.nn.Module):
    """pyiqa's predictor wants these names of CLIP."""

    def __init__(self, clip):
        super().__init__()
        self.visual = types.SimpleNamespace(input_resolution=224, output_dim=cw.FEATURES)
        self.clip = clip

    def encode_image(self, image):
        return self.clip.encode_image(image, True)


@pytest.fixture(scope="module")
def our_clip():
    found = clip_tensors(cw.transformer_checkpoint())
    clip = Clip(shape_of(found))
    clip.load_state_dict(found)
    return clip.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def head():
    torch.manual_seed(3)
    return Head(cw.FEATURES).requires_grad_(False)


@pytest.mark.parametrize("size", [(224, 224), (240, 310), (120, 100)])
def test_the_aesthetics_predictor_is_pyiqas(pyiqa_clip, our_clip, head, size, monkeypatch):
    shape = cw.TRANSFORMER
    sizes = shape["layers"], shape["width"], shape["patch"]
    clip = their_clip(pyiqa_clip, cw.transformer_checkpoint(), *sizes)
    monkeypatch.setattr(pyiqa_clip.laion.clip, "load", lambda _: (Squares(clip), None))
    theirs = pyiqa_clip.laion.LAIONAes(pretrained=False).eval()
    theirs.mlp.load_state_dict(head.state_dict())
    compare(laion_aes(our_clip, head).official, theirs, cw.picture(*size))


def test_the_aesthetics_prior_covers_what_the_centre_square_leaves_out(our_clip, head):
    scorer, image = laion_aes(our_clip, head), cw.picture(226, 300)
    for metric, seen in ((scorer.official, False), (scorer.covering, True)):
        moving = image.clone().requires_grad_(True)
        (slope,) = torch.autograd.grad(metric(moving).sum(), moving)
        assert bool((slope[..., :20].abs().amax(1) > 0).all()) is seen
