"""The pack on ComfyUI's canvas as a new user meets it: an empty input folder, no models.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import json
import urllib.parse
import urllib.request

import pytest
from PIL import Image

from .comfyui.needed import in_the_frontend, need_comfyui
from .comfyui.record_schemas import searched
from .comfyui.server import REPOSITORY, comfy_server

need_comfyui()

FOLDER = REPOSITORY / "workflows"
HERE = REPOSITORY / "tests" / "comfyui"
SHIPPED = sorted(path.stem for path in FOLDER.glob("*.json"))
BLUEPRINTS = sorted(path.stem for path in (REPOSITORY / "subgraphs").glob("*.json"))
NO_DOWNLOAD = ["Enhance a picture", "Enhance step by step", "Score pictures", "Compare priors"]
COLOURS = 2000  # of a node with a photograph; without one there are some 200
SEESR = ("models/seesr/controlnet", "models/diffusers/stable-diffusion-2-base")


@pytest.fixture(scope="module")
def server():
    """A fresh install: nothing but the pack."""
    with comfy_server() as running:
        if "ImageCompare" not in running.object_info():
            pytest.skip("the templates show their results in ImageCompare, which this core lacks")
        yield running


def in_temp(choice: str) -> str:
    """Where the canvas shows a choice of the temporary folder, as a query."""
    name, _, folder = choice.partition(" ")
    assert folder == "[temp]"
    return urllib.parse.urlencode({"filename": name, "type": "temp"})


def test_nothing_is_there(server):
    assert [path for path in (server.base / "input").rglob("*") if path.is_file()] == []
    assert list((server.base / "models").rglob("*.safetensors")) == []
    (sample,) = server.request("/object_info/DLM_SamplePicture").values()
    spec = sample["input"]["required"]["image"]
    first = (spec[1].get("options") or spec[0])[0]  # older cores list them there
    with urllib.request.urlopen(f"{server.url}/view?{in_temp(first)}") as shown:
        assert shown.read() == (REPOSITORY / "docs" / "sample.png").read_bytes()


def test_the_search_finds_the_pack(server):
    if not any(searched(server.object_info()).values()):
        pytest.skip("this core's nodes have no search words")
    words = (REPOSITORY / "tests" / "data" / "searched_words.txt").read_text().splitlines()
    found = in_the_frontend("search.mjs", server.url, *words)
    ours = {word for word, names in found.items() if any(n.startswith("DLM_") for n in names)}
    assert ours == set(words)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_workflow_is_offered_as_a_template_with_a_picture(server, name):
    assert name in server.request("/workflow_templates")["latent-map"]
    place = f"/api/workflow_templates/latent-map/{urllib.parse.quote(name)}"
    assert server.request(f"{place}.json") == json.loads((FOLDER / f"{name}.json").read_text())
    with urllib.request.urlopen(f"{server.url}{place}.jpg") as picture:
        assert picture.headers.get_content_type() == "image/jpeg"


@pytest.mark.parametrize("mode", ["classic", "nodes2"])
@pytest.mark.parametrize("name", NO_DOWNLOAD)
def test_a_template_runs_on_the_canvas_of_a_fresh_install(server, name, mode, tmp_path):
    paths = [FOLDER / f"{name}.json", tmp_path / "canvas.png"]
    result = in_the_frontend("canvas.mjs", server.url, *paths, mode)
    assert result["missing"] == []
    assert result["success"]
    if name.startswith("Enhance"):  # the picture is visibly better, beside its input
        kinds = {key: node["class_type"] for key, node in result["prompt"].items()}
        shown = {kinds[key]: output for key, output in result["outputs"].items()}
        assert shown["ImageCompare"]["a_images"]
        assert shown["ImageCompare"]["b_images"]
        assert shown["DLM_ComparePictures"]["images"]


def test_the_first_template_takes_noise_away(server):
    outputs = server.run_prompt(json.loads((HERE / "api" / "Enhance a picture.json").read_text()))
    said = [text for output in outputs.values() for text in output.get("text", [])]
    assert any("noise: clearly less" in text for text in said)


def with_a_picture(blueprint: dict) -> dict:
    """A blueprint's node with the sample picture as its first input."""
    graph = json.loads(json.dumps(blueprint))
    (host,) = graph["nodes"]
    output = {"name": "image", "type": "IMAGE", "links": [9001]}
    place = {"pos": [-500, 0], "size": [300, 300], "flags": {}, "order": 0, "mode": 0}
    sample = {"id": 1001, "type": "DLM_SamplePicture", "inputs": [], "outputs": [output], **place}
    graph["nodes"].append({**sample, "properties": {}})
    graph["links"].append([9001, 1001, 0, host["id"], 0, "IMAGE"])
    host["inputs"][0]["link"] = 9001
    graph["last_node_id"], graph["last_link_id"] = 1001, 9001
    graph["extra"]["ds"] = {"scale": 1, "offset": [620, 160]}  # both nodes are seen
    return graph


def test_the_blueprints_are_offered(server):
    offered = server.request("/global_subgraphs").values()
    ours = {item["name"] for item in offered if item["info"]["node_pack"].endswith("latent-map")}
    assert ours == set(BLUEPRINTS)


@pytest.mark.parametrize("mode", ["classic", "nodes2"])
@pytest.mark.parametrize("name", BLUEPRINTS)
def test_a_blueprint_runs_and_shows_its_picture_outside(server, name, mode, tmp_path):
    path = REPOSITORY / "subgraphs" / f"{name}.json"
    graph, photograph = tmp_path / "graph.json", tmp_path / "canvas.png"
    graph.write_text(json.dumps(with_a_picture(json.loads(path.read_text()))))
    result = in_the_frontend("canvas.mjs", server.url, graph, photograph, mode)
    assert result["success"]
    assert any(output.get("images") for output in result["outputs"].values())
    (place,) = result["subgraphs"]
    with Image.open(photograph) as canvas:
        node = canvas.convert("RGB").crop(tuple(map(round, place)))
    assert len(node.getcolors(node.width * node.height) or ()) > COLOURS


@pytest.fixture(scope="module")
def furnished(tmp_path_factory):
    """A server with files of the right names, empty ones, and stand-ins for other packs' nodes."""
    empty = tmp_path_factory.mktemp("files") / "empty"
    empty.touch()
    links = {"custom_nodes/restorer_sockets.py": HERE / "restorer_sockets.py"}
    for name in SHIPPED:
        for node in json.loads((FOLDER / f"{name}.json").read_text())["nodes"]:
            for model in node["properties"].get("models", []):
                links[f"models/{model['directory']}/{model['name']}"] = empty
    links[f"{SEESR[0]}/config.json"] = links[f"{SEESR[1]}/model_index.json"] = empty
    with comfy_server(links) as running:
        if "SUPIRApply" not in running.object_info():
            pytest.skip("templates behind restorers need nodes that this core lacks")
        yield running


def test_every_template_is_what_the_canvas_sends_and_the_server_accepts(furnished):
    files = [str(FOLDER / f"{name}.json") for name in SHIPPED]
    made = in_the_frontend("prompts.mjs", furnished.url, *files)
    for name, file in zip(SHIPPED, files, strict=True):
        assert made[file]["missing"] == [], name
        expected = json.loads((HERE / "api" / f"{name}.json").read_text())
        assert made[file]["prompt"].keys() == expected.keys(), name
        for key, node in expected.items():
            assert made[file]["prompt"][key]["inputs"] == node["inputs"], (name, key)
        furnished.submit(expected)  # a refusal raises, with the node's errors
    furnished.request("/queue", {"clear": True})
    furnished.interrupt()
