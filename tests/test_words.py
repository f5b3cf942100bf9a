import math

import pytest
import torch
import torch.nn.functional as F
from latent_map.map_estimation.restraints import coarse
from latent_map.map_estimation.words import (
    BRIGHTNESS_STEPS,
    COLOUR_STEPS,
    DETAIL_STEPS,
    NOISE_SHARE_STEPS,
    NOISE_STEPS,
    Changes,
    in_words,
    measure_changes,
    noise_deviation,
    what_changed,
)

from .toys import noise

HELD = "noise: held; detail: held; colours: held; brightness: held"
SIDE = 128
NOISE_ERROR = 0.05  # of a deviation estimated from 128 x 128 pixels
ROUNDING = 1e-3  # levels; pictures are float32
ALIKE = 1e-4  # of a share, of pictures whose borders are few


def picture(red=0.5, green=0.45, blue=0.4, contrast=0.1):
    """Even colours with waves of 8 pixels: in the mid band, and without a diagonal."""
    waves = contrast * torch.sin(torch.arange(SIDE) * 2 * math.pi / 8)
    return torch.tensor([red, green, blue])[None, :, None, None] + waves.expand(SIDE, SIDE)


def noisy(image, deviation, seed=0):
    return image + deviation / 255 * noise(seed, *image.shape).float()


def test_equal_pictures_are_held():
    assert what_changed(picture(), picture()) == HELD
    changes = measure_changes(noisy(picture(), 20), noisy(picture(), 20))
    assert changes.noise_before == changes.noise_after > 15
    assert changes[2:] == (0, 0, 0, 0)


@pytest.mark.parametrize("deviation", [1, 10, 30])
def test_the_deviation_of_white_noise_is_found_between_edges(deviation):
    edges = 100 * (torch.arange(SIDE) // 32 % 2).float().expand(1, 3, SIDE, SIDE)
    estimate = noise_deviation(edges + deviation * noise(0, 1, 3, SIDE, SIDE).float())
    assert estimate == pytest.approx(deviation, rel=NOISE_ERROR)


def test_noise_deviation_of_a_plane_wave_of_2x2_blocks_by_hand():
    # Each block is (1, 0; 0, 1): its diagonal coefficient is (1 - 0 - 0 + 1) / 2 = 1.
    board = (torch.arange(8)[:, None] + torch.arange(9)[None, :] + 1) % 2
    assert noise_deviation(board.float()[None, None]) == pytest.approx(1 / 0.6745)


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [(0, 10, "clearly more"), (10, 0, "clearly less"), (10, 12, "slightly more"),
     (10, 8, "slightly less"), (10, 10.5, "held"), (0, 0.3, "held"), (40, 42, "held")],
)  # fmt: skip
def test_noise_is_noise_and_nothing_else(before, after, word):
    words = what_changed(noisy(picture(), before), noisy(picture(), after, seed=1))
    assert words == HELD.replace("noise: held", f"noise: {word}")


@pytest.mark.parametrize(
    ("times", "word"),
    [(0.5, "clearly less"), (0.91, "slightly less"), (1.05, "held"), (1.09, "slightly more"),
     (1.5, "clearly more")],
)  # fmt: skip
def test_detail_is_the_contrast_of_structure(times, word):
    before, after = picture(), picture(contrast=0.1 * times)
    assert measure_changes(before, after).detail == pytest.approx(times - 1, abs=ALIKE)
    assert f"detail: {word}" in what_changed(before, after)


def test_noise_is_no_detail_even_where_it_hides_structure():
    changes = measure_changes(picture(contrast=0.05), noisy(picture(contrast=0.05), 25))
    assert abs(changes.detail) < DETAIL_STEPS.slight
    # All energy, the noise's too, would be this much more.
    energies = [
        float((coarse(image, 1) - coarse(image, 3)).square().mean())
        for image in (picture(contrast=0.05), noisy(picture(contrast=0.05), 25))
    ]
    assert math.sqrt(energies[1] / energies[0]) - 1 > DETAIL_STEPS.slight


def test_detail_counts_only_where_the_input_has_structure():
    before = torch.full((1, 3, SIDE, SIDE), 0.5)
    assert what_changed(before, picture(0.5, 0.5, 0.5)) == HELD
    half = torch.cat((picture()[..., : SIDE // 2], picture(contrast=0.0)[..., SIDE // 2 :]), -1)
    assert "detail: clearly less" in what_changed(half, half * 0.5 + 0.25)


def test_a_blur_takes_detail():
    blurred = F.avg_pool2d(F.pad(picture(), (1, 1, 1, 1), mode="replicate"), 3, 1)
    words = what_changed(picture(), blurred)
    assert words == HELD.replace("detail: held", "detail: clearly less")


@pytest.mark.parametrize(
    ("gain", "word"),
    [(1.05, "slightly more"), (0.95, "slightly less"), (1.005, "held"), (0.8, "clearly less")],
)
def test_a_gain_is_brightness_and_no_colour(gain, word):
    changes = measure_changes(picture(), gain * picture())
    luma = 255 * (0.299 * 0.5 + 0.587 * 0.45 + 0.114 * 0.4)
    assert changes.brightness == pytest.approx((gain - 1) * luma, abs=ROUNDING)
    assert changes.colours < 0.1  # one added to both means keeps black pictures defined
    words = in_words(changes._replace(detail=0.0))
    assert words == HELD.replace("brightness: held", f"brightness: {word}")


def at_equal_luma(cb, cr):
    """The picture with Cb and Cr moved by so many levels, by BT.601's inverse."""
    red, blue = 1.402 * cr, 1.772 * cb
    green = -(0.299 * red + 0.114 * blue) / 0.587
    return picture() + torch.tensor([red, green, blue])[None, :, None, None] / 255


@pytest.mark.parametrize(
    ("cb", "cr", "word"),
    [(3.0, 4.0, "clearly shifted"), (0.9, 1.2, "slightly shifted"), (0.3, 0.4, "held"),
     (-6.0, 6.0, "clearly more"), (-1.5, 1.5, "slightly more"), (6.0, -6.0, "clearly less")],
)  # fmt: skip
def test_colours_move_at_equal_brightness(cb, cr, word):
    changes = measure_changes(picture(), at_equal_luma(cb, cr))
    assert changes.colours == pytest.approx(math.hypot(cb, cr), abs=ROUNDING)
    assert in_words(changes) == HELD.replace("colours: held", f"colours: {word}")


def test_a_hue_shift_is_a_shift():
    words = what_changed(picture(0.6, 0.4, 0.5), picture(0.5, 0.4, 0.6))
    assert "colours: clearly shifted" in words
    assert "noise: held; detail: held" in words


@pytest.mark.parametrize("sign", [-1, 1])
def test_each_word_begins_at_its_threshold(sign):
    still = Changes(100, 100, 0, 0, 0, 0)
    cases = {
        "detail": DETAIL_STEPS,
        "brightness": BRIGHTNESS_STEPS,
    }
    direction = "more" if sign > 0 else "less"
    for field, steps in cases.items():
        for value, word in (
            (0.999 * steps.slight, "held"),
            (steps.slight, f"slightly {direction}"),
            (0.999 * steps.clear, f"slightly {direction}"),
            (steps.clear, f"clearly {direction}"),
        ):
            assert f"{field}: {word}" in in_words(still._replace(**{field: sign * value}))
    assert "colours: held" in in_words(still._replace(colours=0.99 * COLOUR_STEPS.slight))
    assert "slightly shifted" in in_words(still._replace(colours=COLOUR_STEPS.slight))
    assert "clearly shifted" in in_words(still._replace(colours=COLOUR_STEPS.clear))


def test_noise_must_change_by_levels_and_by_a_share():
    assert NOISE_STEPS.slight > 1 / math.sqrt(12)  # rounding to 8 bits is no change
    weak = Changes(0.1, 0.1 + 0.9 * NOISE_STEPS.slight, 0, 0, 0, 0)
    strong = Changes(50, 50 + 5 * NOISE_STEPS.clear * NOISE_SHARE_STEPS.slight, 0, 0, 0, 0)
    assert in_words(weak) == in_words(strong) == HELD


@pytest.mark.parametrize("size", [(2, 2), (2, 300), (17, 3), (16, 16)])
@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_any_size_and_flat_pictures_have_words(size, level):
    flat = torch.full((1, 3, *size), level)
    assert what_changed(flat, flat) == HELD
    assert "nan" not in str(measure_changes(flat, torch.rand(1, 3, *size)))


def test_other_shapes_are_refused():
    for before, after in (
        (torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 5)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)),
        (torch.zeros(1, 3, 1, 4), torch.zeros(1, 3, 1, 4)),
    ):
        with pytest.raises(ValueError, match="2 pixels a side"):
            measure_changes(before, after)
