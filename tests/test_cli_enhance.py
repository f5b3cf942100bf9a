"""latent-map enhance: what it writes."""

import json

import numpy as np
import pytest
from latent_map.command_line import enhance_jobs
from latent_map.edict import backbones
from latent_map.files.pictures import read_picture
from latent_map.map_estimation import comparison
from latent_map.map_estimation.comparison_sheet import comparison_size
from latent_map.map_estimation.enhance import enhance as enhance_picture
from latent_map.map_estimation.words import what_changed
from latent_map.map_estimation.work import WatchedBackbone
from PIL import Image

from .sample_files import QUICK, cuda_out_of_memory, photograph, pixels


def test_enhancing_writes_the_picture_a_report_and_a_sheet(folder, run):
    extras = ("--report", "r.json", "--sheet", "s.png")
    code, out, err = run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)
    assert (code, err) == (0, "")  # no progress bar without a terminal
    assert out.startswith("b.png: quality 0.")
    assert [line.partition(":")[0] for line in out.splitlines()] == ["b.png", "s.png", "r.json"]
    assert pixels("b.png").shape == (96, 192, 3)
    assert pixels("s.png").shape[1] > 2 * 192
    (described,) = json.loads((folder / "r.json").read_text()).values()
    expected = [
        "status",
        "improved",
        "best_iteration",
        "size",
        "prior",
        "fidelity",
        "backbone",
        "torch",
        "scores",
        "pair_difference",
        "before",
        "trace",
        "settings",
    ]
    assert list(described) == expected
    assert described["prior"] == "niqe"
    assert described["size"] == [192, 96]
    assert [row["iteration"] for row in described["trace"]] == [0, 1]
    assert described["settings"]["inversion"]["steps"] == 2
    energies = [row["energy"] for row in described["trace"]]
    assert described["best_iteration"] == energies.index(min(energies))


def test_the_default_prior_is_the_embedded_one(folder, run):
    code, _, err = run("enhance", "good.png", "-o", "b.png", "--steps", "2", "--iterations", "1")
    assert (code, err) == (0, "")
    code, out, _ = run("score", "good.png", "b.png")
    assert code == 0
    before, after = (float(line.split()[2]) for line in out.splitlines())
    assert after >= before - 1e-3  # b.png is rounded to 8 bits


@pytest.mark.parametrize("nothing", [("--iterations", "0", "--start", "input"), ("--lam", "0")])
def test_nothing_to_do_returns_the_picture_exactly(folder, run, nothing):
    code, out, _ = run("enhance", "alpha.png", "-o", "b.png", "--prior", "niqe", *nothing)
    assert code == 0
    assert "nothing to do" in out
    assert np.array_equal(pixels("b.png"), pixels("alpha.png"))


def test_a_folder_goes_on_after_pictures_that_fail(folder, run, monkeypatch):
    (folder / "in").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (folder / "in" / name).write_bytes((folder / "good.png").read_bytes())
    for name in ("empty.png", "1x1.png"):
        (folder / name).rename(folder / "in" / name)
    calls = []

    def fail_once(*arguments):
        calls.append(arguments)
        return cuda_out_of_memory() if len(calls) == 1 else enhance_picture(*arguments)

    monkeypatch.setattr(enhance_jobs, "enhance", fail_once)
    code, out, err = run("enhance", "in", "-o", "new/out", *QUICK, "--report", "r.json")
    assert code == 3
    assert [line.split(":")[0] for line in out.splitlines()] == [
        *("new/out/b.png", "new/out/c.png", "r.json"),
    ]
    told = err.splitlines()
    assert [next(n for n in ("1x1", "empty", "a.png") if n in line) for line in told] == [
        "1x1",
        "empty",
        "a.png",
    ]
    assert sorted(path.name for path in (folder / "new/out").iterdir()) == ["b.png", "c.png"]
    reports = json.loads((folder / "r.json").read_text())
    assert {name for name, report in reports.items() if "error" in report} == {
        "1x1.png",
        "empty.png",
        "a.png",
    }
    assert "trace" in reports["c.png"]


def test_a_folder_without_a_usable_picture_ends_before_any_work(folder, run, monkeypatch):
    monkeypatch.setattr(backbones, "load_backbone", None)
    (folder / "empty.png").rename(folder / "void" / "empty.png")
    code, _, err = run("enhance", "void", "-o", "out", *QUICK)
    assert code == 2
    assert "none of the pictures" in err.splitlines()[-1]


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("a.png", "A.webp")])
def test_pictures_of_one_name_do_not_overwrite_each_other(folder, run, names):
    for name in names:
        Image.fromarray(photograph()).save(folder / "void" / name)
    code, _, err = run("enhance", "void", "-o", "out", *QUICK)
    assert code == 2
    assert err.count("\n") == 1
    assert "rename" in err
    assert all(name in err for name in names)


def test_a_mask_file_keeps_the_rest_of_the_picture(folder, run):
    with Image.open(folder / "good.png") as picture:
        size = picture.size
        before = np.asarray(picture.convert("RGB"))
    mask = np.zeros(size[::-1], dtype=np.uint8)
    mask[:, : size[0] // 2] = 255
    Image.fromarray(mask).save(folder / "mask.png")
    arguments = ("enhance", folder / "good.png", "-o", folder / "b.png", "--mask")
    assert run(*arguments, folder / "mask.png", "--preset", "pixel_ascent")[0] == 0
    after = np.asarray(Image.open(folder / "b.png").convert("RGB"))
    assert np.array_equal(after[:, size[0] // 2 :], before[:, size[0] // 2 :])
    assert not np.array_equal(after, before)


def test_the_tile_is_part_of_the_settings_reported(folder, run):
    arguments = ("enhance", folder / "good.png", "-o", folder / "b.png", "--iterations", "1")
    code, _, _ = run(*arguments, "--tile", "64", "--no-check-gradient", "--report", folder / "r")
    assert code == 0
    settings = json.loads((folder / "r").read_text())["good.png"]["settings"]
    assert settings["inversion"]["tile"] == 64
    assert settings["check_gradient"] is False


def test_a_comparison_is_a_sheet_a_line_of_words_and_numbers_in_the_report(
    folder, run, monkeypatch
):
    monkeypatch.setattr(comparison, "DISTANCES", {"mse": comparison.DISTANCES["mse"]})
    extras = ("--compare", "c.png", "--report", "r.json")
    code, out, err = run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)
    assert (code, err) == (0, "")
    summary, words, *_ = out.splitlines()
    assert summary.startswith("b.png: quality 0.")
    before, after = (read_picture(folder / name).pixels for name in ("good.png", "b.png"))
    assert words == f"b.png: {what_changed(before, after)}"
    assert pixels("c.png").shape == (*comparison_size(192, 96)[::-1], 3)
    (described,) = json.loads((folder / "r.json").read_text()).values()
    compared = described["comparison"]
    assert list(compared["distances"]) == ["mse"]
    assert list(compared["judges"]) == ["pocket", "brisque-cpp"]  # niqe is what is climbed
    assert f"b.png: {compared['changes']['words']}" == words


@pytest.mark.parametrize("tile", [(), ("--tile", "64")])
def test_the_network_calls_of_a_comparison_are_those_made(
    folder, run, loaded_once, monkeypatch, tile
):
    shares = []

    def watched(*arguments, **options):
        return WatchedBackbone(loaded_once(*arguments, **options), shares.append)

    monkeypatch.setattr(comparison, "DISTANCES", {})
    monkeypatch.setattr(backbones, "load_backbone", watched)
    extras = ("--compare", "c.png", "--report", "r.json", "--no-check-gradient", *tile)
    assert run("enhance", "good.png", "-o", "b.png", *QUICK, *extras)[0] == 0
    (described,) = json.loads((folder / "r.json").read_text()).values()
    tiles = round(1 / min(shares))
    assert (tiles > 1) == bool(tile)
    assert len(set(shares)) == 1
    # One call of a single tile tells how much memory its graph takes.
    counted = described["comparison"]["network_calls"]
    assert counted == pytest.approx(len(shares) / tiles, abs=0.501)  # a whole number, rounded
    assert counted > 0


def test_a_comparison_without_a_report_computes_no_numbers(folder, run, monkeypatch):
    monkeypatch.setattr(enhance_jobs, "describe_comparison", None)
    code, out, _ = run("enhance", "good.png", "-o", "b.png", *QUICK, "--compare", "c.png")
    assert code == 0
    assert out.count("\n") == 3


def test_counting_calls_does_not_change_the_result(folder, run):
    assert run("enhance", "good.png", "-o", "a.png", *QUICK)[0] == 0
    assert run("enhance", "good.png", "-o", "b.png", *QUICK, "--compare", "c.png")[0] == 0
    assert np.array_equal(pixels("a.png"), pixels("b.png"))
