"""Devices without float64: that enhancements, judges and states work on a simulated one."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from latent_map.edict.backbones import load_backbone
from latent_map.edict.bijections.bdia import BdiaOptions
from latent_map.edict.bijections.edict import EdictOptions
from latent_map.edict.bijections.obelm import OBelmOptions
from latent_map.edict.inversion import invert_picture, round_trip_error
from latent_map.edict.inversion_options import InversionOptions
from latent_map.edict.latents_file import load_latents, save_latents
from latent_map.fidelity.catalog import FIDELITIES
from latent_map.fidelity.loading import load_fidelity
from latent_map.files import devices
from latent_map.iqa_priors.loading import load_prior
from latent_map.map_estimation.comparison_sheet import where_they_differ_most
from latent_map.map_estimation.enhance import enhance
from latent_map.map_estimation.restraints import Restraints
from latent_map.map_estimation.settings import PRESETS, preset
from torch import Tensor

from .simulated_mps import SimulatedMps
from .toys import PRIOR, edict, picture

IMAGE = picture(3, 32, 32)
ROUND_TRIP = 1e-3  # of a state in float32
SAME = 1e-3  # float32
BIJECTIONS = {"edict": EdictOptions(0.93), "bdia": BdiaOptions(0.9), "obelm": OBelmOptions()}


@pytest.fixture
def mps(monkeypatch):
    monkeypatch.setattr(devices, "is_complete", lambda _device: False)
    with SimulatedMps():
        yield


def run(settings, image=IMAGE, **options):
    tools = (load_backbone("pocket"), PRIOR, load_fidelity("low_resolution"))
    (result,) = enhance(image, *tools, replace(settings, iterations=1), **options)
    return result


@pytest.mark.parametrize(
    "misused",
    [
        lambda image: image.double(),
        lambda image: image * torch.ones(1, dtype=torch.float64),
        lambda image: torch.ones(3, dtype=torch.float64).to(image.device),
        lambda image: torch.linalg.eigvalsh(image @ image.mT),
        lambda image: F.interpolate(image, size=(9, 9), mode="bicubic", antialias=True),
    ],
)
def test_the_simulation_refuses_what_the_device_has_not(mps, misused):
    with pytest.raises((RuntimeError, NotImplementedError), match="MPS"):
        misused(IMAGE)


def test_the_simulation_lets_the_cpu_work(mps):
    assert IMAGE.cpu().double().mean().dtype == torch.float64


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_runs(mps, name):
    result = run(preset(name))
    assert result.picture.isfinite().all()
    assert result.picture.dtype == torch.float32


@pytest.mark.parametrize("name", BIJECTIONS)
def test_every_bijection_comes_back_in_float32(mps, name):
    options = InversionOptions(3, bijection=BIJECTIONS[name])
    inverted = invert_picture(load_backbone("pocket"), IMAGE, options)
    assert inverted.noise.x.dtype == torch.float32
    assert round_trip_error(inverted) < ROUND_TRIP
    assert run(replace(preset("fast"), inversion=options)).picture.isfinite().all()


def test_the_embedded_models_and_all_restraints_run(mps):
    mask = torch.ones(1, 1, 32, 32)
    mask[..., :16, :] = 0
    held = Restraints(mask=mask, guard=1 - mask / 2, anchor_colours=True)
    tools = (load_backbone("pocket"), load_prior("pocket"), load_fidelity("low_resolution"))
    settings = replace(preset("fast"), iterations=1)
    settings = replace(settings, inversion=replace(settings.inversion, tile=16))
    (result,) = enhance(IMAGE, *tools, settings, restraints=held)
    assert torch.equal(result.picture[..., :16, :], IMAGE[..., :16, :])


def test_a_run_begun_in_float64_goes_on(tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(step):
        raise Stop

    state = tmp_path / "run.state"
    with pytest.raises(Stop):
        run(preset("fast"), callback=stop, state=state)
    monkeypatch.setattr(devices, "is_complete", lambda _device: False)
    with SimulatedMps():
        assert len(run(preset("fast"), state=state).trace) == 2


def test_noise_kept_in_float64_is_opened(tmp_path, monkeypatch):
    inverted = invert_picture(load_backbone("pocket"), IMAGE, edict(2))
    save_latents(tmp_path / "noise.state", inverted)
    monkeypatch.setattr(devices, "is_complete", lambda _device: False)
    with SimulatedMps():
        found = load_latents(tmp_path / "noise.state")
    assert found.noise.x.dtype == torch.float32
    assert torch.equal(found.noise.x, inverted.noise.x.float())


def slope(judge, *others):
    leaf = picture(5, 96, 192).requires_grad_(True)
    (gradient,) = torch.autograd.grad(judge(leaf, *others).sum(), leaf)
    return gradient


@pytest.mark.parametrize("name", ["pocket", "niqe", "brisque-cpp"])
def test_judges_are_the_same_there(name, monkeypatch):
    wanted = slope(load_prior(name))
    monkeypatch.setattr(devices, "is_complete", lambda _device: False)
    with SimulatedMps():
        found = slope(load_prior(name))
    assert (found - wanted).norm() <= SAME * wanted.norm()


@pytest.mark.parametrize("name", [name for name, row in FIDELITIES.items() if not row.files])
def test_measures_are_the_same_there(name, monkeypatch):
    other = picture(6, 96, 192)
    wanted = slope(load_fidelity(name), other)
    monkeypatch.setattr(devices, "is_complete", lambda _device: False)
    with SimulatedMps():
        found = slope(load_fidelity(name), other)
    assert found.isfinite().all()
    assert (found - wanted).norm() <= SAME * wanted.norm()


def test_sheets_are_drawn(mps):
    assert isinstance(where_they_differ_most(IMAGE, IMAGE.flip(-1), 16).top, int)


def test_resizing_is_the_librarys():
    wanted = F.interpolate(IMAGE, size=(13, 21), mode="bicubic", antialias=True)
    assert torch.equal(devices.resized(IMAGE, (13, 21)), wanted)


def test_the_exact_type():
    assert devices.exact_dtype("mps") == torch.float32
    assert devices.exact_dtype("cuda:1") == torch.float64
    assert devices.exact_dtype("xpu") == torch.float32  # there is none, which is no error
    assert devices.complete_device("mps") == "cpu"
    assert isinstance(devices.exact(IMAGE), Tensor)
