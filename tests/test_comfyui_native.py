"""ComfyUI's own models as backbones, in a real ComfyUI process on the CPU.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent / "comfyui"
COMFYUI = Path(os.environ.get("COMFYUI_PATH", "~/ComfyUI")).expanduser()
PYTHON = os.environ.get("COMFYUI_PYTHON", sys.executable)
if not (COMFYUI / "main.py").is_file():
    pytest.skip(
        f"ComfyUI: NOT RUN (no ComfyUI in {COMFYUI}: set COMFYUI_PATH to a checkout)",
        allow_module_level=True,
    )
REQUIREMENTS = "import aiohttp, av, kornia, torchsde, transformers"
if subprocess.run([PYTHON, "-c", REQUIREMENTS], capture_output=True, check=False).returncode:
    pytest.skip(
        f"ComfyUI: NOT RUN ({Path(PYTHON).name} lacks ComfyUI's requirements: install them, or set "
        "COMFYUI_PYTHON to a Python that has them)",
        allow_module_level=True,
    )

SAME_DECODER = 0.02  # a random autoencoder on tiles, whose attention sees only its own
SAME_PATH = 1e-4  # of two implementations, float32
GRADIENT, CONTROL_GRADIENT = 0.01, 0.02  # along the gradient, float32 networks
ROUND_TRIP = 1e-6
HALF = 0.03  # rounding of half precision; without enlarging, all of the gradient is lost
SAME_INPUT = 1e-6  # float32; the usual call in sigma space is 10 to 18 % off in the second half
SAME_OUTPUT = 1e-4  # the network's output, back from what the sampler makes of it in float32
GRADIENTS = [
    *(f"gradient:{kind}:1" for kind in ("sd15", "sd15_v", "sd15_zsnr", "sdxl", "sd3", "flux")),
    *(f"gradient:{kind}:4" for kind in ("sd15", "sdxl", "sd3")),
    *(f"gradient:sd15:{cfg}:control" for cfg in (1, 4)),
    "gradient:sd15_v:4:control",
    "gradient:sd15:1:carried",
]
NETWORKS = [f"network:{kind}" for kind in ("sd15", "sd15_v", "sd15_zsnr", "sdxl", "sd3", "flux")]
TILES = ["tiles:sd15:1:control", "tiles:sd15:4:carried", "tiles:sdxl", "tiles:sd3", "tiles:flux"]
GRAPHS = [
    *("graphs:sd15", "graphs:sdxl:4", "graphs:sd15_v:1:control", "graphs:sd15:4:control"),
    *("graphs:sd15:1:carried", "graphs:sd15:1:control:tiles"),
]
CAPTURABLE = ["capturable:sd15", "capturable:sdxl:4", "capturable:sd15_v:4:control"]
RANGED = "capturable:sd15:1:ranged"
FAILING = ["failing_graphs:capture", "failing_graphs:replay"]
PRECISIONS = ["float32", "bfloat16", "float16"]
TRAPS = ["skip", "attention", "control_attention", "buffers", "dynamic", "decode", "freeze", "move"]
GROUPS = {
    "gradients": GRADIENTS,
    "networks": [*NETWORKS, "refusals", "lora"],
    "half": [f"half:{precision}" for precision in PRECISIONS],
    "samplers": ["sampler:sd15", "sampler:sd15:control", "sampler:sd3", "moves"],
    "nodes": ["nodes:sd15", "nodes:sdxl", "nodes:sd3", "nodes:flux", "batch"],
    "graphs": [*GRAPHS, *FAILING, *CAPTURABLE, RANGED, "no_graphs"],
    "kept": ["kept", "kept_noise"],
    "traps": [f"trap_{name}" for name in TRAPS],
    "tiles": [*TILES, "windows", "no_tiles"],
    "parity": ["parity", "parity:control", "parity::paper"],
}


@pytest.fixture(scope="module")
def found():
    """The numbers of a check; the checks of a group share a process."""
    results = {}

    def look_up(check):
        if check not in results:
            group = next(group for group in GROUPS.values() if check in group)
            results.update(run(group))
        return results[check]

    return look_up


def run(checks):
    done = subprocess.run(
        [PYTHON, HERE / "native.py", *checks],
        cwd=COMFYUI,
        env={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", **os.environ},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
    return {line["check"]: line for line in lines}


@pytest.mark.parametrize("check", GRADIENTS)
def test_the_gradient_is_that_of_finite_differences(found, check):
    limit = GRADIENT if check.count(":") == 2 else CONTROL_GRADIENT
    assert found(check)["norm"] > 0
    assert found(check)["relative_error"] < limit
    assert found(check)["round_trip"] < ROUND_TRIP
    assert not found(check)["hint_left"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_half_precision_loses_no_gradient_and_raises_no_alarm(found, precision):
    result = found(f"half:{precision}")
    assert result["precision"] == f"torch.{precision}"
    assert result["lost"] < HALF
    assert result["wrong"] == [False, False]
    assert result["apart"] < HALF


@pytest.mark.parametrize("check", GRAPHS)
def test_replayed_calls_have_the_plain_ones_bits(found, check):
    result = found(check)
    assert result["same"] == result["again"] == [True, True]
    assert result["captures"] == 2  # of the call, and with its gradient; pictures share them
    assert result["replays"] > 2 * result["captures"]
    assert not result["warned"]
    assert result["after"]
    assert result["left"] == dict.fromkeys(result["left"], 0)


@pytest.mark.parametrize("check", CAPTURABLE)
def test_a_call_does_nothing_that_a_capture_forbids(found, check):
    assert found(check)["forbidden"] == found(check)["warned"] == []


def test_a_control_that_looks_at_the_level_would_be_seen(found):
    ((operation, where),) = found(RANGED)["forbidden"]
    assert operation.startswith("aten._local_scalar_dense")
    assert where.startswith("controlnet.py")


@pytest.mark.parametrize("check", FAILING)
def test_a_graph_that_fails_is_a_plain_call_with_one_warning(found, check):
    assert found(check)["same"]
    (warned,) = found(check)["warned"]
    assert "CUDA graphs do not work here" in warned


@pytest.mark.parametrize(
    ("which", "reason"),
    [
        ("flux", "Flux is no U-Net"),
        ("wrapper", "other nodes have attached options"),
        ("patch", "other nodes have attached options"),
        ("start_percent", "the conditioning carries timestep_start"),
        ("half control", "a ControlNet works in a part of the steps"),
    ],
)
def test_what_may_not_be_captured_is_called_plainly(found, which, reason):
    result = found("no_graphs")[which]
    assert result["same"]
    assert result["captures"] == 0
    (warned,) = result["warned"]
    assert reason in warned


def test_graphs_need_cuda_and_all_weights_there(found):
    (warned,) = found("no_graphs")["cpu"]
    assert "the model works on cpu" in warned
    assert found("no_graphs")["elsewhere"] == ["weights are kept elsewhere, or quantised"]


@pytest.mark.parametrize("check", TILES)
def test_the_same_on_tiles_from_one_node_to_the_next(found, check):
    result = found(check)
    assert result["tiled"] == [True, True]
    assert result["relative_error"] < CONTROL_GRADIENT
    assert result["round_trip"] < ROUND_TRIP
    assert result["counted"] == pytest.approx(4)  # two steps; the tiles of a call are one
    assert result["from_whole"] > 0
    assert result["decoder"] < SAME_DECODER
    assert result["after"]
    assert result["left"] == dict.fromkeys(result["left"], 0)


def test_a_window_is_the_model_on_that_part(found):
    """Hints are cut, the model's own at its scale and one of another size; sizes stay."""
    result = found("windows")
    for what in ("control", "carried", "sizes"):
        assert result[what]["error"] < SAME_INPUT, what
    assert result["control"]["effect"] > 0.1
    assert result["uncut"]["error"] > 1e-4
    assert result["part_sizes"]["error"] > 1e-3


def test_conditioning_with_areas_is_not_cut(found):
    assert "cannot work on tiles" in found("no_tiles")["area"]
    assert found("no_tiles")["plain"] == "worked"


@pytest.mark.parametrize("check", NETWORKS)
def test_the_network_sees_exactly_the_latent_with_its_label(found, check):
    """Whatever the latent's amplitude: the second half step is handed the next level's."""
    assert found(check)["input_error"] < SAME_INPUT
    assert found(check)["label_error"] < 1e-4
    assert found(check)["output_error"] < SAME_OUTPUT


@pytest.mark.parametrize("check", GROUPS["parity"])
def test_diffusers_gives_the_same_inversion(found, check):
    """The same checkpoint, ControlNet and text, in other classes and by other formulas."""
    if subprocess.run(
        [PYTHON, "-c", "import diffusers"], capture_output=True, check=False
    ).returncode:
        pytest.skip(f"parity: NOT RUN ({Path(PYTHON).name} lacks diffusers: install it there)")
    result = found(check)
    assert result["labels"]
    assert result["label_effect"] > SAME_PATH
    assert result["moved"] > 0.1
    assert result["coefficients"] < SAME_INPUT
    for what in ("latent", "decoded", "output", "x", "y"):
        assert result[what] < SAME_PATH, what


@pytest.mark.parametrize("check", ["sampler:sd15", "sampler:sd15:control", "sampler:sd3"])
def test_the_ordinary_sampler_gives_the_same_bits_afterwards(found, check):
    result = found(check)
    assert result["std"] > 0
    assert result["interrupted"]
    assert result["after"]
    assert result["after_interrupt"]
    assert result["left"] == dict.fromkeys(result["left"], 0)
    assert result["relative_error"] < GRADIENT


def test_a_patched_model_counts_and_its_patch_is_gone_to_the_last_bit(found):
    result = found("lora")
    assert result["slopes"][0] != result["slopes"][1]
    assert result["shift_inside"] > 0
    assert result["shift"] == 0
    assert result["after"]
    assert result["relative_error"] < GRADIENT
    assert result["requiring_grad"] == 0


@pytest.mark.parametrize("check", GROUPS["nodes"][:-1])
def test_every_node_works_with_it(found, check):
    result = found(check)
    assert result["round_trip"] < ROUND_TRIP
    assert result["moved"] > 0
    assert all(result["falls"])
    assert result["finite"]
    assert result["shape"] == [2, 64, 64, 3]


def test_a_batch_has_no_more_bound_at_once_than_one_picture(found):
    result = found("batch")
    assert result["one"] == result["three"] > 0
    assert result["left"] == 0


def test_a_state_goes_on_only_on_the_model_that_it_was_made_with(found):
    result = found("kept")
    assert result["same_bits"]
    assert result["same"].startswith("went on from iterate 2")
    assert result["same_again"].startswith("went on from iterate 2")
    for what, words in {
        "patch": "different model's patches, such as LoRAs)",
        "strength": "different model's patches, such as LoRAs)",
        "weights": "different model's weights)",
        "vae": "different VAE)",
        "prompt": "different prompt, cfg or strength)",
        "cfg": "different prompt, cfg or strength)",
        "control": "ControlNets)",
    }.items():
        assert words in result[what], what


def test_the_optimizer_goes_on_with_the_noise_that_it_was_given(found):
    result = found("kept_noise")
    assert result["same_bits"]
    assert "different noise" in result["patch"]
    assert result["left"] == [2, 0]


def test_weights_move_only_inside_inference_mode(found):
    assert found("moves")["moves"] > 0
    assert found("moves")["outside"] == 0


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("video", "video or audio latents"),
        ("other_vae", "the VAE that belongs to the model"),
        ("inpainting", "inpainting model"),
        ("editing", "inpainting or editing"),
        ("edm", "EDM"),
        ("lcm", "LCM"),
        ("cascade", "StableCascadeSampling"),
        ("eps_zsnr", "zero terminal SNR"),
        ("hooks", "hooks"),
        ("no_negative", "negative conditioning"),
    ],
)
def test_what_cannot_work_is_refused_by_name(found, kind, message):
    assert message in found("refusals")[kind]


def test_skip_tensors_that_a_controlnet_adds_to_are_copied(found):
    result = found("trap_skip")
    assert result["guarded"]["relative_error"] < CONTROL_GRADIENT
    assert "inplace operation" in result["unguarded"]["error"]


@pytest.mark.parametrize("check", ["trap_attention", "trap_control_attention"])
def test_attention_without_a_backward_is_replaced(found, check):
    result = found(check)
    assert result["guarded"]["relative_error"] < GRADIENT
    # the step is taken along the wrong gradient, which hides most of what is missing in it
    assert result["unguarded"]["relative_error"] > 4 * result["guarded"]["relative_error"]


def test_weights_in_reused_buffers_are_refused(found):
    assert "does not fit into the graphics memory" in found("trap_buffers")["error"]


def test_dynamic_memory_is_switched_off_where_it_can_be(found):
    result = found("trap_dynamic")
    assert result["static"]
    assert result["plain"]
    assert "--disable-dynamic-vram" in result["refused"]


def test_decoding_never_falls_back_to_tiles_without_gradient(found):
    result = found("trap_decode")
    assert result["whole"]
    assert result["guarded"] == "pretended"
    assert result["unguarded"] is False  # what VAE.decode does


def test_pixels_are_not_clamped_before_the_objective(found):
    assert found("trap_decode")["below_0"] > 0


def test_weights_are_made_fit_for_gradients(found):
    result = found("trap_freeze")
    assert result["guarded"]["relative_error"] < GRADIENT
    assert "nference tensors" in result["unguarded"]["error"]


def test_other_models_survive_making_room(found):
    result = found("trap_move")
    assert result["guarded"] == "fine"
    assert "version counter" in result["unguarded"]
