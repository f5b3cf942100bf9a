"""QualiCLIP(+), CLIP-IQA+'s variants with positions, and the LAION aesthetics predictor against
pyiqa's, at small size.

openai-clip, which pyiqa's versions need, does not import beside a current setuptools: the
stand-in for pkg_resources is for these tests alone.
"""

import sys
import types
from functools import partial

import pytest
import torch
from latent_map.iqa_priors.clip.clipiqa import build_clipiqa
from latent_map.iqa_priors.clip.laion_aes import Head, laion_aes
from latent_map.iqa_priors.clip.model import Clip, clip_tensors, shape_of
from latent_map.iqa_priors.clip.qualiclip import qualiclip
from latent_map.iqa_priors.loading import load_prior

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
            from pyiqa.archs import clip_model, clipiqa_arch, laion_aes_arch, qualiclip_arch
        except ImportError as error:
            pytest.skip(f"pyiqa's CLIP: NOT RUN ({error})")
    return types.SimpleNamespace(
        model=clip_model.CLIP, clipiqa=clipiqa_arch, laion=laion_aes_arch, qualiclip=qualiclip_arch
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


VARIANTS = {
    "clipiqa+_rn50_512": ("RN50.pt", "CLIPIQA+_RN50_512-89f5d940.pth"),
    "clipiqa+_vitL14_512": ("ViT-L-14.pt", "CLIPIQA+_ViTL14_512-e66488f2.pth"),
}


@pytest.fixture
def variant(pyiqa_clip, tmp_path, monkeypatch):
    """Makes the two files of a variant; pyiqa's metric around them, and ours."""

    def make(name):
        clip_file, words_file = VARIANTS[name]
        residual = clip_file == "RN50.pt"
        weights = cw.resnet_checkpoint() if residual else cw.transformer_checkpoint()
        torch.save(weights, tmp_path / clip_file)
        shape = cw.TRANSFORMER
        sizes = shape["layers"], shape["width"], shape["patch"]
        build = resnet_of if residual else lambda found: their_clip(found, weights, *sizes)
        monkeypatch.setattr(pyiqa_clip.clipiqa, "load", lambda *_: build(pyiqa_clip))
        theirs = pyiqa_clip.clipiqa.CLIPIQA(name, pretrained=False, pos_embedding=True).eval()
        theirs.prompt_learner.ctx.data = cw.learned_words()
        torch.save({"params": theirs.state_dict()}, tmp_path / words_file)
        return load_prior(name, path=tmp_path), theirs

    return make


@pytest.mark.parametrize("size", [(97, 130), (224, 224)])
@pytest.mark.parametrize("name", VARIANTS)
def test_clip_iqas_variants_are_pyiqas(variant, name, size):
    ours, theirs = variant(name)
    compare(ours.official, theirs, cw.picture(*size))


def test_the_transformer_variant_covers_what_the_last_whole_patch_leaves_out(variant):
    ours, _ = variant("clipiqa+_vitL14_512")
    for metric, seen in ((ours.official, False), (ours.metric, True)):
        moving = cw.picture(70, 90).requires_grad_(True)
        (slope,) = torch.autograd.grad(metric(moving).sum(), moving)
        assert bool((slope[..., 64:].abs().amax(1) > 0).all()) is seen
    with pytest.raises(ValueError, match=r"2049x2048 pixels is too large.*2048 squared"):
        ours(torch.zeros(1).expand(1, 3, 2048, 2049))


@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_gradient_is_that_of_their_score(name):
    clip = clip_tensors(cw.resnet_checkpoint() if "rn50" in name else cw.transformer_checkpoint())
    ours = Clip(shape_of(clip))
    ours.load_state_dict(clip)
    metric = partial(build_clipiqa(ours.double(), positions=True), whole=True)
    moving = cw.picture(70, 90).double().requires_grad_(True)
    (slope,) = torch.autograd.grad(metric(moving).sum(), moving)
    direction = STEP * slope / slope.norm()
    with torch.no_grad():
        change = (metric(moving + direction) - metric(moving - direction)) / (2 * STEP)
    assert float(change) == pytest.approx(float(slope.norm()), rel=FINITE_DIFFERENCE)


@pytest.mark.parametrize("name", VARIANTS)
def test_learned_words_of_another_clip_are_refused(variant, tmp_path, name):
    variant(name)
    file = tmp_path / VARIANTS[name][1]
    words = {k: v[..., :64] for k, v in torch.load(file, weights_only=True)["params"].items()}
    torch.save({"params": words}, file)
    with pytest.raises(ValueError, match="holds no learned words of CLIP-IQA"):
        load_prior(name, path=tmp_path)


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
