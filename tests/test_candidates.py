import pytest
import torch
from latent_map.comparison.candidates import (
    Candidate,
    candidates_sheet,
    check_candidates,
    judge_all,
    judge_table,
    most_discrepant,
    region_mask,
)
from latent_map.iqa_priors.logistic import Logistic
from latent_map.iqa_priors.prior import QualityPrior

from .toys import picture

BRIGHT = QualityPrior("bright", lambda image: image.flatten(1).mean(1), Logistic(0.5, 0.1))
DARK = QualityPrior("dark", lambda image: -image.flatten(1).mean(1), Logistic(-0.5, 0.1))


def three(side=64):
    base = picture(0, side, side)
    light, dim = (base + 0.1).clamp(0, 1), (base - 0.1).clamp(0, 1)
    return [Candidate("input", base), Candidate("bright", light, "bright"), Candidate("dim", dim)]


def test_the_square_where_results_part_is_found():
    candidates = three()
    odd = candidates[1].picture.clone()
    odd[..., 40:56, 8:24] = 0
    window = most_discrepant([*candidates, Candidate("odd", odd)])
    assert window == (40, 8, 16)
    mask = region_mask(window, odd)
    assert mask.shape == (1, 64, 64)
    assert mask.sum() == 16 * 16
    assert mask[0, 40:56, 8:24].all()


def test_of_equal_results_it_is_the_middle():
    same = picture(0, 64, 64)
    assert most_discrepant([Candidate("a", same), Candidate("b", same)]) == (24, 24, 16)


def test_every_judge_scores_every_result_and_its_own_is_marked():
    candidates = three()
    scores = judge_all(candidates, [BRIGHT, DARK])
    for candidate, row in zip(candidates, scores, strict=True):
        assert row == [pytest.approx(float(judge(candidate.picture))) for judge in (BRIGHT, DARK)]
    table = judge_table(candidates, [BRIGHT, DARK], scores)
    head, *rows = table.splitlines()
    assert head.split() == ["result", "bright", "dark"]
    assert [row.split()[0] for row in rows[:3]] == ["input", "bright", "dim"]
    assert [row.count("*") for row in rows[:3]] == [0, 1, 0]
    assert rows[1].split()[1] == f"{scores[1][0]:.4f}*"
    assert "bright prefers bright (its own)" in table
    assert "dark prefers dim (no own)" in table


def test_a_judge_that_likes_another_result_better_is_told():
    candidates = [Candidate("dim", picture(0) * 0.5, "bright"), Candidate("other", picture(0))]
    table = judge_table(candidates, [BRIGHT], judge_all(candidates, [BRIGHT]))
    assert "bright prefers other (not its own)" in table


def test_the_sheet_shows_every_result_whole_and_enlarged():
    candidates = three(240)
    window = most_discrepant(candidates)
    sheet = candidates_sheet(candidates, window, [BRIGHT], judge_all(candidates, [BRIGHT]))
    assert sheet.width == 3 * 250 + 10
    assert sheet.height == 2 * 26 + 240 + 120 + 20
    pixels = torch.tensor(list(sheet.getdata())).reshape(sheet.height, sheet.width, 3)
    for index, candidate in enumerate(candidates):
        left = 10 + 250 * index
        shown = pixels[32 : 32 + 240, left : left + 240].permute(2, 0, 1) / 255
        differs = (shown - candidate.picture[0]).abs().amax(0) > 0.01
        assert differs.sum() <= 4 * window.side  # the frame alone


def test_large_pictures_are_shrunk_on_the_sheet():
    candidates = [Candidate(name, picture(0, 32, 2048)) for name in "ab"]
    assert candidates_sheet(candidates, most_discrepant(candidates)).width == 2 * 1034 + 10


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="nothing to compare"):
        check_candidates(three()[:1])
    with pytest.raises(ValueError, match="input is 64x64 and small is 32x32 pixels"):
        check_candidates([three()[0], Candidate("small", picture(0, 32, 32))])
