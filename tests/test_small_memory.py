"""Small address spaces: a run shrinks and goes on, or ends in the remedy; a bad file is no lack."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from latent_map.command_line import failures
from latent_map.command_line.watched import watched
from latent_map.edict import memory
from latent_map.files import address_space
from latent_map.files.lack_of_memory import is_out_of_memory
from PIL import Image

LIMITED = """
import resource, sys
most = int(sys.argv[1]) * 1_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
"""
PROGRAM = f"""{LIMITED}
from latent_map.__main__ import main
del sys.argv[1]
sys.exit(main())
"""
CALLED = f"""{LIMITED}
import threading
from latent_map.__main__ import main
def call():
    print("called:", main(sys.argv[2:]))
call()
caller = threading.Thread(target=call)
caller.start()
caller.join()
"""
WATCHED = f"""{LIMITED}
import hashlib, itertools, os, signal, threading, time
from latent_map.command_line import watched as watched_module
from latent_map.command_line.watched import watched
watched_module.HANGING = 2.0
def hang():
    sum(itertools.repeat(0))  # holds the interpreter's lock
def compute_on_all_cores():
    watched_module.HANGING = 0.5  # as 30 for sixty times as many
    many = [threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"", b"", 6_000_000))
            for _ in range(2)]
    for each in many: each.start()
    for each in many: each.join()
    return 6
def sleep():
    print("asleep", os.getpid(), flush=True)
    time.sleep(60)
sys.exit(watched(lambda: eval(sys.argv[2])))
"""
LIBRARIES = """
import resource, torch
print(int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() // 1_000_000)
"""
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/statm").exists(), reason="the address space is read from /proc"
)


def run(folder, megabytes, *arguments, program=PROGRAM):
    command = [sys.executable, "-c", program, str(megabytes), *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def libraries():
    """Megabytes that PyTorch takes of the address space."""
    done = subprocess.run([sys.executable, "-c", LIBRARIES], capture_output=True, check=True)
    return int(done.stdout)


def check_end(done, output):
    """Done, or one line with the remedies after whatever libraries and the log had to say."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, 3), done.stderr
    assert output.exists() is (done.returncode == 0)
    if done.returncode:
        last = done.stderr.splitlines()[-1]
        assert last.startswith("latent-map: "), done.stderr
        assert "out of memory" in last
        assert "ulimit -v" in last
        assert "smaller picture" in last


@needs_proc
@pytest.mark.parametrize("megabytes", [200, 400, 900, 1500])
@pytest.mark.parametrize("command", ["enhance", "score", "invert"])
def test_too_little_for_the_libraries_is_one_line(tmp_path, megabytes, command):
    Image.new("RGB", (64, 64), (9, 99, 199)).save(tmp_path / "a.png")
    outputs = [] if command == "score" else ["-o", "b.png"]
    done = run(tmp_path, megabytes, command, "a.png", *outputs)
    if command == "score":
        assert done.returncode in (0, 3), done.stderr
        assert "Traceback" not in done.stderr
    else:
        check_end(done, tmp_path / "b.png")


# At 250 MB beside the libraries oneDNN ends the process by a signal as often as not.
@needs_proc
@pytest.mark.parametrize("megabytes", [-150, 50, 150, 250, 400])
def test_too_little_beside_the_libraries_is_one_line(tmp_path, libraries, megabytes):
    Image.new("RGB", (48, 48), (9, 99, 199)).save(tmp_path / "a.png")
    quick = ("--iterations", "1", "--steps", "4")
    done = run(tmp_path, libraries + megabytes, "enhance", "a.png", "-o", "b.png", *quick)
    check_end(done, tmp_path / "b.png")


@needs_proc
@pytest.mark.parametrize("megabytes", [500, 700])
def test_a_run_goes_on_or_ends_in_the_remedy(tmp_path, libraries, megabytes):
    pixels = np.random.default_rng(0).integers(0, 256, (128, 160, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    quick = ("--iterations", "1", "--steps", "2")
    done = run(tmp_path, libraries + megabytes, "enhance", "a.png", "-o", "b.png", *quick)
    check_end(done, tmp_path / "b.png")


@needs_proc
@pytest.mark.parametrize(
    ("end", "code", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", 3, "SIGSEGV of a process that may map 2000 MB"),
        ("os.abort()", 3, "SIGABRT of a process"),
        ("os._exit(127)", 3, "exit code 127"),
        ("os._exit(1)", 3, "exit code 1 "),  # OpenBLAS
        ("hang()", 3, "SIGPROF of a process"),  # Python
        ("exec('raise MemoryError')", 3, "out of memory"),  # too little even to say so
        ("1 // 0", 70, "ZeroDivisionError"),  # shown as it is
        ("os.kill(os.getpid(), signal.SIGKILL)", 137, ""),
        ("sys.exit(2)", 2, ""),
        ("7", 7, ""),
    ],
)
def test_a_death_for_lack_of_memory_is_told_by_who_watches(tmp_path, end, code, words):
    done = run(tmp_path, 2000, end, program=WATCHED)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == bool(words) or code == 70


@needs_proc
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGKILL", -9)])
def test_whoever_is_watched_ends_with_who_watches(tmp_path, name, code):
    command = [sys.executable, "-c", WATCHED, "2000", "sleep()"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as parent:
        asleep, child = parent.stdout.readline().split()
        assert (asleep, int(child) != parent.pid) == ("asleep", True)
        parent.send_signal(signal.Signals[name])
        assert parent.wait(30) == code
        assert parent.stdout.read() == ""  # nobody holds it any more


@needs_proc
def test_ctrl_z_stops_the_work_until_it_goes_on(tmp_path):
    def states():
        return [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in both]

    command = [sys.executable, "-c", WATCHED, "2000", "sleep()"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as parent:
        both = parent.pid, int(parent.stdout.readline().split()[1])
        try:
            for number, stopped in ((signal.SIGTSTP, True), (signal.SIGCONT, False)):
                parent.send_signal(number)
                deadline = time.monotonic() + 10
                while [each == "T" for each in states()] != [stopped] * 2:
                    assert time.monotonic() < deadline, states()
                    time.sleep(0.05)
        finally:
            parent.send_signal(signal.SIGCONT)
            parent.send_signal(signal.SIGTERM)
        assert parent.wait(30) == 143


@needs_proc
def test_whoever_computes_long_is_not_taken_for_hanging(tmp_path):
    """Four seconds of computing, of which another thread sees moments."""
    work = "max(i for i in range(60_000_000)) % 5"
    assert run(tmp_path, 2000, work, program=WATCHED).returncode == 59_999_999 % 5


@needs_proc
def test_whoever_computes_on_many_cores_is_not_taken_for_hanging(tmp_path):
    done = run(tmp_path, 2000, "compute_on_all_cores()", program=WATCHED)
    assert (done.returncode, done.stderr) == (6, "")


@needs_proc
def test_whoever_calls_a_command_from_python_is_not_forked(tmp_path, libraries):
    """A fork would print twice, and no handler of signals can be set from a thread."""
    done = run(tmp_path, libraries + 2000, "score", "none.png", program=CALLED)
    assert done.stdout == "called: 2\n" * 2
    assert done.stderr == "latent-map: none.png is no picture file: check the name\n" * 2


def test_without_a_limit_nobody_is_watched(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setattr(os, "fork", pytest.fail, raising=False)
    assert watched(lambda: 5) == 5
    monkeypatch.setattr(address_space, "resource", None)  # as on Windows
    assert watched(lambda: 6) == 6
    assert address_space.free_address_space() is None


@pytest.mark.parametrize(("free", "is_it"), [(2**20, True), (2**24, False), (None, False)])
def test_whatever_fails_where_nothing_is_left_lacks_memory(monkeypatch, free, is_it):
    monkeypatch.setattr(failures, "free_address_space", lambda: free)
    for error in (OSError("could not get source code"), KeyError("name")):
        assert failures.lacks_memory(error) is is_it
        assert ("out of memory" in failures.explain(error)) is is_it


def test_free_memory_is_no_more_than_the_limit_leaves(monkeypatch):
    monkeypatch.setattr(memory, "free_address_space", lambda: 4096)
    assert memory.free_memory(torch.device("cpu")) == 4096
    monkeypatch.setattr(memory, "free_address_space", lambda: None)
    assert memory.free_memory(torch.device("cpu")) != 4096


@needs_proc
def test_a_bad_file_is_no_lack_of_memory(tmp_path, libraries):
    Image.new("RGB", (64, 64), (9, 99, 199)).save(tmp_path / "a.png")
    (tmp_path / "out of memory.safetensors").write_bytes(b"\0" * 200)
    bad = ("--backbone", "out of memory.safetensors")
    done = run(tmp_path, libraries + 2000, "enhance", "a.png", "-o", "b.png", *bad)
    assert done.returncode == 2, done.stderr
    assert "out of memory.safetensors is damaged" in done.stderr
    assert "smaller picture" not in done.stderr


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (RuntimeError("could not create a primitive"), True),
        (RuntimeError("could not create a memory object"), True),
        # A type of numbers that oneDNN does not have on this processor.
        (RuntimeError("could not create a primitive descriptor for the convolution"), False),
        (RuntimeError("unable to mmap 200 bytes from file <a>: Cannot allocate memory (12)"), True),
        (RuntimeError("Invalid buffer size: 12.00 GiB"), True),
        (RuntimeError("std::bad_alloc"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (OSError(12, "Cannot allocate memory"), True),
        (OSError("cannot identify image file 'out of memory.png'"), False),
        (FileNotFoundError(2, "No such file", "out of memory.png"), False),
        (KeyError("out of memory"), False),
        (ImportError("libtorch_cpu.so: failed to map segment from shared object"), True),
        # A library that was loaded too late, which no memory mends.
        (ImportError("a.so: cannot allocate memory in static TLS block"), False),
        (ImportError("No module named 'out of memory'"), False),
        (SystemError("error return without exception set"), True),
        (SystemError("<function f at 0x7f> returned NULL without setting an exception"), True),
        (SystemError("Negative size passed to PyBytes_FromStringAndSize"), False),
        (torch.OutOfMemoryError("HIP ran out"), True),
    ],
)
def test_lack_of_memory_is_known_in_all_its_words(error, is_it):
    assert is_out_of_memory(error) is is_it
