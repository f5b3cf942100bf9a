"""LIQE and CLIP-IQA: the same numbers as the originals, from the same files."""

import sys
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from latent_map.iqa_priors.clip import model as clip_model
from latent_map.iqa_priors.clip.clipiqa import PROMPTS, load_clipiqa
from latent_map.iqa_priors.clip.liqe import (
    MULTITASK_PROMPTS,
    QUALITY_PROMPTS,
    build_liqe,
    expected_quality,
    limited,
    load_liqe,
    published_crops,
)
from latent_map.iqa_priors.clip.model import Clip, ResnetShape, VisionShape, load_clip
from latent_map.iqa_priors.clip.tokens import END, START, tokenise
from latent_map.iqa_priors.loading import load_prior
from safetensors.torch import load_file, save_file

from . import clip_weights as cw

SAME = 1e-5  # float32, the same operations in another order
SAME_GRADIENT = 1e-4  # of its largest value
SLOPE = 1e-6  # float64, central differences
GOLDEN = Path(__file__).parent / "data" / "clip_golden" / "golden.safetensors"


@pytest.fixture(scope="module")
def golden():
    return load_file(GOLDEN)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Checkpoints as they are published: pyiqa's wrapped pickles, OpenAI's layout."""
    folder = tmp_path_factory.mktemp("clip")
    liqe = {f"clip_model.{k}": v for k, v in cw.transformer_checkpoint().items()}
    torch.save({"params": liqe}, folder / "liqe_koniq.pt")
    torch.save(cw.resnet_checkpoint(), folder / "RN50.pt")
    torch.save(torch.nn.Parameter(cw.learned_words()), folder / "words.pth")
    return folder


@cache
def metric_of(name, files):
    if name.startswith("liqe"):
        return load_liqe("cpu", (files / "liqe_koniq.pt",), name == "liqe_mix").official
    paths = (files / "RN50.pt", files / "words.pth")
    return load_clipiqa("cpu", paths, name == "clipiqa+").official


def gradient(metric, image):
    image = image.clone().requires_grad_(True)
    return torch.autograd.grad(metric(image).sum(), image)[0]


@pytest.mark.parametrize("name", ["liqe", "liqe_mix", "clipiqa", "clipiqa+"])
def test_score_and_gradient_are_the_originals(name, golden, files):
    image = cw.picture(400, 390) if name.startswith("liqe") else cw.picture(97, 130)
    metric = metric_of(name, files)
    assert metric(image).item() == pytest.approx(golden[f"{name}.score"].item(), abs=SAME)
    found, wanted = F.avg_pool2d(gradient(metric, image), 10), golden[f"{name}.gradient"]
    assert (found - wanted).abs().max() <= SAME_GRADIENT * wanted.abs().max()


@pytest.mark.parametrize(("name", "prompts"), [("liqe", QUALITY_PROMPTS), ("liqe_mix", None)])
def test_texts_are_the_originals(name, prompts, golden, files):
    clip = load_clip(files / "liqe_koniq.pt")
    with torch.no_grad():
        found = clip.encode_text(tokenise(prompts or MULTITASK_PROMPTS))[::7]
    torch.testing.assert_close(found, golden[f"{name}.text"], rtol=0, atol=SAME)


def test_tokens_are_those_of_clips_own_tokenizer():
    # Noted from openai-clip 1.0.1.
    good = tokenise(["a photo with good quality"])[0]
    assert good[:8].tolist() == [START, 320, 1125, 593, 886, 3027, END, 0]
    hardest = "a photo of a still_life with jpeg2000 compression artifacts, which is of perfect "
    wanted = [320, 1125, 539, 320, 1170, 318, 970, 593, 73, 11207, 273, 271, 271, 271, 25638, 30249]
    found = tokenise([f"{hardest}quality"])[0]
    assert found[:24].tolist() == [START, *wanted, 267, 1448, 533, 539, 1878, 3027, END]
    assert tokenise(["Noise-free image"])[0, :6].tolist() == [START, 9307, 268, 1139, 2867, END]
    assert tokenise(["Good photo.."])[0, :5].tolist() == [START, 886, 1125, 852, END]


def test_tokens_of_the_prompts_are_those_of_the_vocabulary():
    """Against openai-clip's own tokenizer where that is installed: only its one file is used."""
    import importlib.util
    import sysconfig

    file = Path(sysconfig.get_paths()["purelib"]) / "clip" / "simple_tokenizer.py"
    if not file.is_file():
        pytest.skip("openai-clip is not installed")
    spec = importlib.util.spec_from_file_location("clip_tokenizer", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    theirs = module.SimpleTokenizer()
    prompts = (*QUALITY_PROMPTS, *MULTITASK_PROMPTS[::9], *PROMPTS)
    for prompt, row in zip(prompts, tokenise(prompts), strict=True):
        codes = [START, *theirs.encode(prompt), END]
        assert row[: len(codes)].tolist() == codes, prompt


def test_there_are_495_prompts_in_groups_of_one_quality():
    assert len(set(MULTITASK_PROMPTS)) == 495
    assert MULTITASK_PROMPTS[0].startswith("a photo of a animal with jpeg2000 compression")
    assert all("is of bad" in prompt for prompt in MULTITASK_PROMPTS[:99])
    assert all("is of perfect" in prompt for prompt in MULTITASK_PROMPTS[-99:])


def test_a_word_without_tokens_is_refused():
    with pytest.raises(ValueError, match="no tokens for the word 'cat'"):
        tokenise(["a photo of a cat"])


def test_qualities_worked_by_hand():
    # Even odds: (1 + 2 + 3 + 4 + 5) / 5. All on "good": 4. Odds 1 : 3 of bad and perfect: 4.
    logits = torch.full((3, 5), -1e4, dtype=torch.float64)
    logits[0], logits[1, 3] = 7.0, 0.0
    logits[2, 0], logits[2, 4] = 0.0, torch.tensor(3.0).log()
    assert expected_quality(logits).tolist() == pytest.approx([3, 4, 4], abs=1e-6)
    # Two prompts per quality: their probabilities add up. 2 : 1 for bad against poor.
    pairs = torch.full((1, 10), -1e4, dtype=torch.float64)
    pairs[0, 0] = pairs[0, 1] = pairs[0, 3] = 0.0
    assert expected_quality(pairs).item() == pytest.approx(4 / 3, abs=1e-6)


def test_the_published_crops_are_every_third_of_the_first_45():
    # 448 x 448: 8 x 8 crops, step 64 // 15 = 4, so 0, 4, ... 56: rows 0, 0, 32, 32, ...
    crops = published_crops(448, 448)
    assert crops[:3] == [(0, 0), (0, 128), (32, 0)]
    assert crops[-1] == (224, 0)
    assert len(crops) == 15
    assert published_crops(224, 224) == [(0, 0)]
    assert published_crops(256, 300) == [(y, x) for y in (0, 32) for x in (0, 32, 64)]


def test_the_published_rule_is_blind_and_the_covering_one_is_not(files):
    scorer = load_liqe("cpu", (files / "liqe_koniq.pt",))
    image = cw.picture(300, 270)
    blind = gradient(scorer.official, image).abs().amax(1)[0]
    assert not blind[:, 256:].any()
    assert not blind[288:].any()
    seen = gradient(scorer.covering, image).abs().amax(1)[0]
    # The network looks at the picture in patches: a whole patch has a gradient or has none.
    assert (F.max_pool2d(seen[None], 6) > 0).all()
    assert (seen > 0).float().mean() > 0.999


def test_a_picture_of_one_crop_scores_the_same_by_both_rules(files):
    scorer = load_liqe("cpu", (files / "liqe_koniq.pt",))
    image = cw.picture(224, 224)
    assert scorer.official(image).item() == pytest.approx(scorer.covering(image).item(), abs=SAME)
    assert scorer.local(image).shape == (1, 224, 224)
    torch.testing.assert_close(
        scorer.local(image), scorer.official(image).view(1, 1, 1).expand(1, 224, 224)
    )


@pytest.mark.parametrize("name", ["liqe", "clipiqa+"])
def test_a_batch_scores_as_its_pictures_and_twice_the_same(name, files):
    metric = metric_of(name, files)
    images = torch.cat((cw.picture(256, 240), cw.picture(256, 240, seed=5)))
    scores = metric(images)
    alone = torch.cat([metric(image[None]) for image in images])
    torch.testing.assert_close(scores, alone, rtol=0, atol=SAME)
    assert scores[0] != pytest.approx(scores[1].item(), abs=1e-3)
    assert torch.equal(metric(images), scores)
    assert torch.equal(gradient(metric, images[:1]), gradient(metric, images[:1]))


@pytest.mark.parametrize("rule", ["official", "covering"])
def test_liqes_slope_is_that_of_finite_differences(rule, files):
    liqe = build_liqe(load_clip(files / "liqe_koniq.pt").double())
    check_slope(getattr(liqe, rule), cw.picture(256, 224).double())


def test_clip_iqas_slope_is_that_of_finite_differences(files):
    from latent_map.iqa_priors.clip.clipiqa import build_clipiqa

    check_slope(build_clipiqa(load_clip(files / "RN50.pt").double()), cw.picture(64, 75).double())


def check_slope(metric, image):
    slope = gradient(metric, image)
    step = 1e-4 * slope / slope.norm()
    with torch.no_grad():
        difference = metric(image + step) - metric(image - step)
    assert difference.item() / 2e-4 == pytest.approx(slope.norm().item(), rel=SLOPE)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (95, 64)])
def test_clip_iqa_sees_every_pixel_of_any_size(height, width, files):
    seen = gradient(metric_of("clipiqa", files), cw.picture(height, width)).abs().amax(1)
    # Four channels after the small tower's first convolution: at some pixels all are cut to 0.
    assert (seen > 0).float().mean() > 0.95
    assert (F.max_pool2d(seen, 5, 1, 2) > 0).all()


def test_too_small_pictures_are_enlarged_or_refused(files):
    liqe = metric_of("liqe", files)
    assert liqe(cw.picture(40, 60)).isfinite().all()
    with pytest.raises(ValueError, match="at least 32 pixels"):
        metric_of("clipiqa", files)(cw.picture(31, 64))
    with pytest.raises(ValueError, match="pass RGB"):
        liqe(torch.rand(1, 1, 224, 224))


def test_the_official_resize_only_touches_large_pictures():
    (small,) = limited(torch.rand(1, 3, 300, 900))
    assert small.shape[-2:] == (300, 900)
    (large,) = limited(torch.rand(1, 3, 1536, 800))
    assert large.shape[-2:] == (1475, 768)


def test_weights_are_frozen_and_the_text_tower_is_gone(files):
    liqe = load_liqe("cpu", (files / "liqe_koniq.pt",)).official.__self__
    assert not any(p.requires_grad for p in liqe.clip.parameters())
    assert not liqe.text.requires_grad
    assert not any(name.startswith("text.") for name in liqe.clip.state_dict())


def test_an_autocast_around_the_caller_changes_nothing(files):
    metric, image = metric_of("liqe", files), cw.picture(224, 224)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = metric(image)
    assert torch.equal(inside, metric(image))
    half = metric(image.bfloat16())
    assert half.dtype == torch.bfloat16


def as_transformers_names_them(clip: Clip) -> dict[str, torch.Tensor]:
    parts = clip.state_dict().items()
    return {k.removeprefix("text.").removeprefix("visual."): v.clone() for k, v in parts}


@pytest.mark.parametrize("layout", ["safetensors", "wrapped", "huggingface", "half"])
def test_every_layout_of_the_same_clip_gives_the_same_weights(layout, tmp_path, files):
    openai, wanted = cw.transformer_checkpoint(), load_clip(files / "liqe_koniq.pt")
    path = tmp_path / ("it.safetensors" if layout in ("safetensors", "huggingface") else "it.pt")
    if layout == "safetensors":
        save_file(openai, path)
    elif layout == "huggingface":
        save_file(as_transformers_names_them(wanted), path)
    elif layout == "half":
        extra = {"context_length": torch.tensor(77), "vocab_size": torch.tensor(49408)}
        torch.save({k: v.half() for k, v in openai.items()} | extra, path)
    else:
        torch.save({"state_dict": openai}, path)
    found = load_clip(path).state_dict()
    tolerance = 2e-3 if layout == "half" else 0  # half precision has eleven bits
    for name, value in wanted.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=tolerance, atol=tolerance)


def test_sizes_are_read_off_the_weights(files):
    shape = load_clip(files / "liqe_koniq.pt").shape
    assert shape.image == VisionShape(128, 2, 32, 32, 224)
    assert shape.text == (128, 2, 32, 77, 49408)
    assert load_clip(files / "RN50.pt").shape.image == ResnetShape((1, 2, 1, 1), 8, 32, 50)


def test_only_openais_own_programs_are_opened(tmp_path, monkeypatch):
    class Archive(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in cw.resnet_checkpoint().items():
                parts = name.split(".")
                module = self
                for part in parts[:-1]:
                    if not hasattr(module, part):
                        module.add_module(part, torch.nn.Module())
                    module = getattr(module, part)
                module.register_buffer(parts[-1], value)

        def forward(self, x):
            return x

    path = tmp_path / "RN50.pt"
    torch.jit.save(torch.jit.trace(Archive(), torch.zeros(1)), path)
    with pytest.raises(ValueError, match=r"RN50\.pt is a TorchScript program and none of OpenAI's"):
        load_clip(path)
    digest = clip_model.sha256_of(path)
    monkeypatch.setitem(clip_model.OPENAI_PROGRAMS, digest, "RN50.pt")
    assert load_clip(path).shape.image == ResnetShape((1, 2, 1, 1), 8, 32, 50)


def test_files_that_are_no_clip_are_named(tmp_path, files):
    with pytest.raises(ValueError, match=r"no CLIP checkpoint at .*gone\.pt"):
        load_clip(tmp_path / "gone.pt")
    save_file({"x": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors is damaged or no CLIP checkpoint"):
        load_clip(tmp_path / "other.safetensors")
    part = dict(cw.transformer_checkpoint())
    del part["visual.ln_post.bias"]
    torch.save(part, tmp_path / "part.pt")
    with pytest.raises(
        ValueError, match=r"part\.pt does not fit .*post_layernorm\.bias is missing"
    ):
        load_clip(tmp_path / "part.pt")
    with pytest.raises(ValueError, match="no learned prompts"):
        load_clipiqa("cpu", (files / "RN50.pt", files / "RN50.pt"), learned=True)
    with pytest.raises(ValueError, match="a transformer as image tower"):
        load_liqe("cpu", (files / "RN50.pt",))


def test_openai_clip_is_never_imported(files, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "clip"]:
        monkeypatch.delitem(sys.modules, name)
    load_liqe("cpu", (files / "liqe_koniq.pt",))
    load_clipiqa("cpu", (files / "RN50.pt",))
    assert "clip" not in sys.modules


@pytest.mark.parametrize("name", ["liqe", "liqe_mix", "ms_liqe", "clipiqa", "clipiqa+"])
def test_the_registry_loads_them_from_a_folder(name, files, tmp_path):
    for file, source in {
        "liqe_koniq.pt": "liqe_koniq.pt",
        "liqe_mix.pt": "liqe_koniq.pt",
        "RN50.pt": "RN50.pt",
        "CLIP-IQA+_learned_prompts-603f3273.pth": "words.pth",
    }.items():
        (tmp_path / file).symlink_to(files / source)
    save_file(cw.transformer_checkpoint(), tmp_path / "ms_liqe.safetensors")
    prior = load_prior(name, path=tmp_path)
    quality = prior(cw.picture(224, 230))
    assert quality.shape == (1,)
    assert 0 < quality.item() < 1
    assert not prior.logistic.calibrated


def test_a_file_that_nobody_publishes_is_not_offered_for_download(tmp_path):
    with pytest.raises(ValueError, match=r"ms_liqe\.safetensors .*nobody publishes.*train it"):
        load_prior("ms_liqe", path=tmp_path)


def test_other_weights_under_the_same_name_are_another_prior(files, tmp_path):
    """Saved runs and reports tell a prior by its identity."""
    weights = {name: value.clone() for name, value in cw.resnet_checkpoint().items()}
    for folder in ("copied", "trained"):
        (tmp_path / folder).mkdir()
        torch.save(weights, tmp_path / folder / "RN50.pt")
        weights["visual.conv1.weight"][0, 0, 0, 0] += 0.1
    given, copied, trained = (
        load_prior("clipiqa", path=folder).identity
        for folder in (files, tmp_path / "copied", tmp_path / "trained")
    )
    assert given == copied != trained
    assert given.startswith("clipiqa of ")
    assert load_prior("pocket").identity == "pocket"
