"""What users choose about bijections: what is refused, and what map it makes."""

import re
from dataclasses import replace

import pytest
from latent_map.edict.bijections import BIJECTIONS, bijection_options, option_names
from latent_map.edict.bijections.bdia import Bdia, BdiaOptions, check_gamma
from latent_map.edict.bijections.edict import Edict, EdictOptions
from latent_map.edict.bijections.obelm import OBelm, OBelmOptions
from latent_map.edict.bijections.two_step import GROWTH_LIMIT
from latent_map.edict.inversion_options import InversionOptions

from .pairs import RULES, schedule_of, two_step_toy
from .toys import ConvDenoiser


@pytest.mark.parametrize("gamma", [0.0, -1.0, 1.001, float("nan"), float("inf")])
def test_impossible_gammas_are_refused_with_the_reason(gamma):
    with pytest.raises(ValueError, match=r"\(0, 1\].*divides by it"):
        two_step_toy("bdia", gamma=gamma)
    with pytest.raises(ValueError, match=r"\(0, 1\].*divides by it"):
        InversionOptions(bijection=BdiaOptions(gamma))


@pytest.mark.parametrize(("gamma", "steps"), [(0.5, 10), (0.5, 20), (0.9, 50), (1e-3, 2)])
def test_unstable_gammas_are_refused_with_a_remedy_that_works(gamma, steps):
    with pytest.raises(ValueError, match=r"choose gamma 0\.\d+ or more") as caught:
        InversionOptions(steps, bijection=BdiaOptions(gamma))
    assert f"{gamma ** (1 - steps):.3g} times" in str(caught.value)
    with pytest.raises(ValueError, match="amplify errors"):
        two_step_toy("bdia", steps, gamma=gamma)
    least = float(re.search(r"choose gamma (\S+)", str(caught.value))[1])
    assert two_step_toy("bdia", steps, gamma=least).growth <= GROWTH_LIMIT
    with pytest.raises(ValueError, match="amplify errors"):
        check_gamma(least - 0.002, steps)


@pytest.mark.parametrize("gamma", [1e-200, 1e-300])
def test_gammas_beyond_all_numbers_are_refused_in_words_too(gamma):
    with pytest.raises(ValueError, match=r"amplify errors 10\^\d+ times"):
        InversionOptions(5, bijection=BdiaOptions(gamma))


@pytest.mark.parametrize("wrong", ["bdia", None, BdiaOptions])
def test_what_is_no_bijections_options_is_refused(wrong):
    with pytest.raises(ValueError, match=r"options of one.*edict, bdia, obelm"):
        InversionOptions(5, bijection=wrong)


def test_a_partial_inversion_is_judged_by_the_steps_it_makes():
    options = InversionOptions(10, strength=0.5, bijection=BdiaOptions(0.5))
    schedule = schedule_of("v", 10).last(options.strength)
    assert options.bijection.couple(ConvDenoiser(), schedule, 10).calls == 5
    with pytest.raises(ValueError, match="amplify errors"):
        replace(options, strength=1.0)


def test_unknown_bijections_are_refused():
    with pytest.raises(ValueError, match="unknown bijection 'belm': choose edict, bdia, obelm"):
        bijection_options("belm")


@pytest.mark.parametrize("name", BIJECTIONS)
def test_options_of_another_bijection_are_refused(name):
    for option in {"mixing", "order", "gamma"} - set(option_names(name)):
        with pytest.raises(ValueError, match=f"the bijection {name} has no {option}: it takes"):
            bijection_options(name, **{option: 1})


def test_edicts_mixing_is_no_concern_of_the_others():
    for rule in RULES:
        InversionOptions(4, bijection=bijection_options(rule))
    with pytest.raises(ValueError, match="mixing"):
        InversionOptions(4, bijection=EdictOptions(0.5))


def test_the_options_make_the_map_they_name():
    denoiser, schedule = ConvDenoiser(), schedule_of("v", 4)
    bdia = bijection_options("bdia", gamma=0.7).couple(denoiser, schedule, 4)
    assert bdia == Bdia(denoiser, schedule, 0.7)
    assert OBelmOptions().couple(denoiser, schedule, 4) == OBelm(denoiser, schedule)
    edict = EdictOptions(0.9, "alternate").couple(denoiser, schedule, 4)
    assert edict == Edict(denoiser, schedule, 0.9, "alternate")
