"""What is printed never decides a picture's outcome."""

import json
import logging
import os
import subprocess
import sys

import pytest
from latent_map.files.log_lines import log_lines
from PIL import Image

from .picture_files import chunk
from .sample_files import QUICK

NAMES = ["写真.png", "é.png", "\udcff.png"]  # the last is no UTF-8 at all
COMMAND = [sys.executable, "-m", "latent_map"]


def process(*arguments, encoding="utf-8", **streams):
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.run([*COMMAND, *arguments], env=environment, check=False, **streams)


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_cannot_be_printed_are_escaped(folder, encoding):
    for name in NAMES:
        (folder / "void" / name).write_bytes((folder / "good.png").read_bytes())
    done = process("enhance", "void", "-o", "out", *QUICK, "--report", "r.json", encoding=encoding)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert len(list((folder / "out").iterdir())) == 3
    report = json.loads((folder / "r.json").read_text())
    assert set(report) == set(NAMES)
    assert not any("error" in entry for entry in report.values())
    assert len(done.stdout.splitlines()) == 3 + 1  # and the report's


@pytest.mark.parametrize("streams", [("stdout",), ("stderr",), ("stdout", "stderr")])
def test_closed_pipes_cost_no_picture(folder, streams):
    read, write = os.pipe()
    os.close(read)
    broken = {name: write for name in streams}
    done = process("enhance", "good.png", "-o", "b.png", *QUICK, encoding="utf-8", **broken)
    os.close(write)
    assert done.returncode == 0
    with Image.open("b.png") as image:
        image.load()


def test_a_full_disk_under_the_words_costs_no_picture(folder):
    with open("/dev/full", "wb") as full:
        done = process("enhance", "good.png", "-o", "b.png", *QUICK, stdout=full, stderr=full)
    assert done.returncode == 0
    assert (folder / "b.png").exists()


def test_no_streams_at_all_cost_no_picture(folder):
    start = "import sys; sys.stdout = sys.stderr = None; from latent_map.__main__ import main; "
    arguments = ["enhance", "good.png", "-o", "b.png", *QUICK]
    code = f"{start}sys.exit(main({arguments!r}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert (folder / "b.png").exists()


def test_scoring_ends_when_nobody_reads(folder):
    read, write = os.pipe()
    os.close(read)
    done = process("score", *["good.png"] * 40, "--prior", "niqe", stdout=write)
    os.close(write)
    assert done.returncode == 0
    assert done.stderr == b""


def test_a_warning_is_told_once(folder):
    png = (folder / "good.png").read_bytes()
    (folder / "a.png").write_bytes(png[:33] + chunk(b"eXIf", b"garbage") + png[33:])
    done = process("enhance", "a.png", "-o", "b.png", *QUICK)
    assert done.returncode == 0
    assert done.stderr.decode().count("its EXIF cannot be read") == 1


def test_what_libraries_log_is_not_told_as_the_packs_own():
    said = "no module named kernels: please pip install kernels"
    for name, begins in (("latent_map.files.x", "latent-map"), ("latent_maps.x", "latent_maps")):
        record = logging.LogRecord(name, logging.WARNING, "", 1, said, None, None)
        assert log_lines().format(record) == f"{begins}: {said}"
