"""What starting costs: no command loads more than it needs, and --help next to nothing."""

import json
import subprocess
import sys

import pytest
from latent_map.command_line import COMMANDS, GROUPS

HEAVY = (
    "PIL",
    "diffusers",
    "distributed",
    "matplotlib",
    "numpy",
    "pyiqa",
    "safetensors",
    "scipy",
    "torch",
    "torchvision",
    "transformers",
)
SCORING_NEEDS = {"PIL", "numpy", "safetensors", "torch"}
HELP_SECONDS = 0.3  # of the processor; .08 measured
BEYOND_TORCH = 1.0  # of the processor, of a score besides importing torch; .2 measured
LINES = [
    [],
    *([name] for name in COMMANDS),
    *([group, name] for group, names in GROUPS.items() for name in names),
]
# A new process: the tests' own has loaded everything. Its seconds are the processor's, which
# neighbours on the machine do not add to.
RUN = """
import json, sys, time
{before}
started = time.process_time()
from latent_map.__main__ import main
for line in {lines!r}:
    try:
        main(line)
    except SystemExit:
        pass
seconds = time.process_time() - started
loaded = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps([time.process_time(), seconds, loaded]))
"""


def ran(*lines, before=""):
    """(processor seconds of the process, of the commands, heavy packages loaded) of a process."""
    code = RUN.format(lines=lines, heavy=HEAVY, before=before)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(run.stdout.splitlines()[-1])


def test_no_commands_help_loads_a_heavy_package():
    assert ran(*([*line, "--help"] for line in LINES))[2] == []


def test_help_is_there_at_once():
    assert ran(["--help"])[0] < HELP_SECONDS


@pytest.mark.parametrize("line", [["enhance"], ["score"]])
def test_a_commands_help_is_there_at_once(line):
    assert ran([*line, "--help"])[0] < HELP_SECONDS


def test_a_score_loads_what_it_needs_and_costs_little_more_than_torch(folder):
    _, seconds, loaded = ran(["score", str(folder / "good.png")], before="import torch")
    assert set(loaded) == SCORING_NEEDS
    assert seconds < BEYOND_TORCH
