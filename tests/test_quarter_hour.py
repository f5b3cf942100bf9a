"""The training of the judge made to be climbed, and the quarter of an hour on a GPU, rehearsed."""

import numpy as np
import pytest
import torch
from latent_map.edict.backbones.pocket.backbone import load_pocket
from PIL import Image

from training import train_pocket_denoiser
from training.file_parts import join_file, split_file
from training.judge_figures import (
    KINDS,
    SEVERITIES,
    central_crops,
    held_out_versions,
    judge_figures,
)
from training.judge_network import FAINTEST, GradientStepJudge, load_judge
from training.judge_pictures import edit, hopeless, ladder, lesson
from training.photographs import CropBatches
from training.quarter_hour import Options, join, pack, train
from training.train_pocket_judge import (
    WARM_UP_STEPS,
    DivergedError,
    gradient_error,
    losses,
    ranking_loss,
)
from training.train_pocket_judge import Options as JudgeOptions
from training.train_pocket_judge import train as train_judge
from training.unseen_degradations import UNSEEN

from .toys import picture

ROUNDING = 1e-4  # float32 convolutions sum in another order for another size
SLOPE_TOLERANCE = 0.02  # float32 potentials differenced


@pytest.fixture
def seeded():
    torch.manual_seed(0)


@pytest.fixture
def judge(seeded):
    return GradientStepJudge()


@pytest.fixture
def crops():
    photographs = [(255 * p).byte().permute(1, 2, 0).numpy() for p in picture(0, 96, 96, batch=3)]
    return CropBatches(photographs, torch.device("cpu"))


def save(folder, names, side):
    folder.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        pixels = (255 * picture(number, side, side)[0].permute(1, 2, 0)).byte().numpy()
        Image.fromarray(pixels).save(folder / name, lossless=True)
    return folder


def test_the_potential_is_half_the_square_of_the_correction(judge):
    image = picture(0, 48, 64).float()
    judge.requires_grad_(False)
    residual = judge.residual(image)
    assert residual.shape == image.shape
    expected = residual.square().sum() / (2 * image.numel())
    assert float(judge.potential(image)) == pytest.approx(float(expected), rel=ROUNDING)
    assert float(judge(image)) == pytest.approx(-float((expected + FAINTEST).log()), rel=ROUNDING)


def test_an_untrained_judge_has_a_slope_of_first_order(judge):
    """Written as the identity plus nothing, N would have none, and nothing would be learnt."""
    image = picture(0, 64, 64).float().requires_grad_()
    (gradient,) = torch.autograd.grad(image.numel() * judge.potential(image).sum(), image)
    assert gradient.square().mean().sqrt() > 1e-4


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 47), (50, 131)])
def test_any_size_from_32_pixels_is_scored(judge, height, width):
    assert judge(picture(0, height, width).float()).isfinite().all()


def test_the_gradient_is_that_of_finite_differences(judge):
    image = picture(0, 48, 48).float().requires_grad_()
    (slope,) = torch.autograd.grad(judge(image).sum(), image)
    direction = slope / slope.square().mean().sqrt()
    step = 0.1 / 255
    with torch.no_grad():
        difference = judge(image + step * direction) - judge(image - step * direction)
    expected = float((slope * direction).sum())
    assert float(difference / (2 * step)) == pytest.approx(expected, rel=SLOPE_TOLERANCE)


def test_a_gradient_that_leads_home_has_no_error():
    """The potential 1/2 |x - clean|^2 has the gradient that is wanted."""

    class Perfect:
        score = staticmethod(GradientStepJudge.score)

        def __init__(self, clean):
            self.clean = clean

        def potential(self, x):
            return 0.5 * (x - self.clean).square().mean((1, 2, 3))

    clean, at = picture(0, 32, 32).float(), picture(1, 32, 32).float()
    assert gradient_error(Perfect(clean), at, clean)[0].max() < 1e-8
    # Towards another picture as far as the clean one is, at a right angle or not: an error.
    assert gradient_error(Perfect(clean.flip(2)), at, clean)[0].min() > 0.1


def test_both_losses_reach_every_weight(judge, crops):
    pictures = lesson(crops, 4, 32)
    terms = losses(judge, pictures, 1)
    assert terms.keys() == {"gradient", "ranking"}
    assert losses(judge, pictures, 0).keys() == {"gradient"}
    for term in terms.values():
        judge.zero_grad()
        term.backward(retain_graph=True)
        weights = {k: p for k, p in judge.named_parameters() if k != "head.bias"}
        assert not [k for k, p in weights.items() if p.grad is None or not p.grad.any()]


def test_a_gradient_out_of_bounds_is_a_divergence_once_warmed_up(judge, crops):
    pictures = lesson(crops, 2, 32)
    judge.head.weight.data.mul_(1e4)
    assert losses(judge, pictures, WARM_UP_STEPS)["gradient"].isfinite()
    with pytest.raises(DivergedError):
        losses(judge, pictures, WARM_UP_STEPS + 2)


def test_a_training_that_diverges_goes_back_to_the_average(tmp_path, monkeypatch, caplog):
    photos = save(tmp_path / "photos", ["001_00.webp"], 64)
    steps = []

    def diverging(network, pictures, step):
        steps.append(step)
        if len(steps) == 2:
            raise DivergedError
        return losses(network, pictures, step)

    monkeypatch.setattr("training.train_pocket_judge.losses", diverging)
    options = {"minutes": 0.01, "batch": 2, "size": 32, "rate": 1e-4, "save_seconds": 99.0}
    file = train_judge(JudgeOptions([photos], tmp_path / "out", **options, device="cpu"))
    assert "diverged at step 1" in caplog.text
    assert steps[:3] == [0, 1, 1]
    assert load_judge(file)(picture(0, 32, 32).float()).isfinite()


def test_a_judge_that_ranks_rightly_has_hardly_a_loss(crops, seeded):
    """Any one part of a lesson at the wrong place costs much more."""
    pictures = lesson(crops, 8, 32)

    def right(x):
        return torch.arange(5.0).flip(0).mul(10).repeat_interleave(torch.tensor([8, 8, 4, 4, 2]))

    # The order of a lesson's parts: clean, degraded, mild, severe, hopeless.
    between = torch.full((8,), 35.0)
    assert ranking_loss(right, pictures, between) < 0.01
    for worst in range(5):

        def wrong(x, worst=worst):
            ranks = torch.arange(5.0).flip(0).mul(10)
            ranks[worst] = -20 if worst < 4 else 60
            return ranks.repeat_interleave(torch.tensor([8, 8, 4, 4, 2]))

        assert ranking_loss(wrong, pictures, between) > 0.1
    assert ranking_loss(right, pictures, between + 10) > 0.1


def test_a_lesson_holds_what_it_says(crops, seeded):
    pictures = lesson(crops, 8, 32)
    for x in pictures:
        assert x.shape[1:] == (3, 32, 32)
        assert x.min() >= 0
        assert x.max() <= 1
    far = (pictures.degraded - pictures.clean).square().mean((1, 2, 3))
    near = (pictures.between - pictures.clean).square().mean((1, 2, 3))
    assert (near <= far + 1e-9).all()
    assert len(pictures.mild) == len(pictures.severe) == 4
    assert len(pictures.hopeless) == 2


def test_the_severer_rung_of_a_ladder_is_further_away(seeded):
    clean = picture(0, 64, 64, batch=32).float()
    mild, severe = ladder(clean)
    near, far = ((x - clean).square().mean((1, 2, 3)) for x in (mild, severe))
    assert (near < far).float().mean() > 0.9


def test_edits_and_hopeless_pictures_stay_in_range_and_differ(seeded):
    clean = picture(0, 32, 32, batch=16).float()
    for x in (edit(clean), hopeless(clean)):
        assert x.min() >= 0
        assert x.max() <= 1
        assert ((x - clean).abs().amax((1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("kind", UNSEEN)
def test_an_unseen_degradation_goes_further_the_severer(kind):
    pixels = picture(0, 64, 64)[0].permute(1, 2, 0).numpy().astype(np.float32)
    errors = []
    for severity in (0.0, 0.5, 1.0):
        degraded = UNSEEN[kind](pixels, severity, np.random.default_rng(0))
        assert degraded.shape == pixels.shape
        errors.append(float(((degraded - pixels) ** 2).mean()))
    assert 0 < errors[0] < errors[1] < errors[2]


def test_the_figures_of_a_judge_that_knows_the_way():
    crops = central_crops([(255 * picture(0, 48, 48)[0].permute(1, 2, 0)).byte().numpy()], 32)
    versions = held_out_versions(crops, SEVERITIES[1:4])
    clean = versions[0].clean
    figures = judge_figures(lambda x: -(x - clean).square().sum((1, 2, 3)), versions)
    assert figures.keys() == set(KINDS)
    assert all(row.cosine == pytest.approx(1, abs=1e-4) for row in figures.values())
    assert figures["noise"].srcc == pytest.approx(1)
    assert figures["noise"].over_clean == 1
    wrong = judge_figures(lambda x: (x - clean).square().sum((1, 2, 3)), versions)
    assert wrong["blur"].cosine == pytest.approx(-1, abs=1e-4)
    assert wrong["blur"].srcc == pytest.approx(-1)


def test_a_file_in_parts_is_joined_and_checked(tmp_path):
    file, parts = tmp_path / "a.bin", tmp_path / "parts"
    parts.mkdir()
    file.write_bytes(bytes(range(250)) * 5)
    written = split_file(file, 1e-4, parts)
    assert [part.stat().st_size for part in written] == [100] * 12 + [50]  # more than ten
    assert b"".join(part.read_bytes() for part in written) == file.read_bytes()
    join_file(parts / "a.bin", tmp_path / "b.bin")
    assert (tmp_path / "b.bin").read_bytes() == file.read_bytes()
    (parts / "a.bin.7").write_bytes(bytes(100))
    with pytest.raises(ValueError, match=r"13 parts of .*a\.bin do not give"):
        join_file(parts / "a.bin", tmp_path / "b.bin")
    with pytest.raises(ValueError, match=r"missing: fetch"):
        join_file(parts / "other", tmp_path / "b.bin")


def test_splitting_again_leaves_no_part_of_before(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(bytes(250))
    split_file(file, 1e-4)
    split_file(file, 1e-3)
    join_file(file, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == bytes(250)


def test_a_pack_keeps_to_its_megabytes_and_takes_from_every_folder(tmp_path):
    first = save(tmp_path / "first", [f"{n:03d}_00.webp" for n in range(10, 20)], 64)
    second = save(tmp_path / "second", [f"CID_{n}.webp" for n in range(10)], 64)
    kodak = save(tmp_path / "kodak", ["a.png"], 64)
    out = tmp_path / "pack"
    each = max(f.stat().st_size for f in first.iterdir())
    size = pack([first, second], kodak, out, 9 * each / 1e6, side=48)
    held = sum(f.stat().st_size for f in out.rglob("*.webp"))
    assert size == held <= 9 * each
    names = [f.name for f in (out / "photos").iterdir()]
    assert "014_00.webp" in names  # held out, for the gates
    assert sum(name.startswith("CID") for name in names) > 1
    assert sum(name.startswith("01") for name in names) > 2
    with pytest.raises(ValueError, match="60 MB cannot travel"):
        pack([first], kodak, out, 60)


def test_the_quarter_hour_gives_weights_in_parts_and_gates(tmp_path, monkeypatch):
    monkeypatch.setattr(train_pocket_denoiser, "MEASURED_PAIRS", 4)
    photos = save(tmp_path / "photos", [f"{n:03d}_00.webp" for n in (1, 2, 14)], 64)
    kodak = save(tmp_path / "kodak", ["a.png"], 64)
    pack([photos], kodak, tmp_path / "pack", 1.0, side=48)
    tiny = {"size": 32, "judge_batch": 4, "denoiser_batch": 4, "gate_crops": 1, "gate_size": 32}
    parts = tmp_path / "parts"
    text = train(Options(tmp_path / "pack", tmp_path / "out", parts, 1e-4, **tiny))
    assert (parts / "gates.md").read_text(encoding="utf-8") == text
    assert "held-out photographs" in text
    assert "rank gates" in text
    assert "| Kodak | shipped |" in text
    files = [file for file in parts.iterdir() if file.is_file()]
    assert len(files) <= 8
    assert max(file.stat().st_size for file in files) < 15e6
    join(parts, tmp_path / "joined")
    score = load_judge(tmp_path / "joined" / "judge.safetensors")(picture(0, 40, 40).float())
    assert score.isfinite().all()
    assert load_pocket(weights=tmp_path / "joined" / "denoiser.safetensors").scale > 0
