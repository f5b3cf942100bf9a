"""Node schemas and shipped workflows against what a real ComfyUI said of them.

Runs without ComfyUI: `simulated_comfyui` is a fake of the few names of comfy_api the nodes use,
good for reading schemas and little else. The real core is exercised in test_comfyui.py.
"""

import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from .comfyui.record_schemas import unmarked
from .simulated_comfyui import simulated_nodes

REPOSITORY = Path(__file__).resolve().parents[1]
GOLDEN = json.loads((Path(__file__).parent / "data" / "object_info.json").read_text())
NODES, CORE = GOLDEN["nodes"], GOLDEN["core"]
LAID_OUT = sorted(path.stem for path in (REPOSITORY / "workflows").glob("*.json"))
WORKFLOWS = [name for name in LAID_OUT if name != "post_enhance_after_supir"]  # others' nodes
SEARCHED = (REPOSITORY / "tests" / "data" / "searched_words.txt").read_text().splitlines()
EXTRA_WIDGETS = {"LoadImage": {"upload": "image"}}  # the frontend's upload button


@pytest.fixture(scope="module")
def simulated_comfyui():
    """The nodes package, imported over a fake ComfyUI."""
    with simulated_nodes() as nodes:
        yield nodes


def whatever_files(entry: list) -> list:
    """An input without the marks that say which weight files a machine lacks."""
    name, kind, options = entry
    if "options" in options:
        options = {**options, "options": unmarked(options["options"])}
    return [name, kind, options]


def described(schema: SimpleNamespace) -> dict:
    """A schema in the golden file's words."""
    inputs = {
        group: [
            whatever_files(item.entry)
            for item in schema.inputs
            if item.optional == (group == "optional")
        ]
        for group in ("required", "optional")
    }
    return {
        "inputs": inputs,
        "display_name": schema.display_name,
        "description": schema.description,
        "category": schema.category,
        "output_node": schema.is_output_node,
        "output": [item.kind for item in schema.outputs],
        "output_name": [item.name for item in schema.outputs],
        "tooltips": [item.tooltip for item in schema.outputs],
    }


def test_the_schemas_are_those_a_real_comfyui_reported(simulated_comfyui):
    schemas = [node.define_schema() for node in simulated_comfyui.NODES]
    found = {schema.node_id: described(schema) for schema in schemas}
    assert sorted(found) == sorted(NODES)
    for name, schema in found.items():
        assert json.loads(json.dumps(schema)) == NODES[name], name


def test_the_words_of_the_search_are_those_recorded(simulated_comfyui):
    schemas = [node.define_schema() for node in simulated_comfyui.NODES]
    assert {schema.node_id: schema.search_aliases for schema in schemas} == GOLDEN["search"]


def test_a_core_without_search_words_gets_none(simulated_comfyui, monkeypatch):
    monkeypatch.setattr(simulated_comfyui.search.io, "Schema", lambda node_id: None)
    assert simulated_comfyui.search.found_as("enhance, restore") == {}


@pytest.mark.parametrize("word", SEARCHED)
def test_a_word_that_artists_search_finds_a_node(word):
    texts = [text for words in GOLDEN["search"].values() for text in words]
    texts += [node["display_name"] for node in NODES.values()]
    assert any(word.lower() in text.lower() for text in texts)


def test_every_execute_takes_exactly_the_inputs(simulated_comfyui):
    for node in simulated_comfyui.NODES:
        schema = node.define_schema()
        code = inspect.unwrap(node.execute.__func__).__code__
        named = set(code.co_varnames[1 : code.co_argcount])
        takes_any = bool(code.co_flags & 0x08)  # **options
        inputs = {item.entry[0] for item in schema.inputs}
        assert named == inputs or (takes_any and named < inputs), schema.node_id


@pytest.mark.parametrize("name", sorted(NODES))
def test_a_node_is_explained(name):
    node = NODES[name]
    tooltips = [options["tooltip"] for group in node["inputs"].values() for *_, options in group]
    assert all([node["description"], *tooltips, *node["tooltips"]])
    assert len(node["tooltips"]) == len(node["output"])
    assert (REPOSITORY / "web" / "docs" / f"{name}.md").read_text().startswith("# ")


def inputs_of(kind: str) -> dict[str, str]:
    """Input names and types, in order."""
    if kind in CORE:
        return CORE[kind]["inputs"]
    groups = NODES[kind]["inputs"].values()
    return {name: type_ for group in groups for name, type_, _ in group}


def options_of(kind: str) -> dict[str, dict]:
    """Options of the pack's inputs; none are known of core's."""
    groups = NODES[kind]["inputs"].values() if kind in NODES else []
    return {name: options for group in groups for name, _, options in group}


def check_value(kind: str, name: str, value) -> None:
    options = options_of(kind).get(name, {})
    a_file = ": " in str(value)  # "checkpoints: NAME", of the user's own folders
    assert "options" not in options or a_file or value in options["options"], (kind, name, value)
    assert options.get("min", value) <= value <= options.get("max", value), (kind, name, value)


def is_widget(type_: str) -> bool:
    return type_ in ("INT", "FLOAT", "STRING", "COMBO", "BOOLEAN")


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_an_api_workflow_fits_the_schemas(workflow):
    prompt = json.loads((REPOSITORY / "tests" / "comfyui" / f"{workflow}.api.json").read_text())
    for node in prompt.values():
        kind, known = node["class_type"], inputs_of(node["class_type"])
        assert set(node["inputs"]) <= set(known)
        optional = (
            {entry[0] for entry in NODES[kind]["inputs"]["optional"]} if kind in NODES else set()
        )
        assert set(known) - optional <= set(node["inputs"])
        for name, value in node["inputs"].items():
            if not isinstance(value, list):
                assert is_widget(known[name])
                check_value(kind, name, value)
                continue
            source = prompt[value[0]]["class_type"]
            outputs = (CORE[source] if source in CORE else NODES[source])["output"]
            assert known[name] in (outputs[value[1]], "*")


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_canvas_workflow_fits_the_schemas(workflow):
    graph = json.loads((REPOSITORY / "workflows" / f"{workflow}.json").read_text())
    api = json.loads((REPOSITORY / "tests" / "comfyui" / f"{workflow}.api.json").read_text())
    nodes = {node["id"]: node for node in graph["nodes"]}
    for node in nodes.values():
        if node["type"] == "Note":
            continue
        known = inputs_of(node["type"]) | dict.fromkeys(EXTRA_WIDGETS.get(node["type"], {}), "")
        assert {slot["name"] for slot in node["inputs"]} <= set(known)
        widgets = [name for name, type_ in inputs_of(node["type"]).items() if is_widget(type_)]
        values = node.get("widgets_values", [])
        if node["type"] in {*NODES, "SaveImage"}:
            assert len(values) == len(widgets)
            sent = api[str(node["id"])]["inputs"]
            assert dict(zip(widgets, values, strict=True)) == {name: sent[name] for name in widgets}
    for _, source, output, target, slot, type_ in graph["links"]:
        assert nodes[source]["outputs"][output]["type"] == type_
        assert nodes[target]["inputs"][slot]["type"] in (type_, "*")
        sent = api[str(target)]["inputs"][nodes[target]["inputs"][slot]["name"]]
        assert sent == [str(source), output]


@pytest.mark.parametrize("workflow", LAID_OUT)
def test_a_canvas_workflow_is_laid_out_without_overlap(workflow):
    graph = json.loads((REPOSITORY / "workflows" / f"{workflow}.json").read_text())
    title = 30
    boxes = [
        (x, y - title, x + width, y + height)
        for (x, y), (width, height) in ((node["pos"], node["size"]) for node in graph["nodes"])
    ]
    for i, (left, top, right, bottom) in enumerate(boxes):
        for left2, top2, right2, bottom2 in boxes[:i]:
            apart = left >= right2 or left2 >= right or top >= bottom2 or top2 >= bottom
            assert apart


def test_widgets_keep_their_places():
    """Saved workflows hold values by place: what is new comes last."""
    first = {
        "DLM_PostEnhance": "preset iterations lam strength preview_every anchor_colours",
        "DLM_LoadBackbone": "name controlnet control_strength prompt negative cfg dtype base",
        "DLM_BackboneFromModel": "cfg strength",
        "DLM_EdictInvert": "steps mixing strength spacing order",
        "DLM_LatentMapOptimizer": "iterations optimizer learning_rate momentum lam clip patience "
        "target_quality memory preview_every check_gradient",
        "DLM_IqaPrior": "name crops calibration",
        "DLM_FidelityLoss": "name scale reduction planes",
        "DLM_CombinePriors": "weight_a weight_b",
    }
    for kind, names in first.items():
        widgets = [name for name, type_ in inputs_of(kind).items() if is_widget(type_)]
        assert widgets[: len(names.split())] == names.split(), kind
