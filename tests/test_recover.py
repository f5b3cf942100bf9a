"""Recovery of a reference: the solver, the command, its files and its refusals."""

import csv
import math

import pytest
import torch
from latent_map.__main__ import main
from latent_map.fidelity.loading import load_fidelity
from latent_map.fidelity.recovery import recover_reference, starting_picture
from latent_map.files.pictures import Picture, read_picture, write_picture

from .toys import fidelity, picture

STEPS = 60
RECOVERED = 40  # dB: mse leads back to within two grey levels; 44.8 measured
UNRECOVERED = 30  # dB


def test_mse_recovers_the_reference_from_noise():
    reference = picture(0, 24, 24)
    start = starting_picture(reference, "noise")
    result = recover_reference(load_fidelity("mse"), reference, start, STEPS, 0.05)
    assert result.psnr > RECOVERED
    assert len(result.distances) == STEPS + 1
    assert result.distances[0] == pytest.approx(
        float((start - reference).square().mean()), rel=1e-5
    )
    assert result.picture.min() >= 0
    assert result.picture.max() <= 1


def test_a_blind_measure_converges_and_does_not_recover_the_reference():
    reference = picture(0, 32, 32)
    start = starting_picture(reference, "noise")
    result = recover_reference(load_fidelity("gmsd"), reference, start, STEPS, 0.05)
    assert min(result.distances) < 0.5 * result.distances[0]
    assert result.psnr < UNRECOVERED


def test_the_best_iterate_is_kept_when_steps_are_too_large():
    reference = picture(0, 16, 16)
    result = recover_reference(
        load_fidelity("mse"), reference, (reference + 0.01).clamp(0, 1), 3, 0.5
    )
    best = float((result.picture - reference).square().mean())
    assert best == pytest.approx(min(result.distances), rel=1e-4)
    assert result.distances[1] > result.distances[0]


def test_starts_are_reproducible_and_differ():
    reference = picture(0, 32, 32)
    noise = starting_picture(reference, "noise", seed=1)
    assert torch.equal(noise, starting_picture(reference, "noise", seed=1))
    assert not torch.equal(noise, starting_picture(reference, "noise", seed=2))
    jpeg = starting_picture(reference, "jpeg")
    assert 0 < float((jpeg - reference).abs().mean()) < float((noise - reference).abs().mean())
    with pytest.raises(ValueError, match="noise or jpeg"):
        starting_picture(reference, "grey")


def test_numbers_out_of_range_and_broken_measures_are_refused():
    reference = picture(0, 16, 16)
    mse = load_fidelity("mse")
    for iterations, rate in ((0, 0.1), (1, 0.0), (1, math.nan)):
        with pytest.raises(ValueError, match="must be"):
            recover_reference(mse, reference, reference, iterations, rate)
    with pytest.raises(RuntimeError, match="distance is nan in iteration 0"):
        recover_reference(fidelity(lambda a, b: mse(a, b) * math.nan), reference, reference, 1)
    with pytest.raises(RuntimeError, match="gradient is not finite"):
        recover_reference(fidelity(lambda a, b: mse(a, b).sqrt()), reference, reference, 1)


def test_a_picture_too_small_for_the_measure_is_refused_before_the_first_step():
    reference, seen = picture(0, 31, 40), []
    large = fidelity(lambda a, b: seen.append(a), "deep", min_side=32)
    with pytest.raises(ValueError, match="40x31 pixels, fidelity 'deep' needs 32 a side"):
        recover_reference(large, reference, reference, 1)
    assert not seen


def test_the_command_writes_picture_curve_and_plot(tmp_path, capsys):
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    write_picture(source, Picture(picture(0, 40, 48)))
    arguments = ["recover", str(source), "-o", str(output), "--fidelity", "mae", "--from", "jpeg"]
    assert main([*arguments, "--iterations", "5", "--size", "32"]) == 0
    assert read_picture(output).pixels.shape == (1, 3, 32, 32)
    assert read_picture(tmp_path / "out_curve.png").pixels.shape[-1] > 100
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["iteration", "distance"]
    assert [int(row[0]) for row in rows[1:]] == list(range(6))
    assert float(rows[-1][1]) < float(rows[1][1])
    assert "PSNR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fidelity", "psnr"], "unknown fidelity"),
        (["--fidelity", "pieapp"], "not offered"),
        (["--iterations", "0"], "must be 1 or more"),
        (["--size", "8"], "choose 16 or more"),
        (["--fidelity", "lpips", "--weights", "nowhere"], "vgg16-397923af.pth"),
    ],
)
def test_the_command_refuses_before_it_writes(tmp_path, capsys, arguments, message):
    source, output = tmp_path / "in.png", tmp_path / "out.png"
    write_picture(source, Picture(picture(0, 32, 32)))
    assert main(["recover", str(source), "-o", str(output), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["in.png"]


def test_the_command_does_not_overwrite_its_reference(tmp_path, capsys):
    source = tmp_path / "in.png"
    write_picture(source, Picture(picture(0, 32, 32)))
    assert main(["recover", str(source), "-o", str(source)]) == 2
    assert "named twice" in capsys.readouterr().err


def test_download_of_a_measure_without_a_file_is_refused(capsys):
    assert main(["download-fidelity", "mse"]) == 2
    assert "choose from lpips" in capsys.readouterr().err
