import random

import pytest
from latent_map.comparison.study_file import load_study
from latent_map.edict.bijections.bdia import BdiaOptions

from .study_files import QUICK, READY, UNTOUCHED, write_study

FULL = """
folder = "out"

[pictures]
folder = "photos"
exclude = "exclude.csv"
side = 256

[[entrant]]
name = "input"
untouched = true

[[entrant]]
name = "other restorer 1.0"
folder = "other"

[[entrant]]
name = "two judges"
prior = "pocket, niqe"
fidelity = "ms_ssim"
preset = "strong"
settings = { lam = 2, iterations = 5 }

[entrant.inversion]
steps = 6
tile = "none"
bijection = { name = "bdia", gamma = 0.98 }

[selection]
measure = "lpips"
features = "vgg16"
gamma = 0.2
per_pair = 12
diversity = "min"
random = 3

[session]
seed = 4
"""


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_a_whole_study_is_read(tmp_path):
    study = load_study(write(tmp_path, FULL))
    assert list(study.entrants) == ["input", "other restorer 1.0", "two judges"]
    assert study.folder == tmp_path / "out"
    assert study.pictures.folder == tmp_path / "photos"
    assert study.pictures.exclude == tmp_path / "exclude.csv"
    assert (study.pictures.side, study.session.seed, study.selection.per_pair) == (256, 4, 12)
    restorer = study.entrants["two judges"]
    assert restorer.priors == ("pocket", "niqe")
    settings = restorer.settings
    assert (settings.lam, settings.iterations, settings.learning_rate) == (2.0, 5, 0.005)
    assert isinstance(settings.lam, float)
    assert (settings.inversion.steps, settings.inversion.tile) == (6, None)
    assert settings.inversion.bijection == BdiaOptions(gamma=0.98)
    assert study.entrants["other restorer 1.0"].folder == tmp_path / "other"


def test_what_is_left_out_is_as_in_the_paper(tmp_path):
    study = load_study(write_study(tmp_path, UNTOUCHED + READY, pictures="exclude = 'x.csv'"))
    assert study.folder == tmp_path / "study"
    assert study.pictures.side == 512
    assert (study.selection.gamma, study.selection.per_pair) == (0.1, 20)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("[pictures]", "[picture]", "does not know 'picture'"),
        ("side = 256", "sides = 256", "does not know 'sides': it takes folder, exclude, side"),
        ("side = 256", 'side = "256"', "side is '256': give a whole number"),
        ("side = 256", "side = 3", "side is 3: give pixels from 16"),
        ("side = 256", "side = true", "side is True: give a whole number"),
        ("side = 256", "side = 1e3", "give a whole number"),
        ('folder = "out"', "folder = 3", "folder is 3"),
        ('folder = "photos"', "", "lacks folder"),
        ("untouched = true", "untouched = false", "untouched is false"),
        ("untouched = true", "", "has none of them: give exactly one of prior, folder, untouched"),
        ("untouched = true", 'untouched = true\nprior = "niqe"', "has prior and untouched"),
        ('name = "input"', 'name = "../input"', "has the name '../input'"),
        ('name = "input"', "name = 3", "has the name 3"),
        ('name = "input"', 'name = "Two Judges"', "is called 'two judges' as one before"),
        ('"pocket, niqe"', '"best"', "unknown prior 'best'"),
        ('"pocket, niqe"', '"pocket,"', "unknown prior ''"),
        ('"strong"', '"stronger"', "unknown preset 'stronger'"),
        ('"ms_ssim"', '"ssim2"', "unknown fidelity 'ssim2'"),
        ("lam = 2", "lambda = 2", "settings does not know 'lambda'"),
        ("lam = 2", "lam = -2", "lambda -2.0 must be"),
        ("lam = 2", "lam = nan", "lam is nan: give a number"),
        ("lam = 2", 'start = "end"', "give 'input' or 'estimate' or 'sample'"),
        ("steps = 6", "steps = 0", "0 diffusion steps"),
        ("steps = 6", "step = 6", "inversion does not know 'step'"),
        ('tile = "none"', "tile = 1.5", "tile is 1.5"),
        ('name = "bdia"', 'name = "best"', "unknown name 'best'"),
        ("gamma = 0.98", "p = 0.98", "bijection does not know 'p'"),
        ("preset =", "backbone_options = { path = 'x' }\npreset =", "does not know 'path'"),
        ("preset =", "backbone = 'sd'\npreset =", "unknown backbone 'sd'"),
        ("preset =", "backbone = 'diffusers'\npreset =", "backbone_options lacks path"),
        (
            "preset =",
            "backbone = 'diffusers'\nbackbone_options = { path = 'no' }\npreset =",
            "there is no",
        ),
        ("preset =", "acceleration = 'fast'\npreset =", "give 'auto' or 'graph' or 'compile' or"),
        ("preset =", "acceleration = 'none'\ncompile = true\npreset =", "give one of them"),
        ("preset =", 'calibration = "c.json"\npreset =', "calibration is for a single prior"),
        ('"lpips"', '"psnr"', "unknown fidelity 'psnr'"),
        ('"vgg16"', '"clip"', "features is 'clip': give 'vgg16' or 'colours_and_edges'"),
        ("gamma = 0.2", "gamma = -1", "gamma is -1"),
        ("per_pair = 12", "per_pair = 0", "per_pair is 0"),
        ("seed = 4", "seeds = 4", "[session] does not know 'seeds'"),
        ("[session]", "[session", "is damaged or no study"),
        ("[session]", "[selection]", "is damaged or no study"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path, old, new, complaint):
    assert old in FULL
    with pytest.raises(ValueError, match=r"study\.toml") as caught:
        load_study(write(tmp_path, FULL.replace(old, new, 1)))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("given", "acceleration"),
    [("", "auto"), ("acceleration = 'none'\n", "none"), ("compile = true\n", "compile")],
)
def test_how_a_backbone_is_called_can_be_chosen(tmp_path, given, acceleration):
    study = load_study(write(tmp_path, FULL.replace("preset =", given + "preset =")))
    assert study.entrants["two judges"].acceleration == acceleration


def test_one_entrant_is_no_study(tmp_path):
    for entrants in (UNTOUCHED, "", "entrant = 3\n"):
        with pytest.raises(ValueError, match=r"two tables \[\[entrant\]\]"):
            load_study(write(tmp_path, f"{entrants}\n[pictures]\nfolder = 'x'\n"))


def test_a_missing_file_is_named(tmp_path, run):
    code, _, err = run("study", "run", tmp_path / "no.toml")
    assert code == 2
    assert "no study at" in err
    assert err.count("\n") == 1


THROWN_IN = ["-1", "0", "nan", "1e999", "9" * 30, "true", "[]", "{}", '""', "'\\u0000'", "[[", "é"]


def mutated(text: str, seed: int) -> bytes:
    """The text with something cut, doubled, exchanged or thrown in."""
    draw = random.Random(seed)
    words = text.split(" ")
    for _ in range(draw.randint(1, 4)):
        place = draw.randrange(len(words))
        kind = draw.randrange(6)
        if kind == 0:
            words = words[:place] or [""]
        elif kind == 1:
            words.insert(place, words[draw.randrange(len(words))])
        elif kind == 2:
            words[place] = draw.choice(THROWN_IN)
        elif kind == 3:
            other = draw.randrange(len(words))
            words[place], words[other] = words[other], words[place]
        elif kind == 4:
            del words[place : place + draw.randint(1, 3)]
            words = words or [""]
        else:
            letters = list(words[place] or "x")
            letters[draw.randrange(len(letters))] = chr(draw.choice([0, 10, 34, 61, 91, 255, 8232]))
            words[place] = "".join(letters)
    data = " ".join(words).encode()
    if draw.random() < 0.1:
        at = draw.randrange(len(data) + 1)
        data = data[:at] + bytes(draw.randrange(256) for _ in range(3)) + data[at:]
    return data


def complaint_about(path):
    """What is said against a study file; nothing if it is taken."""
    try:
        load_study(path)
    except ValueError as error:
        return str(error)
    return ""


def test_mutated_study_files_are_read_or_refused_in_one_line(tmp_path):
    path, refused = tmp_path / "study.toml", 0
    for seed in range(500):
        path.write_bytes(mutated(FULL + QUICK, seed))
        complaint = complaint_about(path)
        refused += bool(complaint)
        assert not complaint or str(path) in complaint
        assert "\n" not in complaint
    assert 250 < refused < 500
