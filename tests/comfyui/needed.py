"""What the tests in a real ComfyUI need: a skip with a line of its own where it is not there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
REQUIREMENTS = "import aiohttp, av, comfyui_frontend_package, kornia, torchsde"


def need_comfyui() -> None:
    """Skip the whole file unless COMFYUI_PATH is a checkout that COMFYUI_PYTHON can run."""
    checkout = Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()
    if not (checkout / "main.py").is_file():
        pytest.skip(
            f"ComfyUI: NOT RUN (no ComfyUI in {checkout}: set COMFYUI_PATH to a checkout)",
            allow_module_level=True,
        )
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    if subprocess.run([python, "-c", REQUIREMENTS], capture_output=True, check=False).returncode:
        pytest.skip(
            f"ComfyUI: NOT RUN ({Path(python).name} lacks ComfyUI's requirements: install them, or "
            "set COMFYUI_PYTHON to a Python that has them)",
            allow_module_level=True,
        )


def in_the_frontend(script: str, *arguments: str | Path) -> Any:
    """What a script of this folder prints of ComfyUI's frontend in a browser, decoded."""
    modules = os.environ.get("PLAYWRIGHT_CORE", "~/canvas/node_modules/playwright-core")
    there = [
        shutil.which("node"),
        shutil.which(os.environ.get("CHROMIUM", "/usr/bin/chromium")),
        Path(modules).expanduser().exists(),
    ]
    if not all(there):
        pytest.skip("ComfyUI canvas: NOT RUN (node, chromium or playwright-core is missing)")
    command = ["node", HERE / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)
