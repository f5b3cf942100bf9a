"""What the widgets of the pack do in a real ComfyUI: old workflows, refusals, what is cached.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import json
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from .comfyui.needed import in_the_frontend, need_comfyui
from .comfyui.server import REPOSITORY, ComfyError, Interrupted, comfy_server

need_comfyui()

SAMPLE, SIDE = "latent_map_sample.png", 64
VALUES = {"preset": "fast", "iterations": 1, "lam": 3, "strength": 1, "preview_every": 1}
NEWER = {  # widgets that came later than others of their node, and what they are without a value
    "DLM_IqaPrior": {"views": 1},
    "DLM_LoadBackbone": {"acceleration": "auto"},
    "DLM_LatentMapOptimizer": {"resume": True},
}
OF_0_1 = ["gentle", 1, -1, 1, 0, False]  # widgets of Post-Enhance as version 0.1 saved them


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The pack alone, a picture, and a folder of quality models elsewhere."""
    path = tmp_path_factory.mktemp("pictures") / SAMPLE
    extra = extra_model_paths(tmp_path_factory.mktemp("elsewhere"))
    with Image.open(REPOSITORY / "docs" / "sample.png") as sample:
        sample.convert("RGB").resize((SIDE, SIDE)).save(path)
    options = ("--cpu", "--extra-model-paths-config", str(extra))
    with comfy_server(arguments=options) as running:
        running.upload_image(path)
        yield running


def extra_model_paths(folder: Path) -> Path:
    """The file by which ComfyUI is told of the folder, which holds the weights of liqe, empty."""
    (folder / "quality").mkdir()
    (folder / "quality" / "liqe_koniq.pt").touch()
    (told := folder / "paths.yaml").write_text(f"mine:\n  base_path: {folder}\n  iqa: quality\n")
    return told


def enhancement(**changes) -> dict:
    """LoadImage -> Post-Enhance -> SaveImage and its summary."""
    inputs = {"image": ["image", 0], **VALUES, "override": True, **changes}
    return {
        "image": {"class_type": "LoadImage", "inputs": {"image": SAMPLE}},
        "enhance": {"class_type": "DLM_PostEnhance", "inputs": inputs},
        "save": {
            "class_type": "SaveImage",
            "inputs": {"images": ["enhance", 0], "filename_prefix": "test"},
        },
    }


def without(graph: dict, kind: str) -> None:
    """Take nodes of a kind and their links out of a saved workflow."""
    gone = {item["id"] for item in graph["nodes"] if item["type"] == kind}
    cut = {link[0] for link in graph["links"] if gone & {link[1], link[3]}}
    graph["nodes"] = [item for item in graph["nodes"] if item["id"] not in gone]
    graph["links"] = [link for link in graph["links"] if link[0] not in cut]
    for output in (output for item in graph["nodes"] for output in item["outputs"]):
        output["links"] = [link for link in output["links"] or () if link not in cut]


def said(server, prompt: dict) -> list[str]:
    """What the node shows, line by line."""
    return said_by(server.run_prompt(prompt))


def said_by(outputs: dict) -> list[str]:
    return outputs["enhance"]["text"][0].split("\n")


def saved(key: str) -> dict:
    inputs = {"images": [key, 0], "filename_prefix": "picture"}
    return {"class_type": "SaveImage", "inputs": inputs}


def test_the_sample_gives_way_to_a_picture_of_yours(server, tmp_path):
    with Image.open(REPOSITORY / "docs" / "sample.png") as shipped:
        sample = shipped.convert("RGB")
    mine = sample.resize((SIDE, SIDE))
    mine.putalpha(Image.linear_gradient("L").resize((SIDE, SIDE)))
    mine.save(tmp_path / "mine.png")
    prompt = {
        "sample": {
            "class_type": "DLM_SamplePicture",
            "inputs": {"image": "latent_map_sample.png [temp]"},
        },
        "mine": {
            "class_type": "DLM_SamplePicture",
            "inputs": {"image": server.upload_image(tmp_path / "mine.png")},
        },
        **{f"{key} saved": saved(key) for key in ("sample", "mine")},
    }
    outputs = server.run_prompt(prompt)
    for key, picture in {"sample": sample, "mine": mine}.items():
        with Image.open(server.file(outputs[f"{key} saved"]["images"][0])) as found:
            assert found.mode == picture.mode
            assert found.tobytes() == picture.tobytes()
    prompt["mine"]["inputs"]["image"] = "away.png"
    with pytest.raises(ComfyError) as caught:
        server.run_prompt({key: part for key, part in prompt.items() if "mine" in key})
    (error,) = caught.value.detail["node_errors"]["mine"]["errors"]
    assert "choose or upload" in error["details"]


def test_the_node_shows_the_values_in_force(server):
    values, line = said(server, enhancement(preset="gentle", iterations=2, lam=0.5))
    assert values.startswith("in force: 2 iterations of adam at rate 0.001, lambda 0.5, exp")
    assert line.startswith("quality ")


def test_a_prompt_of_before_means_what_it_meant(server):
    prompt = enhancement(preset="gentle", iterations=-1, lam=-1, preview_every=0, tile=0)
    del prompt["enhance"]["inputs"]["override"]
    assert said(server, prompt)[0].startswith("in force: 2 iterations of adam at rate 0.001, lam")


@pytest.mark.parametrize("changes", [{"iterations": 0}, {"lam": -0.5}, {"lam": -1}])
def test_values_without_a_meaning_are_refused_with_one_error(server, changes):
    with pytest.raises(ComfyError) as caught:
        server.run_prompt(enhancement(**changes))
    (error,) = caught.value.detail["node_errors"]["enhance"]["errors"]
    assert error["type"] == "value_smaller_than_min"


def test_another_preview_interval_alone_computes_nothing(server):
    server.run_prompt(enhancement(lam=2))
    cached = []

    def note(kind, data):
        if kind == "execution_cached":
            cached.extend(data["nodes"])

    server.run_prompt(enhancement(lam=2, preview_every=5, preview=False), note)
    assert {"enhance", "save"} <= set(cached)


def test_previews_come_as_often_as_asked(server):
    shown = []

    def note(kind, data):
        if kind == "preview":
            shown.append(data)

    server.run_prompt(enhancement(lam=1.5, iterations=4, preview=False), note)
    assert not shown
    server.run_prompt(enhancement(lam=1.4, iterations=4, preview_every=4), note)
    seldom = len(shown)
    server.run_prompt(enhancement(lam=1.3, iterations=4, preview_every=1), note)
    assert 0 < seldom < len(shown) - seldom


def stopped_at_preview(server, prompt: dict, number: int) -> str:
    """Interrupt a run at its so-many-th preview; the name of the state that it leaves."""
    previews = []

    def stop(kind, data):
        if kind == "preview":
            previews.append(data)
            if len(previews) == number:
                server.interrupt()

    with pytest.raises(Interrupted):
        server.run_prompt(prompt, stop)
    kept = {path.suffix: path for path in (server.base / "output" / "latent_map").iterdir()}
    assert set(kept) == {".state", ".png"}
    with Image.open(kept[".png"]) as best:
        assert best.size == (SIDE, SIDE)
    return kept[".state"].name


def best_of_state(server, name: str) -> Image.Image:
    """What Load MAP State gives for a picture."""
    load = {"class_type": "DLM_LoadMapState", "inputs": {"name": name}}
    show = {"class_type": "PreviewImage", "inputs": {"images": ["load", 0]}}
    best = server.run_prompt({"load": load, "show": show})["show"]["images"]
    with Image.open(server.file(best[0])) as shown:
        return shown.convert("RGB")


def test_an_interrupted_run_is_gone_on_from(server):
    long = enhancement(preset="paper", iterations=60, lam=0.01, preview=True)
    name = stopped_at_preview(server, long, 3)
    folder = server.base / "output" / "latent_map"
    with Image.open((folder / name).with_suffix(".png")) as beside:
        apart = ImageChops.difference(beside.convert("RGB"), best_of_state(server, name))
    assert max(high for _, high in apart.getextrema()) <= 1  # ComfyUI rounds down
    lines = said(server, enhancement(preset="paper", iterations=4, lam=0.01))
    assert lines[1].startswith("went on from iterate ")
    assert lines[2].startswith("quality ")
    assert not list(folder.iterdir())


def optimisation(**changes) -> dict:
    """LoadImage -> EDICT Invert -> Latent MAP Optimizer -> EDICT Reconstruct -> SaveImage."""
    inversion = {"steps": 6, "mixing": 0.93, "strength": 1, "spacing": "trailing"}
    ascent = {"iterations": 3, "optimizer": "sgd", "learning_rate": 2, "momentum": 0.9}
    ascent |= {"lam": 0.01, "clip": 0.1, "patience": 10, "target_quality": 0.9}
    ascent |= {"memory": "auto", "preview_every": 1, **changes}
    links = {"latents": ["invert", 0], "prior": ["prior", 0], "fidelity": ["fidelity", 0]}
    nodes = {
        "image": ("LoadImage", {"image": SAMPLE}),
        "backbone": ("DLM_LoadBackbone", {"name": "pocket"}),
        "prior": ("DLM_IqaPrior", {"name": "pocket"}),
        "fidelity": (
            "DLM_FidelityLoss",
            {"name": "low_resolution", "scale": 4, "reduction": "rms"},
        ),
        "invert": (
            "DLM_EdictInvert",
            {"backbone": ["backbone", 0], "image": ["image", 0], "order": "fixed", **inversion},
        ),
        "enhance": ("DLM_LatentMapOptimizer", {**links, **ascent}),
        "back": ("DLM_EdictReconstruct", {"latents": ["enhance", 0]}),
        "save": ("SaveImage", {"images": ["back", 0], "filename_prefix": "optimised"}),
    }
    return {key: {"class_type": kind, "inputs": inputs} for key, (kind, inputs) in nodes.items()}


def test_an_interrupted_optimizer_is_gone_on_from(server):
    name = stopped_at_preview(server, optimisation(iterations=60), 3)
    best_of_state(server, name)
    outputs = server.run_prompt(optimisation(iterations=4))
    again = said_by(outputs)
    assert again[1].startswith("went on from iterate ")
    assert not list((server.base / "output" / "latent_map").iterdir())
    anew = server.run_prompt(optimisation(iterations=4, resume=False))
    assert len(said_by(anew)) == 2
    pictures = [server.file(made["save"]["images"][0]) for made in (outputs, anew)]
    first, second = (Image.open(path).convert("RGB").tobytes() for path in pictures)
    assert first == second


def test_weights_are_found_where_extra_model_paths_point(server):
    (info,) = server.request("/object_info/DLM_IqaPrior").values()
    spec = info["input"]["required"]["name"]
    names = spec[1].get("options") or spec[0]  # older cores list them there
    assert {"liqe", "liqe_mix (file missing)"} <= set(names)


def test_a_missing_file_is_one_error_with_the_remedy(server):
    prompt = enhancement(prior=["prior", 0])
    inputs = {"name": "liqe_mix (file missing)", "crops": "cover", "calibration": "built in"}
    prompt["prior"] = {"class_type": "DLM_IqaPrior", "inputs": inputs}
    with pytest.raises(ComfyError) as caught:
        server.run_prompt(prompt)
    errors = [e for node in caught.value.detail["node_errors"].values() for e in node["errors"]]
    (error,) = errors
    folder = server.base / "models" / "iqa"
    for word in ("liqe_mix.pt", "https://", str(folder), "download.py", "Get Weights"):
        assert word in error["details"]


def test_a_workflow_saved_before_is_translated_on_the_canvas(server, tmp_path):
    graph = json.loads((REPOSITORY / "workflows" / "Enhance a picture.json").read_text())
    (enhance,) = (item for item in graph["nodes"] if item["type"] == "DLM_PostEnhance")
    enhance["widgets_values"] = OF_0_1
    without(graph, "ImageCompare")  # the oldest core has none
    (path := tmp_path / "old.json").write_text(json.dumps(graph))
    sent = in_the_frontend("canvas.mjs", server.url, path, tmp_path / "canvas.png")["prompt"]
    inputs = sent[str(enhance["id"])]["inputs"]
    expected = {"preset": "gentle", "iterations": 1, "lam": 3, "override": True}
    expected |= {"preview": False, "preview_every": 1, "own_tile": False, "anchor_colours": False}
    assert {name: inputs[name] for name in expected} == expected


def test_a_workflow_from_before_a_widget_keeps_its_values(server, tmp_path):
    graph = json.loads((REPOSITORY / "workflows" / "Enhance step by step.json").read_text())
    without(graph, "ImageCompare")
    meant = {}
    for item in graph["nodes"]:
        if newer := NEWER.get(item["type"]):
            sockets = [slot for slot in item["inputs"] if slot["name"] not in newer]
            values = item["widgets_values"][: -len(newer)]
            names = [slot["name"] for slot in sockets if "widget" in slot]
            if item["type"] == "DLM_LoadBackbone":
                values[names.index("compile")], values[names.index("cfg")] = True, 2
            item.update(inputs=sockets, widgets_values=values)
            meant[str(item["id"])] = {**dict(zip(names, values, strict=True)), **newer}
    assert len(meant) == len(NEWER)
    (path := tmp_path / "old.json").write_text(json.dumps(graph))
    sent = in_the_frontend("prompts.mjs", server.url, path)[str(path)]["prompt"]
    for number, values in meant.items():
        assert {name: sent[number]["inputs"][name] for name in values} == values
