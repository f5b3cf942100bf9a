"""Small address spaces: a run shrinks and goes on, or ends in the remedy; a bad file is no lack."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.files.lack_of_memory import is_out_of_memory
from PIL import Image

PROGRAM = """
import resource, sys
import torch
from latent_map.__main__ import main
from latent_map.command_line import enhance_jobs  # what is loaded later has its own words
torch.set_num_threads(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
most = used + int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
sys.exit(main(sys.argv[2:]))
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the address space is read from /proc"
)


def run(folder, megabytes, *arguments):
    command = [sys.executable, "-c", PROGRAM, str(megabytes), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@needs_proc
@pytest.mark.parametrize("megabytes", [5, 40, 150])
def test_a_run_goes_on_or_ends_in_the_remedy(tmp_path, megabytes):
    pixels = np.random.default_rng(0).integers(0, 256, (256, 320, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    done = run(
        tmp_path, megabytes, "enhance", "a.png", "-o", "b.png", "--iterations", "1", "--steps", "2"
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 3), done.stderr
    if done.returncode:
        assert "out of memory" in done.stderr
        assert not (tmp_path / "b.png").exists()
    else:
        assert (tmp_path / "b.png").exists()


@needs_proc
def test_a_bad_file_is_no_lack_of_memory(tmp_path):
    Image.new("RGB", (64, 64), (9, 99, 199)).save(tmp_path / "a.png")
    (tmp_path / "out of memory.safetensors").write_bytes(b"\0" * 200)
    done = run(
        tmp_path, 2000, "enhance", "a.png", "-o", "b.png", "--backbone", "out of memory.safetensors"
    )
    assert done.returncode == 2, done.stderr
    assert "out of memory.safetensors is damaged" in done.stderr
    assert "smaller picture" not in done.stderr


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        (RuntimeError("unable to mmap 200 bytes from file <a>: Cannot allocate memory (12)"), True),
        (RuntimeError("Invalid buffer size: 12.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError("cannot identify image file 'out of memory.png'"), False),
        (FileNotFoundError(2, "No such file", "out of memory.png"), False),
        (KeyError("out of memory"), False),
        (torch.OutOfMemoryError("HIP ran out"), True),
    ],
)
def test_lack_of_memory_is_known_in_all_its_words(error, is_it):
    assert is_out_of_memory(error) is is_it
