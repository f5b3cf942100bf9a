"""What tests share: small models, files for commands, the command line, and threads."""

import functools
import json
import os
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from .sample_files import photograph

# Fixtures import what they need: tests of nodes run where the library is not installed.


def pytest_configure():
    """One thread a worker: two of two threads each are several times slower on two cores."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        torch.set_num_threads(1)
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            os.environ.setdefault(variable, "1")  # of what tests start


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Usable and unusable files."""
    from latent_map.files.state_file import save_state

    folder = tmp_path_factory.mktemp("samples")
    array = photograph()
    Image.fromarray(array).save(folder / "good.png")
    Image.fromarray(array).convert("RGBA").save(folder / "alpha.png")
    Image.fromarray(array[:1, :1]).save(folder / "1x1.png")
    Image.fromarray(np.zeros((5, 20000, 3), np.uint8)).save(folder / "strip.png")
    Image.fromarray(array[:96, :96]).save(folder / "square.png")
    Image.fromarray(array).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.zeros((96, 192), np.uint16)).save(folder / "deep.png")
    Image.fromarray(np.full((96, 192), np.nan, np.float32)).save(folder / "nan.tif")
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    (folder / "cut.png").write_bytes((folder / "good.png").read_bytes()[:20000])
    (folder / "damaged.state").write_bytes(os.urandom(500))
    save_state(folder / "other.state", "something else", {"x": torch.zeros(1)}, {})
    (folder / "old.png").write_bytes(b"an older picture")
    (folder / "void").mkdir()
    return folder


@pytest.fixture
def folder(samples, tmp_path, monkeypatch):
    """The working folder, with the samples in it."""
    shutil.copytree(samples, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def loaded_once():
    """`load_backbone`, which loads each backbone once for all commands."""
    from latent_map.edict.backbones import load_backbone

    # Commands import what they need when they run: were that first within a test that replaces
    # functions, these modules would keep the replacements.
    for module in ("command_line.enhance_jobs", "edict.latents_file"):
        import_module(f"latent_map.{module}")
    return functools.cache(load_backbone)


@pytest.fixture
def run(capsys, monkeypatch, loaded_once):
    """Run a command, with one backbone for all: exit code, stdout, stderr."""
    from latent_map.__main__ import main
    from latent_map.edict import backbones

    monkeypatch.setattr(backbones, "load_backbone", loaded_once)

    def call(*arguments):
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return call


@pytest.fixture(scope="session")
def models(tmp_path_factory) -> Path:
    """Every family in every layout: NAME/, NAME.safetensors, and its ControlNet three times."""
    from . import tiny_diffusers as tiny

    folder = tmp_path_factory.mktemp("models")
    for name, family in tiny.FAMILIES.items():
        tiny.write_folder(folder / name, family)
        vocabulary = len(json.loads((folder / name / "tokenizer" / "vocab.json").read_text()))
        tiny.write_single_file(folder / f"{name}.safetensors", family, vocabulary)
        tiny.write_controlnet(folder / f"{name}_control", family)
        for layout in ("diffusers", "ldm"):
            tiny.write_controlnet(folder / f"{name}_{layout}.safetensors", family, layout)
    return folder
