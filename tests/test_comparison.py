"""The comparison sheet, and what a report says of a comparison."""

import json

import numpy as np
import pytest
import torch
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.iqa_priors.loading import load_prior
from latent_map.iqa_priors.prior import CombinedPrior
from latent_map.map_estimation import comparison
from latent_map.map_estimation.comparison import describe_comparison, judges_of
from latent_map.map_estimation.comparison_sheet import (
    FACTORS,
    LARGEST_WINDOW,
    LONGEST,
    MARGIN,
    amplification,
    comparison_sheet,
    comparison_size,
    difference_caption,
    where_they_differ_most,
)
from latent_map.map_estimation.curves import PAPER
from PIL import ImageDraw

from .sample_files import photograph
from .toys import PRIOR, picture

WORDS = "noise: clearly less; detail: held; colours: slightly shifted; brightness: held"


def photo(height=96, width=192):
    return torch.from_numpy(photograph(height, width)).movedim(-1, 0)[None] / 255


def changed(image, top, left, side, by=0.1):
    after = image.clone()
    after[..., top : top + side, left : left + side] += by
    return after


@pytest.mark.parametrize(
    "size", [(384, 384), (48, 64), (300, 2000), (2000, 300), (16, 17), (16, 2100), (2300, 2200)]
)
def test_the_sheet_has_the_announced_size_and_nothing_outside_of_it(size, monkeypatch):
    ends, draw_text = [], ImageDraw.ImageDraw.text

    def text(self, place, words, fill, font):
        ends.append((place[0] + self.textlength(words, font), place[1] + 16))
        draw_text(self, place, words, fill, font)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    before = torch.full((1, 3, *size), 0.5)
    sheet = comparison_sheet(before, changed(before, 3, 5, 8), WORDS)
    assert sheet.size == comparison_size(size[1], size[0])
    pixels = np.asarray(sheet)
    assert (pixels[:, -2:] == PAPER).all()
    assert (pixels[-2:] == PAPER).all()
    assert len(ends) >= 5
    assert all(x <= sheet.width and y <= sheet.height for x, y in ends)


def test_the_sheet_shows_both_pictures_the_crops_and_the_difference():
    before = 0.8 * photo(128, 160)
    after = changed(before, 40, 60, 32, 10 / 255)
    pixels = np.asarray(comparison_sheet(before, after))
    levels = [(255 * image[0]).round().byte().movedim(0, -1).numpy() for image in (before, after)]
    column = (pixels.shape[1] - MARGIN) // 3
    for index, level in enumerate(levels):
        left = MARGIN + index * column
        assert np.array_equal(pixels[MARGIN : MARGIN + 128, left : left + 160], level)
        below = MARGIN + 128 + 40 + MARGIN
        crop = level[40:72, 60:92].repeat(2, 0).repeat(2, 1)
        assert np.array_equal(pixels[below : below + 64, left : left + 64], crop)
    left = MARGIN + 2 * column
    difference = pixels[MARGIN : MARGIN + 128, left : left + 160]
    assert (difference[:39] == 128).all()
    assert (difference[41:71, 61:91] == 128 + 80).all()  # ten levels, eight times
    assert tuple(difference[40, 60]) != (208, 208, 208)  # the frame


def test_the_window_is_where_the_mean_squared_difference_is_largest():
    before = torch.rand(1, 3, 70, 90)
    after = changed(changed(before, 5, 5, 30, 0.01), 47, 13, 10, -0.2)
    top, left, side = where_they_differ_most(before, after, 20)
    assert side == 20
    assert top <= 47 <= top + 10
    assert left <= 13 <= left + 10
    assert where_they_differ_most(before, changed(before, 50, 70, 20), 20) == (50, 70, 20)
    assert where_they_differ_most(before, before, 20) == (25, 35, 20)
    whole = torch.zeros(1, 3, 8, 8)
    assert where_they_differ_most(whole, whole + 0.1, 8) == (0, 0, 8)


@pytest.mark.parametrize("levels", [0.1, 1, 3, 10, 60, 200])
def test_the_difference_is_amplified_as_far_as_it_is_not_cut_off(levels):
    before = torch.zeros(1, 3, 9, 9)
    factor = amplification(before, before + levels / 255)
    assert factor in FACTORS
    assert factor * levels < 128 or factor == 1
    assert 2 * factor * levels >= 127.9 or factor == FACTORS[-1]


def test_the_scale_of_the_difference_is_told():
    assert difference_caption(8) == "difference x 8: grey none, white +16, black -16 of 255"
    assert amplification(torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4)) == 0
    assert difference_caption(0) == "difference: none"


def test_large_pictures_make_a_sheet_of_bounded_size():
    for size in ((20000, 15000), (60000, 20), (20, 60000), (10000, 10000)):
        width, height = comparison_size(*size)
        assert width <= max(3 * LONGEST, 4 * LARGEST_WINDOW) + 4 * MARGIN
        assert height <= max(LONGEST, 3 * LONGEST // 2) + 2 * LARGEST_WINDOW + 300


def test_a_comparison_is_described_in_plain_json():
    before, prior = photo(), load_prior("pocket")
    after = changed(before, 20, 30, 40, 0.1).clamp(0, 1)
    described = describe_comparison(before, after, prior, 12.0000001)
    assert json.loads(json.dumps(described, allow_nan=False)) == described
    free = {name for name, row in FIDELITIES.items() if not row.files}
    low = {f"low_resolution_{reduction}" for reduction in ("rms", "mse")}
    assert set(described["distances"]) == free - {"low_resolution"} | low
    wanted = float((after - before).square().mean())
    assert described["distances"]["mse"] == pytest.approx(wanted, rel=1e-5)
    squared = described["distances"]["low_resolution_rms"] ** 2
    assert squared == pytest.approx(described["distances"]["low_resolution_mse"], rel=1e-3)
    assert list(described["judges"]) == ["niqe", "brisque-cpp"]
    niqe = load_prior("niqe")
    for when, image in (("before", before), ("after", after)):
        assert described["judges"]["niqe"][when] == float(niqe.scores(image)["niqe"])
    assert described["network_calls"] == 12
    assert described["left_out"] == {}
    assert described["changes"]["words"].startswith("noise: ")


def test_equal_pictures_are_at_no_distance():
    described = describe_comparison(photo(), photo(), PRIOR, 0)
    assert all(abs(distance) < 1e-5 for distance in described["distances"].values())
    assert all(row["before"] == row["after"] for row in described["judges"].values())
    assert set(described["changes"]["words"].split("; ")) == {
        f"{name}: held" for name in ("noise", "detail", "colours", "brightness")
    }


def test_what_is_climbed_is_no_judge_nor_are_its_parts():
    assert judges_of(PRIOR) == ["pocket", "niqe", "brisque-cpp"]
    assert judges_of(load_prior("niqe")) == ["pocket", "brisque-cpp"]
    both = CombinedPrior((load_prior("pocket"), load_prior("niqe")), (1.0, 0.5))
    assert judges_of(both) == ["brisque-cpp"]


def test_judges_and_measures_that_cannot_tell_are_left_out_with_their_reason():
    described = describe_comparison(picture(height=20, width=24), picture(1, 20, 24), PRIOR, 0)
    assert described["judges"] == {}
    assert "needs 96 a side" in described["left_out"]["niqe"]
    described = describe_comparison(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), PRIOR, 0)
    assert set(described["distances"]) == {
        "mse",
        "mae",
        "pamse",
        "low_resolution_mse",
        "low_resolution_rms",
    }
    assert "needs 16 a side" in described["left_out"]["vsi"]
    flat = torch.full((1, 3, 192, 192), 0.5)
    described = describe_comparison(flat, flat, PRIOR, 0)
    json.dumps(described, allow_nan=False)
    assert "niqe" in described["left_out"]


def test_large_pictures_are_measured_by_what_is_quick(monkeypatch):
    monkeypatch.setattr(comparison, "LARGE", 1000)
    described = describe_comparison(photo(), photo(), PRIOR, 0)
    assert "mse" in described["distances"]
    assert "minutes on more than 1000 pixels" in described["left_out"]["mad"]
