"""The pack in a real ComfyUI server, driven as users do: over HTTP and on the canvas.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import json
import time
import urllib.request
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from .comfyui.needed import need_comfyui
from .comfyui.record_schemas import excerpt, searched
from .comfyui.server import REPOSITORY, ComfyError, Interrupted, comfy_server

need_comfyui()

HERE = REPOSITORY / "tests" / "comfyui"
WORKFLOWS = ["Enhance a picture", "Enhance step by step"]
SAMPLE = "latent_map_sample.png"
SIDE = 64  # pixels: the whole file in a few minutes on one core
INTERRUPT_SECONDS = 10  # one network call takes well below a second; the machine may be busy
NODE_IDS = sorted(path.stem for path in (REPOSITORY / "web" / "docs").glob("*.md"))


def sample_picture() -> Image.Image:
    """docs/sample.png made small."""
    return Image.open(REPOSITORY / "docs" / "sample.png").convert("RGB").resize((SIDE, SIDE))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    sample_picture().save(folder / SAMPLE)
    alpha = Image.linear_gradient("L").resize((SIDE, SIDE))
    transparent = sample_picture()
    transparent.putalpha(alpha)
    transparent.save(folder / "transparent.png")
    tiny = {"custom_nodes/tiny_checkpoint.py": HERE / "tiny_checkpoint.py"}
    with comfy_server(tiny) as running:
        for path in folder.iterdir():
            running.upload_image(path)
        yield running


@pytest.fixture(scope="module")
def nodes(server):
    return server.object_info()


def api_workflow(name: str) -> dict:
    """A shipped workflow on a small picture, without the viewer that older cores lack."""
    prompt = json.loads((HERE / "api" / f"{name}.json").read_text())
    small = {"class_type": "LoadImage", "inputs": {"image": SAMPLE}}
    return {
        key: small if item["class_type"] == "DLM_SamplePicture" else item
        for key, item in prompt.items()
        if item["class_type"] != "ImageCompare"
    }


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def enhancement(image: dict | None = None, **changes) -> dict:
    """LoadImage (or `image`) -> DLM_PostEnhance -> SaveImage."""
    options = {"preset": "fast", "iterations": 1, "lam": 3, "strength": 1, "preview_every": 1}
    options |= {"override": True}
    return {
        "image": image or node("LoadImage", image=SAMPLE),
        "enhance": node("DLM_PostEnhance", image=["image", 0], **{**options, **changes}),
        "save": node("SaveImage", images=["enhance", 0], filename_prefix="test"),
    }


def pictures(server, outputs: dict, name: str) -> list[np.ndarray]:
    return [np.array(Image.open(server.file(reference))) for reference in outputs[name]["images"]]


def test_the_log_is_free_of_errors(server, nodes):
    log = server.log.read_text(errors="replace")
    assert "custom_nodes/latent-map" in log
    for trouble in ("IMPORT FAILED", "Cannot import", "Traceback"):
        assert trouble not in log, log


@pytest.mark.parametrize("name", NODE_IDS)
def test_a_node_explains_itself(server, nodes, name):
    info = nodes[name]
    assert info["description"]
    for group in (info["input"].get(kind, {}) for kind in ("required", "optional")):
        for label, (_, options) in group.items():
            assert options["tooltip"], label
    assert len(info["output_tooltips"]) == len(info["output"])
    assert all(info["output_tooltips"])
    with urllib.request.urlopen(f"{server.url}/extensions/latent-map/docs/{name}.md") as page:
        served = page.read()
    assert served == (REPOSITORY / "web" / "docs" / f"{name}.md").read_bytes()


def test_every_node_has_a_help_page(nodes):
    assert [name for name in sorted(nodes) if name.startswith("DLM_")] == NODE_IDS


def test_the_schemas_are_the_recorded_ones(nodes):
    recorded = json.loads((REPOSITORY / "tests" / "data" / "object_info.json").read_text())
    found = excerpt(nodes)
    for name in ("DLM_LoadBackbone", "DLM_SamplePicture"):
        mine, other = (group[name]["inputs"] for group in (found, recorded["nodes"]))
        for entry, known in zip(chain(*mine.values()), chain(*other.values()), strict=True):
            if entry[1] == "COMBO":  # this server has files, the recorded one had none
                assert set(known[2]["options"]) <= set(entry[2]["options"])
                entry[2]["options"] = known[2]["options"]
    assert found == recorded["nodes"]
    if any(searched(nodes).values()):  # older cores have no such words
        assert searched(nodes) == recorded["search"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_shipped_workflow_runs_through_prompt(server, name):
    prompt, seen = api_workflow(name), []
    for item in prompt.values():
        if "iterations" in item["inputs"]:
            item["inputs"]["iterations"] = 2  # the canvas takes all of them
    outputs = server.run_prompt(prompt, lambda kind, _: seen.append(kind))
    save = next(key for key, item in prompt.items() if item["class_type"] == "SaveImage")
    (picture,) = pictures(server, outputs, save)
    assert picture.shape == (SIDE, SIDE, 3)
    assert picture.std() > 0
    assert "preview" in seen  # the picture was shown while it grew


def test_two_identical_runs_give_the_same_picture(server):
    first = pictures(server, server.run_prompt(enhancement(iterations=2)), "save")
    server.request("/free", {"free_memory": True})  # forget cached outputs
    time.sleep(1)  # the queue's thread frees once it is idle
    log = server.log.read_text().count("Prompt executed")
    second = pictures(server, server.run_prompt(enhancement(iterations=2)), "save")
    assert server.log.read_text().count("Prompt executed") == log + 1
    np.testing.assert_array_equal(first, second)


def test_a_repeated_run_is_cached(server):
    server.run_prompt(enhancement())
    cached = []

    def note(kind, data):
        if kind == "execution_cached":
            cached.extend(data["nodes"])

    server.run_prompt(enhancement(), note)
    assert "enhance" in cached


def test_a_batch_is_enhanced_one_by_one(server):
    prompt = enhancement()
    prompt["batch"] = node("RepeatImageBatch", image=["image", 0], amount=2)
    prompt["enhance"]["inputs"]["image"] = ["batch", 0]
    prompt["plot"] = node("PreviewImage", images=["enhance", 2])
    outputs = server.run_prompt(prompt)
    first, second = pictures(server, outputs, "save")
    (alone,) = pictures(server, server.run_prompt(enhancement()), "save")
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, alone)
    assert len(outputs["plot"]["images"]) == 2


def test_alpha_is_kept(server):
    joined = node("JoinImageWithAlpha", image=["load", 0], alpha=["load", 1])
    prompt = enhancement(joined, preset="pixel_ascent", iterations=3)  # something changes
    prompt["load"] = node("LoadImage", image="transparent.png")
    prompt["joined"] = node("SaveImage", images=["image", 0], filename_prefix="joined")
    outputs = server.run_prompt(prompt)
    (before,), (after,) = (pictures(server, outputs, name) for name in ("joined", "save"))
    assert after.shape == (SIDE, SIDE, 4)
    np.testing.assert_array_equal(after[..., 3], before[..., 3])
    assert (after[..., :3] != before[..., :3]).any()


def test_priors_and_another_restorers_picture_are_compared(server):
    small = node("ImageScaleBy", image=["image", 0], upscale_method="area", scale_by=0.5)
    big = node("ImageScaleBy", image=["small", 0], upscale_method="bicubic", scale_by=2)
    shared = {"image": ["image", 0], "image_a": ["big", 0], "preset": "fast"}
    named = {"calibration": "built in", "crops": "cover"}
    prompt = {
        "image": node("LoadImage", image=SAMPLE),
        "small": small,
        "big": big,
        "pocket": node("DLM_IqaPrior", name="pocket", **named),
        "brisque": node("DLM_IqaPrior", name="brisque-cpp", **named),
        "compare": node(
            "DLM_ComparePriors", prior_a=["pocket", 0], prior_b=["brisque", 0], **shared
        ),
        "grid": node("SaveImage", images=["compare", 0], filename_prefix="grid"),
        "results": node("SaveImage", images=["compare", 1], filename_prefix="result"),
        "region": node("MaskToImage", mask=["compare", 3]),
        "white": node("SaveImage", images=["region", 0], filename_prefix="region"),
    }
    outputs = server.run_prompt(prompt)
    (table,) = outputs["compare"]["text"]
    head, *rows = table.splitlines()
    assert head.split() == ["result", "pocket", "brisque-cpp"]
    assert [row.split()[0] for row in rows[:4]] == ["input", "pocket", "brisque-cpp", "image_a"]
    assert [row.count("*") for row in rows[:4]] == [0, 1, 1, 0]
    assert len(pictures(server, outputs, "results")) == 3
    (grid,), (region,) = (pictures(server, outputs, name) for name in ("grid", "white"))
    assert grid.shape[1] > 4 * SIDE
    assert (region > 0).sum() == 3 * (SIDE // 4) ** 2


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (enhancement(node("EmptyImage", width=5, height=5, batch_size=1, color=0)), "5x5 pixels"),
        (
            {
                "image": node("EmptyImage", width=16, height=2000, batch_size=1, color=0),
                "backbone": node("DLM_LoadBackbone", name="pocket"),
                "invert": node(
                    "DLM_EdictInvert",
                    backbone=["backbone", 0],
                    image=["image", 0],
                    steps=3,
                    mixing=0.93,
                    strength=1,
                    spacing="trailing",
                    order="fixed",
                ),
                "picture": node("DLM_EdictReconstruct", latents=["invert", 0]),
                "save": node("SaveImage", images=["picture", 0], filename_prefix="test"),
            },
            "cut the strip into pieces",
        ),
    ],
    ids=["small picture", "strip"],
)
def test_a_bad_input_gets_a_clear_message(server, prompt, message):
    with pytest.raises(ComfyError) as caught:
        server.run_prompt(prompt)
    detail = caught.value.detail
    assert detail["exception_type"] == "ValueError"
    assert message in detail["exception_message"]


def test_a_value_out_of_range_is_refused_at_once(server):
    with pytest.raises(ComfyError) as caught:
        server.run_prompt(enhancement(strength=2))
    (error,) = caught.value.detail["node_errors"]["enhance"]["errors"]
    assert error["type"] == "value_bigger_than_max"


def interrupt_a_long_run(server, prompt: dict | None = None) -> float:
    """Interrupt after the second preview; the seconds until the server says so."""
    asked, previews = [], []

    def stop(kind, data):
        if kind == "preview":
            previews.append(data)
            if len(previews) == 2:
                asked.append(time.monotonic())
                server.interrupt()

    with pytest.raises(Interrupted):
        server.run_prompt(prompt or enhancement(preset="paper", iterations=200), stop)
    return time.monotonic() - asked[0]


def test_an_interrupt_is_answered_and_harmless(server):
    assert interrupt_a_long_run(server) < INTERRUPT_SECONDS
    (picture,) = pictures(server, server.run_prompt(enhancement(preset="paper")), "save")
    assert picture.shape == (SIDE, SIDE, 3)


def sampling(seed: int, **more) -> dict:
    """An ordinary KSampler on a tiny native checkpoint."""
    return {
        "model": node("CheckpointLoaderSimple", ckpt_name="tiny.safetensors"),
        "positive": node("TinyConditioning", seed=1),
        "negative": node("TinyConditioning", seed=2),
        "empty": node("EmptyLatentImage", width=SIDE, height=SIDE, batch_size=1),
        "sample": node(
            "KSampler",
            model=["model", 0],
            positive=["positive", 0],
            negative=["negative", 0],
            latent_image=["empty", 0],
            seed=seed,
            steps=4,
            cfg=4.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
        ),
        "latent": node("SaveLatent", samples=["sample", 0], filename_prefix="sample"),
        **more,
    }


def sampled(server, seed: int) -> bytes:
    """The KSampler's latent, as the tensors of the file; never from the cache."""
    from safetensors.torch import load_file

    server.run_prompt(sampling(seed + 1))
    outputs = server.run_prompt(sampling(seed))
    tensors = load_file(server.file(outputs["latent"]["latents"][0]))
    return tensors["latent_tensor"].numpy()


def census(server, prompt: dict, name: str, turn: int) -> dict:
    """What of autograd is in the server's process after `prompt`'s node `name`."""
    prompt = {**prompt, "census": node("GradientCensus", after=[name, 0], turn=turn)}
    return json.loads(server.run_prompt(prompt)["census"]["text"][0])


def test_the_ordinary_sampler_is_left_as_it_was(server):
    before = sampled(server, 5)
    assert np.isfinite(before).all()
    assert before.std() > 0
    clean = census(server, sampling(5), "sample", 1)

    chain = {
        **sampling(5),
        **enhancement(node("VAEDecode", samples=["sample", 0], vae=["model", 2])),
    }
    chain_outputs = server.run_prompt(chain)
    assert pictures(server, chain_outputs, "save")[0].shape == (SIDE, SIDE, 3)
    steps = api_workflow("Enhance step by step")
    reconstruct = next(
        key for key, item in steps.items() if item["class_type"] == "DLM_EdictReconstruct"
    )
    used = census(server, {**sampling(5), **steps}, reconstruct, 2)
    np.testing.assert_array_equal(sampled(server, 5), before)

    interrupt_a_long_run(server)
    stopped = census(server, {**sampling(5), **steps}, reconstruct, 3)
    np.testing.assert_array_equal(sampled(server, 5), before)

    assert used["parameters"] > clean["parameters"]  # our networks are among the counted
    for name in set(clean) - {"parameters"}:
        assert used[name] == stopped[name] == clean[name], name


def native(**changes) -> dict:
    """Post-Enhance and the optimizer's chain, both on ComfyUI's own checkpoint and ControlNet."""
    chain = api_workflow("Enhance step by step")
    (old,) = (key for key, item in chain.items() if item["class_type"] == "DLM_LoadBackbone")
    chain[old] = node(
        "DLM_BackboneFromModel",
        model=["model", 0],
        vae=["model", 2],
        positive=["positive", 0],
        negative=["negative", 0],
        control_net=["control", 0],
        cfg=4.0,
        strength=1.0,
    )
    for item in chain.values():
        if "iterations" in item["inputs"]:
            item["inputs"]["iterations"] = 1
    control = node("ControlNetLoader", control_net_name="tiny.safetensors")
    return {
        **sampling(5, control=control),
        **chain,
        **enhancement(backbone=[old, 0], **changes),
    }


def test_comfyuis_own_model_is_a_backbone_and_left_as_it_was(server):
    before = sampled(server, 5)
    clean = census(server, sampling(5), "sample", 4)
    outputs = server.run_prompt(native())
    for name in [name for name, output in outputs.items() if "images" in output]:
        for picture in pictures(server, {name: outputs[name]}, name):
            assert picture.std() > 0
    used = census(server, native(), "enhance", 5)
    np.testing.assert_array_equal(sampled(server, 5), before)
    interrupt_a_long_run(server, native(preset="paper", iterations=200))
    np.testing.assert_array_equal(sampled(server, 5), before)
    for name in set(clean) - {"parameters"}:
        assert used[name] <= clean[name], name  # loaders leave weights that require gradients
    log = server.log.read_text(errors="replace")
    assert "control could not be applied" not in log


def test_the_log_still_tells_only_of_the_bad_inputs(server):
    """Runs last: each traceback in the log is one of the ValueErrors asked for above."""
    log = server.log.read_text(errors="replace")
    asked = log.count("ValueError: ")
    assert log.count("Traceback (most recent call last)") == asked, log[-3000:]
