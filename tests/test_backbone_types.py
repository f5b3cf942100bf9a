"""The registry of backbones: what can be chosen, told before torch is there."""

import subprocess
import sys
from dataclasses import fields
from importlib import import_module

import pytest
from latent_map.edict.backbones import BACKBONES, load_backbone


def test_the_options_are_known_without_torch():
    code = "import sys, latent_map.edict.backbones; print('torch' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "False"


@pytest.mark.parametrize("name", BACKBONES)
def test_a_type_has_a_loader_and_tells_of_its_options(name):
    kind = BACKBONES[name]
    assert kind.options.__dataclass_params__.frozen
    assert hasattr(import_module(kind.module, "latent_map.edict.backbones"), kind.function)
    for field in fields(kind.options):
        assert field.metadata.get("internal") or "help" in field.metadata


@pytest.mark.parametrize("name", ["diffusers", "seesr"])
def test_values_that_cannot_work_are_refused_by_the_options(name):
    for chosen in ({"cfg": float("nan")}, {"control_strength": float("inf")}, {"dtype": "int8"}):
        with pytest.raises(ValueError, match=next(iter(chosen))):
            BACKBONES[name].options("anywhere", **chosen)


def test_an_unknown_name_is_told_the_known_ones():
    with pytest.raises(ValueError, match="choose from pocket, diffusers, seesr"):
        load_backbone("flux")
