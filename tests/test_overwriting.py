"""What is read is never written, what was not named is never replaced, what is no file stays."""

import os
import subprocess
import sys
import threading

import pytest
from latent_map.comparison.preparation import prepare_pictures
from latent_map.comparison.study_file import check_rooms, load_study
from latent_map.files.pictures import Picture, write_picture
from latent_map.files.state_file import load_state
from latent_map.files.written import check_writable, write_atomically

from .sample_files import QUICK, contents
from .toys import picture

LINKS = {
    "itself": lambda read, name: read,
    "another way to it": lambda read, name: read.parent / "void" / ".." / read.name,
    "a link": lambda read, name: (name.symlink_to(read), name)[1],
    "a hard link": lambda read, name: (os.link(read, name), name)[1],
    "a link to a link": lambda read, name: (
        (name.parent / "l.png").symlink_to(read),
        name.symlink_to("l.png"),
        name,
    )[-1],
}
# What each command reads, and what it writes: R is the read file, W the written one.
COMMANDS = [
    "enhance R -o W",
    "enhance good.png -o b.png --mask R --report W",
    "enhance good.png -o b.png --guard R --sheet W",
    "enhance good.png -o b.png --calibration R --compare W",
    "enhance good.png -o b.png --backbone R --state W",
    "enhance good.png -o b.png --backbone void --controlnet R --report W",
    "enhance good.png -o R --report W",
    "invert R -o W",
    "invert good.png -o W --backbone R",
    "invert good.png -o W --backbone void --controlnet R",
    "invert good.png -o W --backbone seesr:void --base R",
    "reconstruct R -o W",
    "recover R -o W",
    "recover good.png -o W --weights R",
    "calibrate --prior niqe --scores R -o W",
    "calibrate --prior niqe --folder read -o W",
    "convert-dape R void -o W --force",
    "convert-dape void R -o W --force",
    "study analyse R --json W",
]


@pytest.mark.parametrize(
    ("command", "how"),
    [*((c, "a link to a link") for c in COMMANDS), *((COMMANDS[0], how) for how in LINKS)],
)
def test_what_is_read_is_never_written(folder, run, command, how):
    (folder / "read").mkdir()
    read = folder / "read" / "read.png"
    (folder / "read" / "void").mkdir()
    read.write_bytes((folder / "good.png").read_bytes())
    if "analyse" in command:
        read.write_text("observer,picture,model_a,model_b,choice\no,p,a,b,a\no,p,a,b,b\n")
    written = LINKS[how](read, folder / "read" / "written.png")
    before = contents(folder)
    words = [{"R": str(read), "W": str(written)}.get(word, word) for word in command.split()]
    if command.startswith("enhance"):
        words += ["--prior", "niqe"]
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert contents(folder) == before
    if "--calibration" not in command and "analyse" not in command and "state" not in err:
        assert "choose another" in err


def test_a_file_of_a_model_that_is_read_is_not_written(folder, run):
    (folder / "model" / "unet").mkdir(parents=True)
    (folder / "model" / "unet" / "config.json").write_text("{}")
    (folder / "report.json").symlink_to(folder / "model" / "unet" / "config.json")
    for target in ("model/unet/config.json", "report.json"):
        command = ("enhance", "good.png", "-o", "b.png", "--prior", "niqe", "--report", target)
        code, _, err = run(*command, "--backbone", "model")
        assert code == 2
        assert "is a file of model" in err
        assert (folder / "model" / "unet" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("there", ["b.csv", "b_curve.png"])
def test_recovery_replaces_no_file_that_was_not_named(folder, run, there):
    (folder / there).write_text("mine")
    command = ("recover", "good.png", "-o", "b.png", "--iterations", "1")
    code, _, err = run(*command)
    assert code == 2
    assert there in err
    assert "--force" in err
    assert (folder / there).read_text() == "mine"
    assert run(*command, "--force")[0] == 0
    assert (folder / there).read_bytes() != b"mine"


def test_a_folder_s_results_that_are_there_are_left_unless_forced(folder, run):
    for name in ("a.png", "b.png"):
        (folder / "void" / name).write_bytes((folder / "good.png").read_bytes())
    (folder / "out").mkdir()
    (folder / "out" / "a.png").write_bytes(b"mine")
    code, out, _ = run("enhance", "void", "-o", "out", *QUICK)
    assert code == 0
    assert out.count("\n") == 1
    assert (folder / "out" / "a.png").read_bytes() == b"mine"
    assert (folder / "out" / "b.png").exists()
    assert run("enhance", "void", "-o", "out", *QUICK)[0] == 2
    code, out, _ = run("enhance", "void", "-o", "out", *QUICK, "--force")
    assert (code, out.count("\n")) == (0, 2)
    assert (folder / "out" / "a.png").read_bytes() != b"mine"


@pytest.mark.parametrize(
    "command",
    [
        *("enhance good.png -o E", "enhance E -o b.png", "enhance good.png -o b.png --state E"),
        *("enhance good.png -o b.png --report E", "enhance good.png -o b.png --mask E"),
        *("enhance good.png -o b.png --backbone E", "invert good.png -o E", "score E"),
        *("enhance good.png -o b.png --backbone void --controlnet E", "recover good.png -o E"),
        *("reconstruct E -o b.png", "calibrate --prior niqe --folder E -o f.json"),
        *(
            "study run E",
            "study analyse E",
            "train-ms-liqe E",
            "enhance good.png -o b.png --base E",
        ),
    ],
)
def test_an_empty_path_is_refused(folder, run, command):
    before = contents(folder)
    code, _, err = run(*("" if word == "E" else word for word in command.split()))
    assert code == 2
    assert len(err.splitlines()) == 1
    assert contents(folder) == before


def test_links_are_written_through(tmp_path):
    (tmp_path / "there").mkdir()
    link = tmp_path / "link.png"
    link.symlink_to("there/target.png")
    for content in (b"new", b"newer"):  # also where the target is not there yet
        write_atomically(link, content)
        assert link.is_symlink()
        assert (tmp_path / "there" / "target.png").read_bytes() == content
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["target.png"]


def test_devices_are_written_into_and_stay(folder, run):
    before = os.stat("/dev/null")
    write_atomically(folder / "/dev/null", b"gone")
    code, _, _ = run("enhance", "good.png", "-o", "b.png", *QUICK, "--report", "/dev/null")
    assert code == 0
    assert os.stat("/dev/null").st_rdev == before.st_rdev


@pytest.mark.parametrize("option", ["--state", "--sheet", "--compare", "-o", "--report"])
def test_a_pipe_is_refused_or_written_into_and_nothing_waits(folder, option):
    os.mkfifo("pipe.png")
    output = [] if option == "-o" else ["-o", "b.png"]
    command = ["enhance", "good.png", *output, option, "pipe.png", *QUICK]
    done = subprocess.run(
        [sys.executable, "-m", "latent_map", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == (3 if option == "--report" else 2)
    assert "pipe.png" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert (folder / "pipe.png").is_fifo()


def test_a_pipe_that_is_read_gets_the_report(folder, run):
    os.mkfifo("pipe")
    read = []
    reader = threading.Thread(target=lambda: read.append(open("pipe", "rb").read()))  # noqa: SIM115
    reader.start()
    assert run("enhance", "good.png", "-o", "b.png", *QUICK, "--report", "pipe")[0] == 0
    reader.join(10)
    assert read[0].startswith(b"{")


def test_a_state_that_is_a_pipe_is_no_state(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe"):
        load_state(tmp_path / "pipe", "MAP estimation")


@pytest.mark.parametrize("place", ["/proc/report.json", "/proc/self/report.json", "a" * 300])
def test_what_cannot_be_written_is_refused_before_any_work(folder, run, place):
    code, out, err = run("enhance", "good.png", "-o", "b.png", "--prior", "niqe", "--report", place)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert not (folder / "b.png").exists()


def test_trying_to_write_leaves_nothing(tmp_path):
    (tmp_path / "old").write_text("old")
    check_writable(tmp_path / "old")
    check_writable(tmp_path / "new")
    assert contents(tmp_path) == {tmp_path / "old": b"old"}


def study(tmp_path, pictures="photos", folder="study", ready="ready"):
    for name in (pictures, ready):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
        write_picture(tmp_path / name / "a.png", Picture(picture(0, 24, 24)))
    entrants = f'[[entrant]]\nname = "a"\nfolder = "{ready}"\n'
    entrants += '[[entrant]]\nname = "b"\nprior = "niqe"\n'
    file = tmp_path / "s.toml"
    file.write_text(f'folder = "{folder}"\n[pictures]\nfolder = "{pictures}"\nside = 0\n{entrants}')
    return file


@pytest.mark.parametrize(
    "rooms",
    [
        {"pictures": "study/inputs"},
        {"pictures": "study/results/a"},
        {"ready": "study/results/swinir"},
        {"pictures": "inputs", "folder": "."},
    ],
)
def test_a_study_does_not_write_where_it_reads(tmp_path, rooms):
    with pytest.raises(ValueError, match="where the study writes"):
        check_rooms(load_study(study(tmp_path, **rooms)))


def test_a_study_leaves_pictures_that_it_did_not_make(tmp_path):
    loaded = load_study(study(tmp_path))
    check_rooms(loaded)
    loaded.inputs.mkdir(parents=True)
    (loaded.inputs / "a.png").write_bytes(b"mine")
    with pytest.raises(ValueError, match="not made by a study"):
        list(prepare_pictures(loaded.pictures, loaded.inputs))
    assert (loaded.inputs / "a.png").read_bytes() == b"mine"
    (loaded.inputs / "a.png").unlink()
    assert len(list(prepare_pictures(loaded.pictures, loaded.inputs))) == 1
    assert len(list(prepare_pictures(loaded.pictures, loaded.inputs))) == 1
