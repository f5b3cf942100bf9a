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
API = {
    name: json.loads((REPOSITORY / "tests" / "comfyui" / "api" / f"{name}.json").read_text())
    for name in LAID_OUT
}
WORKFLOWS = [  # those without other packs' nodes
    name
    for name, prompt in API.items()
    if all(node["class_type"] in {**NODES, **CORE} for node in prompt.values())
]
SEARCHED = (REPOSITORY / "tests" / "data" / "searched_words.txt").read_text().splitlines()
UPLOAD = {"upload": "image"}  # the frontend's upload button
EXTRA_WIDGETS = {"LoadImage": UPLOAD, "DLM_SamplePicture": UPLOAD}


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
        "experimental": schema.is_experimental,
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
    fields = simulated_comfyui.schema_fields
    monkeypatch.setattr(fields.io, "Schema", lambda node_id: None)
    assert fields.found_as("enhance, restore") == {}


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
        return {
            name: type_ for group in CORE[kind]["inputs"].values() for name, type_ in group.items()
        }
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
    return type_ in ("INT", "FLOAT", "STRING", "COMBO", "BOOLEAN") or is_of_the_frontend(type_)


def is_of_the_frontend(type_: str) -> bool:
    """A widget that is more than one value: a choice with inputs of its own, a viewer."""
    return type_ in ("COMFY_DYNAMICCOMBO_V3", "IMAGECOMPARE")


def optional_inputs(kind: str) -> set[str]:
    if kind in CORE:
        return set(CORE[kind]["inputs"]["optional"])
    return {name for name, *_ in NODES[kind]["inputs"]["optional"]}


def outermost(names) -> set[str]:
    """Inputs without those that an input's choice brings along, "choice.name"."""
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_an_api_workflow_fits_the_schemas(workflow):
    prompt = API[workflow]
    for node in prompt.values():
        kind, known = node["class_type"], inputs_of(node["class_type"])
        given = outermost(node["inputs"])
        assert given <= set(known)
        assert set(known) - optional_inputs(kind) <= given
        for name, value in node["inputs"].items():
            if "." in name or isinstance(value, dict):  # the frontend's own
                continue
            if not isinstance(value, list):
                assert is_widget(known[name])
                check_value(kind, name, value)
                continue
            source = prompt[value[0]]["class_type"]
            outputs = (CORE[source] if source in CORE else NODES[source])["output"]
            assert fits(outputs[value[1]], known[name])


def fits(output: str, input_: str) -> bool:
    """Whether a socket takes an output; of those that match types, others' checks are enough."""
    either = {*output.split(","), *input_.split(",")}
    return output in input_.split(",") or bool(either & {"*", "COMFY_MATCHTYPE_V3"})


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_canvas_workflow_fits_the_schemas(workflow):
    graph = json.loads((REPOSITORY / "workflows" / f"{workflow}.json").read_text())
    api = API[workflow]
    nodes = {node["id"]: node for node in graph["nodes"]}
    for node in nodes.values():
        if node["type"] == "MarkdownNote":
            continue
        known = inputs_of(node["type"]) | dict.fromkeys(EXTRA_WIDGETS.get(node["type"], {}), "")
        assert outermost(slot["name"] for slot in node["inputs"]) <= set(known)
        widgets = [name for name, type_ in inputs_of(node["type"]).items() if is_widget(type_)]
        values = node.get("widgets_values", [])
        if node["type"] in {*NODES, "SaveImage"}:
            assert len(values) == len(widgets) + len(EXTRA_WIDGETS.get(node["type"], {}))
            values = values[: len(widgets)]
            sent = api[str(node["id"])]["inputs"]
            assert dict(zip(widgets, values, strict=True)) == {name: sent[name] for name in widgets}
    for _, source, output, target, slot, type_ in graph["links"]:
        assert nodes[source]["outputs"][output]["type"] == type_
        assert fits(type_, nodes[target]["inputs"][slot]["type"])
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


@pytest.mark.parametrize("workflow", LAID_OUT)
def test_what_a_template_needs_can_be_fetched_from_it(workflow):
    """ComfyUI offers packs by `cnr_id`, and files by `models`; the note names them."""
    graph = json.loads((REPOSITORY / "workflows" / f"{workflow}.json").read_text())
    (note,) = (node for node in graph["nodes"] if node["type"] == "MarkdownNote")
    assert "`" not in note["widgets_values"][0]  # Nodes 2.0 shows code blue on blue
    for node in graph["nodes"]:
        if node is note:
            continue
        assert {"cnr_id", "aux_id"} & set(node["properties"]), node["type"]
        values = [value for value in node.get("widgets_values", []) if isinstance(value, str)]
        files = {value for value in values if value.endswith((".safetensors", ".pth", ".ckpt"))}
        models = node["properties"].get("models", [])
        assert {model["name"] for model in models} == files
        for model in models:
            assert model["url"].startswith("https://huggingface.co/")
            assert model["url"].endswith(f"/{model['name']}")
            assert model["name"] in note["widgets_values"][0]


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
