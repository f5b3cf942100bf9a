"""The pack where pyiqa, diffusers and timm are not installed, as in a fresh ComfyUI."""

import subprocess
import sys
from pathlib import Path

import pytest
from latent_map.files.packages import PACKAGES, need_packages, requirement
from latent_map.iqa_priors.catalog import PRIORS
from latent_map.iqa_priors.loading import load_prior, missing_prior

OPTIONAL = ("pyiqa", "diffusers", "timm")
REPOSITORY = Path(__file__).resolve().parents[1]
# The import system refuses them, wherever the import stands.
REFUSE = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPTIONAL}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

for name in {OPTIONAL}:
    sys.modules[name] = None
sys.meta_path.insert(0, Refuse())
"""


def without_packages(code: str) -> str:
    """What code prints in a Python that has none of them."""
    run = subprocess.run(
        [sys.executable, "-c", REFUSE + code],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert not run.stderr, run.stderr  # no warning of anybody's
    return run.stdout


def test_our_own_priors_score_and_have_a_gradient():
    names = [name for name, row in PRIORS.items() if not row.files and not row.packages]
    assert {"pocket", "niqe", "brisque-cpp"} <= set(names)
    code = f"""
import torch
from latent_map import load_prior
from latent_map.iqa_priors.catalog import PRIORS
for name in {names}:
    image = torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    quality = load_prior(name)(image.requires_grad_())
    (gradient,) = torch.autograd.grad(quality.sum(), image)
    print(name, bool(gradient.abs().sum() > 0))
"""
    assert without_packages(code).split() == [word for name in names for word in (name, "True")]


def test_all_priors_but_pyiqas_can_be_imported():
    code = """
from latent_map.iqa_priors.catalog import PRIORS
for name, row in PRIORS.items():
    if not row.packages:
        row.load.find()
        print(name)
"""
    found = set(without_packages(code).split())
    assert found == {name for name, row in PRIORS.items() if "pyiqa" not in row.packages}
    assert {"liqe", "liqe_mix", "clipiqa+", "qualiclip", "laion_aes", "arniqa"} <= found


def test_post_enhancement_works_and_warns_of_nothing():
    code = """
from pathlib import Path
from latent_map import enhance, load_backbone, load_fidelity, load_prior, preset
from latent_map.files.pictures import read_picture
image = read_picture(Path("docs/sample.png")).pixels[..., 40:104, 40:104]
parts = load_backbone("pocket"), load_prior("pocket"), load_fidelity("low_resolution")
(result,) = enhance(image, *parts, preset("fast"))
print(tuple(result.picture.shape))
"""
    assert without_packages(code).strip() == "(1, 3, 64, 64)"


@pytest.mark.parametrize(
    ("call", "package"),
    [
        ("load_prior('dbcnn')", "pyiqa"),
        ("load_prior('piqe')", "pyiqa"),
        ("load_backbone('diffusers', path='any')", "diffusers"),
        ("load_backbone('seesr', path='any', base='any')", "diffusers"),
        ("load_fidelity('vae_features', path='pyproject.toml')", "diffusers"),
        ("ImageEncoder()", "timm"),
    ],
)
def test_a_missing_package_gives_one_message_with_the_remedy(call, package):
    code = f"""
from latent_map import load_backbone, load_fidelity, load_prior
from latent_map.edict.backbones.seesr.ram import ImageEncoder
try:
    {call}
except ValueError as error:
    print(error)
"""
    message = without_packages(code)
    assert f"{package}, not installed here" in message
    assert f'-m pip install "{requirement(package)}"' in message
    assert PACKAGES[package].about in message


def test_what_pyiqa_costs_is_said_before_anything_runs(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    for message in (missing_prior("piqe"), missing_prior("dbcnn")):
        assert "noncommercial use only" in message
        assert "1.1 GB" in message
    with pytest.raises(ValueError, match="pip install"):
        load_prior("piqe")
    need_packages("anything")


def test_the_nodes_need_no_pyiqa():
    requirements = (REPOSITORY / "requirements.txt").read_text()
    assert "pyiqa" not in requirements
    assert '"pyiqa' in (REPOSITORY / "pyproject.toml").read_text()
    for name in ("diffusers", "timm"):
        assert requirement(name) in requirements.splitlines()


def test_the_message_is_about_what_is_missing_alone(monkeypatch):
    monkeypatch.setattr("latent_map.files.packages.find_spec", lambda name: name != "timm" or None)
    with pytest.raises(ValueError, match=r"^it runs on timm, not installed here"):
        need_packages("it", "diffusers", "timm")


@pytest.mark.parametrize(
    ("installed", "told"),
    [("1.0.9", True), ("0.9.16", True), ("1.0.22", False), ("1.1", False), ("2.0.0.dev0", False)],
)
def test_a_package_that_is_too_old_is_told(monkeypatch, installed, told):
    monkeypatch.setattr("latent_map.files.packages.version", lambda _: installed)
    if told:
        with pytest.raises(
            ValueError, match=f"timm, of which {installed} is too old.*timm>=1.0.22"
        ):
            need_packages("it", "timm")
    else:
        need_packages("it", "timm")


def test_the_library_asks_for_the_same():
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert all(f'"{requirement(name)}"' in project for name in PACKAGES)
