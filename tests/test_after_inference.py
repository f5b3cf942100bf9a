"""What was first computed in inference mode can be differentiated afterwards.

ComfyUI computes in inference mode; a constant made and kept there is of no use to autograd.
"""

import subprocess
import sys

import pytest

PROGRAM = """
import sys, torch
from latent_map.fidelity.loading import load_fidelity
from latent_map.iqa_priors.loading import load_prior
name, kind = sys.argv[1:]
x, y = torch.rand(2, 1, 3, 192, 192).double().float().unbind(0)
model = load_fidelity(name) if kind == "fidelity" else load_prior(name)
call = (lambda z: model(z, y)) if kind == "fidelity" else model
with torch.inference_mode():
    call(x.clone())
x, y = x.clone(), y.clone()
leaf = x.requires_grad_(True)
(gradient,) = torch.autograd.grad(call(leaf).sum(), leaf)
assert gradient.abs().sum() > 0
"""
MEASURES = [
    *("mse", "low_resolution", "ms_ssim", "cw_ssim", "gmsd", "vsi", "fsim", "vif", "nlpd", "mcsd"),
    *("mae", "pamse", "mad", "ifc"),
]
CASES = [*((name, "fidelity") for name in MEASURES), ("pocket", "prior"), ("niqe", "prior")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_what_was_kept_in_inference_mode_takes_gradients_later(name, kind):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name, kind], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
