"""Small studies on disk, and jobs that other processes can import."""

import os
import time
from pathlib import Path

import numpy as np
from PIL import Image


def write_pictures(folder: Path, count: int = 3, side: int = 64, seed: int = 0) -> Path:
    """Smooth noise, each picture another, as picture0.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (6, 6, 3), np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), float)
        noisy = smooth + generator.normal(0, 12, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"picture{index}.png")
    return folder


def write_study(folder: Path, entrants: str, pictures: str = "", selection: str = "") -> Path:
    """A study file with pictures of its own folder `photos`, and selections without downloads."""
    text = f"""
[pictures]
folder = "photos"
{pictures or "side = 0"}

{entrants}

[selection]
measure = "ms_ssim"
features = "colours_and_edges"
{selection}
"""
    path = folder / "study.toml"
    path.write_text(text)
    return path


UNTOUCHED = '[[entrant]]\nname = "input"\nuntouched = true\n'
READY = '[[entrant]]\nname = "other"\nfolder = "other"\n'
QUICK = """
[[entrant]]
name = "pocket"
prior = "pocket"
settings = { iterations = 1, draws = 1, check_gradient = false, check_round_trip = false }
inversion = { steps = 2 }
"""


def write_ready_study(folder: Path, count: int = 3, **more: str) -> Path:
    """A study of the input and a ready restorer's pictures."""
    write_pictures(folder / "photos", count)
    write_pictures(folder / "other", count, seed=1)
    return write_study(folder, UNTOUCHED + READY, **more)


def double(job: int) -> int:
    """What jobs do that nothing happens to."""
    return 2 * job


def double_or_die(job: tuple[str, int]) -> int:
    """Leave a line in a folder's file; the process dies at 3, always, and at 5 the first time."""
    folder, number = job
    log = Path(folder) / f"{number}.log"
    with log.open("a") as file:
        file.write("begun\n")
    begun = len(log.read_text().splitlines())
    if number == 3 or (number == 5 and begun == 1):
        os._exit(1)
    if number == 4:
        raise ValueError("four is not wanted")
    time.sleep(0.02)
    return 2 * number


def claimed_gpu(_: int) -> str:
    """The GPU of this process."""
    time.sleep(0.3)
    return os.environ["CUDA_VISIBLE_DEVICES"]


def threads(_: int) -> str:
    """The threads that this process may use."""
    return os.environ["OMP_NUM_THREADS"]


def own_pid_after_a_while(_: int) -> int:
    """Which process works."""
    time.sleep(0.2)
    return os.getpid()
