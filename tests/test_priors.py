import json
import math
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from latent_map.edict.memory import graph_bytes
from latent_map.files.catalog import missing_files
from latent_map.files.weight_files import WeightFile, find_files, missing_message
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.loading import load_prior, missing_prior
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import CombinedPrior, QualityPrior, Scorer
from latent_map.iqa_priors.prior_row import PriorRow
from latent_map.iqa_priors.score_report import score_pictures

from .toys import picture

ROUNDING = 1e-12  # float64, a handful of operations

finite = st.floats(-50, 50)
widths = st.floats(0.1, 50)
proofs = settings(max_examples=60, deadline=None, derandomize=True, database=None)


def score(*values):
    return torch.tensor(values, dtype=torch.float64)


def brightness(xi3=0.5, xi4=0.2, name="brightness", **options):
    def metric(image):
        return image.flatten(1).mean(1)

    return QualityPrior(name, metric, Logistic(xi3, xi4), **options)


def constant(name, quality, min_side=1):
    """A prior that gives every picture the same quality."""
    logit = math.log(quality / (1 - quality))
    return QualityPrior(
        name, lambda image: image.new_full((len(image),), logit), Logistic(0, 1), min_side
    )


@proofs
@given(finite, widths)
def test_quality_is_one_half_at_xi3_in_both_directions(xi3, xi4):
    for lower_better in (False, True):
        assert Logistic(xi3, xi4, lower_better)(score(xi3)).tolist() == [0.5]


@proofs
@given(finite, widths, finite, st.floats(0.01, 10))
def test_quality_rises_with_better_scores_and_stays_in_range(xi3, xi4, raw, better):
    scores = score(raw, raw + better)
    rising, falling = Logistic(xi3, xi4)(scores), Logistic(xi3, xi4, lower_better=True)(scores)
    assert rising[1] >= rising[0]
    assert falling[1] <= falling[0]
    assert ((rising >= 0) & (rising <= 1) & (falling >= 0) & (falling <= 1)).all()
    assert torch.allclose(rising + falling, torch.ones_like(rising), atol=ROUNDING)


def test_values_one_width_from_xi3():
    up = 1 / (1 + math.exp(-1))
    assert Logistic(4, 2)(score(6, 2)).tolist() == pytest.approx([up, 1 - up], abs=ROUNDING)
    falling = Logistic(4, 2, lower_better=True)
    assert falling(score(6, 2)).tolist() == pytest.approx([1 - up, up], abs=ROUNDING)


def test_the_sign_of_xi4_does_not_matter():
    scores = score(-3, 0, 5)
    for lower_better in (False, True):
        positive, negative = (Logistic(1, xi4, lower_better)(scores) for xi4 in (2, -2))
        assert torch.equal(positive, negative)


def test_slope_at_xi3_is_a_quarter_of_the_inverse_width():
    raw = score(3.0).requires_grad_(True)
    Logistic(3.0, 0.5, lower_better=True)(raw).sum().backward()
    assert raw.grad.item() == pytest.approx(-1 / (4 * 0.5), abs=ROUNDING)


@pytest.mark.parametrize(("xi3", "xi4"), [(0, 0), (math.nan, 1), (0, math.inf), (math.inf, 1)])
def test_impossible_logistic_is_refused(xi3, xi4):
    with pytest.raises(ValueError, match="finite xi3 and xi4 != 0"):
        Logistic(xi3, xi4)


def test_a_prior_is_its_metric_through_its_logistic():
    prior, images = brightness(), torch.stack([torch.full((3, 4, 4), v) for v in (0.5, 0.7)])
    up = 1 / (1 + math.exp(-1))
    assert prior(images).tolist() == pytest.approx([0.5, up])
    assert prior.scores(images)["brightness"].tolist() == pytest.approx([0.5, 0.7])


def test_a_combination_is_the_weighted_mean():
    combined = CombinedPrior((constant("a", 0.2), constant("b", 0.8)), (3.0, 1.0))
    image = picture(0, batch=2).double()
    assert combined(image).tolist() == pytest.approx([0.35, 0.35], abs=ROUNDING)
    assert set(combined.scores(image)) == {"a", "b"}


def test_only_the_ratios_of_weights_matter():
    priors = (constant("a", 0.2), constant("b", 0.8))
    image = picture().double()
    small, large = (CombinedPrior(priors, (w, 3 * w))(image) for w in (0.1, 40.0))
    assert torch.allclose(small, large, atol=ROUNDING)


def test_a_combination_carries_the_weighted_gradient():
    moving = picture().double().requires_grad_(True)
    first, second = brightness(), brightness(xi3=0.3, xi4=0.1)
    weighted = (3 * first(moving) + second(moving)) / 4
    (wanted,) = torch.autograd.grad(weighted.sum(), moving)
    (ours,) = torch.autograd.grad(CombinedPrior((first, second), (3, 1))(moving).sum(), moving)
    assert torch.allclose(ours, wanted, atol=ROUNDING)
    assert ours.abs().max() > 0


def test_a_combination_of_one_is_that_prior():
    image = picture()
    assert torch.equal(CombinedPrior((brightness(),), (1.0,))(image), brightness()(image))


def test_a_combination_is_named_after_its_parts_and_needs_the_largest_picture():
    combined = CombinedPrior((constant("a", 0.2, 7), constant("b", 0.8, 96)), (1.0, 0.5))
    assert combined.name == "a + 0.5 b"
    assert combined.min_side == 96
    assert combined.ranges == {"a": "", "b": ""}


@pytest.mark.parametrize("weights", [(), (1.0,), (1.0, 1.0, 1.0)])
def test_a_combination_needs_one_weight_each(weights):
    with pytest.raises(ValueError, match="one weight each"):
        CombinedPrior((constant("a", 0.2), constant("b", 0.8)), weights)


def test_an_empty_combination_is_refused():
    with pytest.raises(ValueError, match="0 priors"):
        CombinedPrior((), ())


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_weights_must_be_positive(weight):
    with pytest.raises(ValueError, match="must be positive"):
        CombinedPrior((constant("a", 0.2), constant("b", 0.8)), (1.0, weight))


def test_an_unknown_prior_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=re.escape(", ".join(PRIORS))) as refused:
        load_prior("vmaf")
    assert "unknown prior 'vmaf'" in str(refused.value)


# Rows and files.


def test_every_row_says_what_a_user_must_know():
    for name, row in PRIORS.items():
        assert row.summary, name
        assert row.range, name
        assert row.licence, name
        assert not row.calibrated or name == "pocket"
        assert ("lower" in row.range) == row.lower_better, name
        assert row.constants or (math.isfinite(row.xi3) and row.xi4 > 0), name
        assert all(file.url.startswith("https://") or not file.url for file in row.files), name


def test_every_rows_loader_is_where_the_row_says():
    for name, row in PRIORS.items():
        assert callable(row.load.find()), name


@pytest.mark.parametrize("name", ["pocket", "niqe", "brisque-cpp"])
def test_the_memory_that_is_told_is_what_a_gradient_keeps(name):
    height, width = 192, 288
    prior, image = load_prior(name), picture(3, height, width)
    kept = graph_bytes(prior.metric, image) / height / width  # MB a megapixel
    assert kept == pytest.approx(PRIORS[name].memory_mb_per_mpixel, rel=0.1)


@pytest.fixture
def empty_folders(tmp_path, monkeypatch):
    """No weight file anywhere, whatever this machine has."""
    monkeypatch.setenv("LATENT_MAP_MODELS", str(tmp_path / "ours"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path


FILE = "CNNIQA_koniq10k-e6f14c91.pth"


def test_a_missing_file_is_named_with_the_folders_and_the_remedy(empty_folders):
    given = empty_folders / "models"
    with pytest.raises(ValueError, match="needs the file") as refused:
        load_prior("cnniqa", folders=[given])
    for word in (FILE, given, empty_folders / "ours" / "iqa", empty_folders / "hub" / "pyiqa"):
        assert str(word) in str(refused.value)
    assert 'download.py" cnniqa --folder' in str(refused.value)
    assert missing_prior("cnniqa", [given]) == str(refused.value)


def test_files_are_looked_for_in_order(empty_folders):
    (file,) = PRIORS["cnniqa"].files
    places = [empty_folders / place for place in ("hub/pyiqa", "ours/iqa", "second", "first")]
    folders = [empty_folders / "first", empty_folders / "second"]
    assert missing_files(PRIORS["cnniqa"], folders) == [file]
    for place in places:
        place.mkdir(parents=True)
        (place / FILE).write_bytes(b"")
        assert find_files("prior", "cnniqa", [file], folders) == (place / FILE,)
    assert missing_files(PRIORS["cnniqa"], folders) == []
    assert missing_prior("cnniqa", folders) == ""


@pytest.mark.parametrize("place", ["ours/iqa", "hub/clip", "hub/checkpoints", "home/.cache/clip"])
def test_openais_files_are_found_where_their_users_have_them(empty_folders, monkeypatch, place):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(empty_folders / "home"))
    (empty_folders / place).mkdir(parents=True)
    for name in ("RN50.pt", "ViT-L-14.pt"):
        (empty_folders / place / name).write_bytes(b"")
    assert missing_files(PRIORS["clipiqa"]) == []
    assert [file.name for file in missing_files(PRIORS["laion_aes"])] == [
        "sac+logos+ava1-l14-linearMSE.pth"
    ]
    vit_l = PRIORS["laion_aes"].files[:1]
    assert find_files("prior", "laion_aes", vit_l) == (empty_folders / place / "ViT-L-14.pt",)


def test_a_given_path_is_the_only_place(empty_folders):
    (file,) = PRIORS["cnniqa"].files
    other = empty_folders / "mine.pth"
    other.write_bytes(b"")
    assert find_files("prior", "cnniqa", [file], path=other) == (other,)
    with pytest.raises(ValueError, match="no weights of prior 'cnniqa' at"):
        find_files("prior", "cnniqa", [file], path=empty_folders / "nothing.pth")
    with pytest.raises(ValueError, match="none of the folders") as refused:
        find_files("prior", "cnniqa", [file], path=empty_folders)
    assert "hub" not in str(refused.value)


def test_a_file_that_nobody_publishes_is_not_offered_for_download():
    assert "train it" in missing_message(
        "prior", "own", [WeightFile("own.safetensors", 1)], [Path("iqa")]
    )


# Loading with constants and crops of one's own.


def calibration(**changes):
    return {"prior": "niqe", "xi3": 3.0, "xi4": 0.5, "lower_better": True, "n": 10, **changes}


def test_a_users_calibration_replaces_the_built_in_one(tmp_path):
    assert load_prior("niqe").ranges == {"niqe": "2..15, lower is better"}
    assert load_prior("niqe").logistic == Logistic(4.5, 0.8, True, calibrated=False)
    file = tmp_path / "niqe.json"
    file.write_text(json.dumps(calibration(plcc=0.9, srcc=None, rmse=None, source="x.csv")))
    for form in (file, str(file), calibration()):
        assert load_prior("niqe", calibration=form).logistic == Logistic(3.0, 0.5, True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is damaged or no calibration"),
        ("[]", "is no calibration"),
        (json.dumps(calibration(xi3="high")), "is no calibration"),
        (json.dumps({"prior": "niqe", "xi4": 1}), "xi3"),
        (json.dumps(calibration(prior="musiq")), "for 'musiq'"),
        (json.dumps(calibration(lower_better=False)), "lower_better False"),
        (json.dumps(calibration(xi4=0)), "not 0"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(tmp_path, content, words):
    file = tmp_path / "given.json"
    file.write_text(content)
    with pytest.raises(ValueError, match=re.escape(words)):
        load_prior("niqe", calibration=file)


def top_left(image):
    return image[..., :4, :4].flatten(1).mean(1)


def everywhere(image):
    return image.flatten(1).mean(1)


@pytest.fixture
def cropping(monkeypatch):
    """A made-up metric that officially looks at one corner."""
    row = PriorRow(
        load=lambda *_: Scorer(top_left, everywhere),
        summary="corner",
        range="0..1",
        licence="none",
        xi3=0.5,
        xi4=0.1,
    )
    monkeypatch.setitem(PRIORS, "corner", row)


def test_a_prior_covers_the_picture_and_its_scores_are_official(cropping):
    image = picture(3)
    prior, official = load_prior("corner"), load_prior("corner", crops="official")
    assert torch.equal(prior(image), Logistic(0.5, 0.1)(everywhere(image)))
    assert torch.equal(official(image), Logistic(0.5, 0.1)(top_left(image)))
    for loaded in (prior, official, prior.as_published()):
        assert torch.equal(loaded.scores(image)["corner"], top_left(image))
    assert torch.equal(prior.as_published()(image), official(image))
    combined = CombinedPrior((prior, prior), (1.0, 2.0))
    assert torch.allclose(combined.as_published()(image), official(image))


def test_unknown_crops_are_refused():
    with pytest.raises(ValueError, match="choose cover or official"):
        load_prior("pocket", crops="all")


def test_a_combination_is_no_prior_if_one_part_is_none():
    combined = CombinedPrior((constant("a", 0.2), brightness(no_gradient="it counts")), (1.0, 1.0))
    assert combined.no_gradient == "it counts"
    with pytest.raises(ValueError, match="it counts"):
        combined(picture().requires_grad_(True))


# Reports.


def test_a_report_has_a_line_per_picture_and_metric_and_the_means(cropping):
    images = torch.stack([torch.full((3, 8, 8), v) for v in (0.4, 0.6)])
    report = score_pictures(images, [load_prior("corner"), brightness(xi3=0.6)])
    low, high = 1 / (1 + math.e), 1 / (1 + 1 / math.e)
    *lines, first, second = report.table.splitlines()
    assert "1 is even all over" in first and "2 is even all over" in second  # noqa: PT018
    assert [line.split() for line in lines] == [
        ["picture", "metric", "quality", "raw", "score"],
        ["1", "corner", f"{low:.4f}", "0.4000"],
        ["1", "brightness", f"{low:.4f}", "0.4000"],
        ["2", "corner", f"{high:.4f}", "0.6000"],
        ["2", "brightness", "0.5000", "0.6000"],
        ["mean", "corner", "0.5000", "0.5000"],
        ["mean", "brightness", f"{(low + 0.5) / 2:.4f}", "0.5000"],
    ]
    assert report.quality == pytest.approx((low + high + low + 0.5) / 4, abs=1e-5)
    assert report.heat_map is None


def test_a_combination_is_reported_with_its_parts():
    combined = CombinedPrior((constant("a", 0.2), constant("b", 0.8)), (3.0, 1.0))
    report = score_pictures(picture(), [combined])
    assert [line.split()[1:3] for line in report.table.splitlines()[1:]] == [
        ["a", "0.2000"],
        ["b", "0.8000"],
        ["3", "a"],  # "3 a + b", the combination's name
    ]
    assert report.quality == pytest.approx(0.35)


def test_a_metric_that_comes_twice_is_reported_once():
    one, other = constant("a", 0.2), constant("b", 0.8)
    report = score_pictures(picture(), [one, CombinedPrior((one, other), (1.0, 1.0))])
    names = [line.split()[1] for line in report.table.splitlines()[1:]]
    assert names == ["a", "b", "a"]  # the last one is "a + b"


def halves(image):
    """Bad on the left, good on the right."""
    return image.new_tensor([[-50.0, 50.0]]).expand(len(image), 1, 2)


def test_the_heat_map_is_red_where_quality_is_low_and_green_where_it_is_high():
    prior = QualityPrior("halves", everywhere, Logistic(0, 1), local=halves)
    image = torch.full((2, 3, 8, 12), 0.5)
    found = score_pictures(image, [constant("a", 0.5), CombinedPrior((prior,), (1.0,))]).heat_map
    assert found.shape == image.shape
    assert ((found >= 0) & (found <= 1)).all()
    red, green, _ = found.unbind(1)
    assert (red > green)[..., :3].all()
    assert (red < green)[..., -3:].all()


def test_the_pocket_priors_local_scores_average_to_its_score():
    prior = load_prior("pocket")
    image = picture(3, 64, 64, batch=2)
    local = prior.local(image)
    assert local.shape == (2, 16, 16)
    # Bilinear enlargement moves a little weight at the borders.
    assert torch.allclose(local.mean((1, 2)), prior.scores(image)["pocket"], atol=0.05)


def test_nothing_to_score_with_is_refused():
    with pytest.raises(ValueError, match="no prior"):
        score_pictures(picture(), [])
