import math
from dataclasses import replace

import pytest
import torch
from latent_map.__main__ import main
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.fidelity.fidelity import MeasuredFidelity, check_fidelity
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.low_resolution import downsample, low_resolution_distance
from latent_map.fidelity.pixel import mean_absolute_error, mean_squared_error, psnr
from latent_map.files.pictures import Picture, write_picture

from .toys import picture

REDUCTIONS = ("mse", "rms", "l2")
# The measures of every pixel; the others are in test_fidelity_measures.py.
ALL = {name: load_fidelity(name) for name in ("low_resolution", "mse", "mae", "pamse")} | {
    f"{reduction} at 1/{scale}": load_fidelity("low_resolution", scale=scale, reduction=reduction)
    for reduction in REDUCTIONS
    for scale in (1, 3, 4)
}
SHIFT = 0.125
LEAK = 1e-4  # of 0.01: the filter is not ideal; 1e-5 measured, 0.019 without antialiasing

ROUNDING = 1e-12  # float64 sums
ROOT_BIAS = 2e-6  # the guarded root gives away up to sqrt(1e-12), twice
FLOAT32_ROUNDING = 1e-6  # sums of a thousand float32 numbers of about 0.1

every_fidelity = pytest.mark.parametrize("fidelity", ALL.values(), ids=ALL)


@every_fidelity
@pytest.mark.parametrize("sides", [(16, 24), (37, 53)])
def test_a_picture_is_at_distance_zero_from_itself(fidelity, sides):
    image = picture(0, *sides, batch=2)
    assert fidelity(image, image.clone()).tolist() == [0.0, 0.0]


@every_fidelity
def test_distance_is_symmetric_and_positive(fidelity):
    a, b = picture(1), picture(2)
    assert float(fidelity(a, b)) == pytest.approx(float(fidelity(b, a)), rel=FLOAT32_ROUNDING)
    assert float(fidelity(a, b)) > 0


@every_fidelity
def test_distance_is_per_item(fidelity):
    a, b = picture(1, batch=3), picture(2, batch=3)
    together = fidelity(a, b)
    assert together.shape == (3,)
    singles = torch.cat([fidelity(x, y) for x, y in zip(a.split(1), b.split(1), strict=True)])
    assert torch.allclose(together, singles, rtol=FLOAT32_ROUNDING, atol=0)


@every_fidelity
def test_gradient_is_finite_where_the_optimisation_starts(fidelity):
    image = picture(0).double()
    moving = image.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad(fidelity(moving, image).sum(), moving)
    assert gradient.abs().max() == 0


@every_fidelity
def test_gradient_is_finite_and_points_away_from_the_input(fidelity):
    image = picture(0).double()
    moving = (image + SHIFT).requires_grad_(True)
    (gradient,) = torch.autograd.grad(fidelity(moving, image).sum(), moving)
    assert torch.isfinite(gradient).all()
    assert gradient.sum() > 0


@pytest.mark.parametrize("scale", [1, 2, 4, 5])
@pytest.mark.parametrize("sides", [(16, 24), (37, 53)])
def test_a_constant_shift_costs_its_closed_form(scale, sides):
    image = picture(0, *sides).double()
    values = 3 * math.ceil(sides[0] / scale) * math.ceil(sides[1] / scale)
    wanted = {"mse": SHIFT**2, "rms": SHIFT, "l2": SHIFT * values**0.5}
    for reduction, distance in wanted.items():
        ours = float(low_resolution_distance(image + SHIFT, image, scale, reduction))
        tolerance = ROUNDING if reduction == "mse" else ROOT_BIAS
        assert ours == pytest.approx(distance, abs=tolerance)


def test_pixel_distances_of_a_constant_shift():
    image = picture(0).double()
    assert float(mean_squared_error(image - SHIFT, image)) == pytest.approx(SHIFT**2, abs=ROUNDING)
    assert float(mean_absolute_error(image - SHIFT, image)) == pytest.approx(SHIFT, abs=ROUNDING)


def test_reductions_are_functions_of_each_other():
    a, b = picture(1).double(), picture(2).double()
    mse, rms, l2 = (float(low_resolution_distance(a, b, 4, reduction)) for reduction in REDUCTIONS)
    assert rms == pytest.approx(mse**0.5, abs=ROOT_BIAS)
    assert l2 == pytest.approx(rms * (3 * 4 * 4) ** 0.5, abs=10 * ROOT_BIAS)


def test_full_resolution_is_plain_mean_squared_error():
    a, b = picture(1).double(), picture(2).double()
    ours = low_resolution_distance(a, b, scale=1)
    assert torch.allclose(ours, mean_squared_error(a, b), rtol=ROUNDING)


def test_low_resolution_does_not_see_fine_detail_but_full_resolution_does():
    image = picture(0, 32, 32).double()
    # Without antialiasing these stripes of two pixels would turn into a constant shift of 0.1.
    stripes = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64).repeat(8)
    detailed = image + 0.1 * stripes
    assert float(mean_squared_error(detailed, image)) == pytest.approx(0.01)
    assert float(low_resolution_distance(detailed, image, scale=4)) < LEAK


def test_downsampling_rounds_sides_up_and_keeps_constants():
    small = downsample(torch.full((1, 3, 37, 53), 0.5, dtype=torch.float64), 4)
    assert small.shape == (1, 3, 10, 14)
    assert (small - 0.5).abs().max() < ROUNDING


@pytest.mark.parametrize("scale", [0, -4])
def test_impossible_scale_is_refused(scale):
    with pytest.raises(ValueError, match="must be 1 or more"):
        low_resolution_distance(picture(), picture(), scale=scale)
    with pytest.raises(ValueError, match="must be 1 or more"):
        load_fidelity("low_resolution", scale=scale)


def test_unknown_choices_are_refused_by_name():
    with pytest.raises(ValueError, match="unknown reduction 'sum'"):
        low_resolution_distance(picture(), picture(), reduction="sum")
    with pytest.raises(ValueError, match="unknown reduction 'sum'"):
        load_fidelity("low_resolution", reduction="sum")
    with pytest.raises(ValueError, match="unknown fidelity 'psnr'"):
        load_fidelity("psnr")
    with pytest.raises(ValueError, match="'mse' has no options, got scale"):
        load_fidelity("mse", scale=2)
    with pytest.raises(ValueError, match="colour"):
        load_fidelity("low_resolution", colour=True)


def test_a_measure_is_identified_by_its_function_and_its_options_as_they_are_given():
    assert load_fidelity("mse").identity == "mean_squared_error"
    rms = load_fidelity("low_resolution")
    assert rms.identity == "low_resolution_distance {'reduction': 'rms'}"
    with_options = load_fidelity("low_resolution", scale=4, reduction="mse")
    assert with_options.identity == "low_resolution_distance"  # as in runs of version 0.1
    half = load_fidelity("low_resolution", scale=2, reduction="mse")
    assert half.identity == "low_resolution_distance {'scale': 2}"
    assert load_fidelity("vif", planes="luma").identity == "vif_distance {'planes': 'luma'}"


def test_saved_runs_know_the_measures_by_the_names_of_their_first_release():
    renamed = {
        "mse": "mean_squared_error",
        "mae": "mean_absolute_error",
        "lpips": "lpips (vgg)",
        "lpips_alex": "lpips (alex)",
        "dists": "",
        "vae_features": "",
    }
    names = ("low_resolution", "ms_ssim", "vif", "cw_ssim", "mad", "fsim", "gmsd", "vsi")
    names += ("nlpd", "pamse", "mcsd", "ifc")
    first = {name: f"{name}_distance" for name in names} | renamed
    assert {name: FIDELITIES[name].known_as for name in first} == first


def test_a_measure_of_ones_own_is_identified_by_its_name():
    own = MeasuredFidelity("own", mean_squared_error)
    assert (own.name, own.identity, own.min_side) == ("own", "own", 1)
    assert torch.equal(own(picture(1), picture(2)), mean_squared_error(picture(1), picture(2)))


@pytest.mark.parametrize("sides", [(31, 40), (40, 31)])
def test_a_picture_too_small_for_a_measure_is_refused_with_the_remedy(sides):
    fidelity = MeasuredFidelity("deep", mean_squared_error, min_side=32)
    check_fidelity(fidelity, picture(0, 32, 40))
    message = f"picture is {sides[1]}x{sides[0]} pixels, fidelity 'deep' needs 32 a side: enlarge"
    with pytest.raises(ValueError, match=message):
        check_fidelity(fidelity, picture(0, *sides))


def test_the_command_refuses_a_picture_too_small_for_the_measure(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(FIDELITIES, "mae", replace(FIDELITIES["mae"], min_side=64))
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    write_picture(source, Picture(picture(0, 40, 48)))
    for command in ("enhance", "recover"):
        assert main([command, str(source), "-o", str(output), "--fidelity", "mae"]) == 2
        message = capsys.readouterr().err.splitlines()[-1]
        assert "48x40 pixels, fidelity 'mae' needs 64 a side" in message
    assert not output.exists()


def test_different_shapes_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        low_resolution_distance(picture(0, 16, 16), picture(0, 16, 20))


def test_the_signal_to_noise_ratio_is_in_decibels_and_infinite_at_equality():
    grey = torch.full((2, 3, 4, 5), 0.5, dtype=torch.float64)
    assert psnr(grey + 0.1, grey) == pytest.approx(20)
    assert psnr(grey, grey - 0.01) == pytest.approx(40)
    assert psnr(grey, grey.clone()) == math.inf
    with pytest.raises(ValueError, match="differ in shape"):
        psnr(grey, grey[..., :1])
