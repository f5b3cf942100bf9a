"""Pictures for the command line, what is in files, and ways to fail."""

import errno
import os

import numpy as np
import torch
from PIL import Image

QUICK = ("--prior", "niqe", "--steps", "2", "--iterations", "1")


def photograph(height=96, width=192):
    """Noise with the falling spectrum of photographs."""
    generator = np.random.default_rng(0)
    y, x = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falling = 1 / np.maximum(np.hypot(y, x), 0.01)
    noise = np.fft.fft2(generator.standard_normal((3, height, width)))
    texture = np.fft.ifft2(noise * falling).real
    array = 128 + 40 * texture / texture.std()
    return array.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def out_of_room(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def cuda_out_of_memory(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.\nSee the manual")
