"""Record what a real ComfyUI says of the pack's nodes, as tests/data/object_info.json.

    COMFYUI_PATH=~/ComfyUI python tests/comfyui/record_schemas.py

`excerpt` keeps what a workflow depends on and what every core version words alike.
"""

import json
from pathlib import Path
from typing import Any

WORKFLOWS = Path(__file__).resolve().parent / "api"
FIELDS = (
    "display_name",
    "description",
    "category",
    "experimental",
    "output_node",
    "output",
    "output_name",
)


def excerpt(nodes: dict[str, Any]) -> dict[str, Any]:
    """The pack's nodes: inputs by group with type and options, outputs, texts."""
    ours = {name: node for name, node in sorted(nodes.items()) if name.startswith("DLM_")}
    return {name: _node(node) for name, node in ours.items()}


def searched(nodes: dict[str, Any]) -> dict[str, list[str]]:
    """The words that each of the pack's nodes is found by; cores before the field know none."""
    ours = {name: node for name, node in sorted(nodes.items()) if name.startswith("DLM_")}
    return {name: node.get("search_aliases") or [] for name, node in ours.items()}


def core_inputs(nodes: dict[str, Any]) -> dict[str, Any]:
    """Of core's nodes in the shipped workflows only names and types of inputs, by group.

    Their options name local files. Nodes of other packs are not in core.
    """
    prompts = [json.loads(path.read_text()) for path in WORKFLOWS.glob("*.json")]
    used = {node["class_type"] for prompt in prompts for node in prompt.values()}
    return {
        name: {
            "inputs": {
                group: {label: _type(spec) for label, spec in members.items()}
                for group, members in _flat(nodes[name]).items()
            },
            "output": nodes[name]["output"],
        }
        for name in sorted(used)
        if name in nodes and not name.startswith("DLM_")
    }


def _node(node: dict[str, Any]) -> dict[str, Any]:
    inputs = {
        group: [[name, _type(spec), _options(spec)] for name, spec in members.items()]
        for group, members in _flat(node).items()
    }
    return {"inputs": inputs, **{f: node[f] for f in FIELDS}, "tooltips": node["output_tooltips"]}


def _flat(node: dict[str, Any]) -> dict[str, Any]:
    return {group: node["input"].get(group, {}) for group in ("required", "optional")}


def _type(spec: list[Any]) -> str:
    return "COMBO" if isinstance(spec[0], list) else spec[0]  # older cores list the options there


def _options(spec: list[Any]) -> dict[str, Any]:
    options = {name: value for name, value in spec[1].items() if name != "multiselect"}
    options |= {"options": spec[0]} if isinstance(spec[0], list) else {}
    return options | ({"options": unmarked(options["options"])} if "options" in options else {})


def unmarked(names: list[Any]) -> list[Any]:
    """Choices without what depends on a machine's files: marks such as "(file missing)", order."""
    marks = " (file missing)", " (needs ", " (there)"
    if not any(mark in str(name) for name in names for mark in marks):
        return names
    return sorted(str(name).partition(" (")[0] for name in names)


if __name__ == "__main__":
    from server import REPOSITORY, comfy_server

    with comfy_server() as server:
        nodes = server.object_info()
        version = server.request("/system_stats")["system"]["comfyui_version"]
    golden = {
        "comfyui": version,
        "nodes": excerpt(nodes),
        "search": searched(nodes),
        "core": core_inputs(nodes),
    }
    path = REPOSITORY / "tests" / "data" / "object_info.json"
    path.write_text(json.dumps(golden, indent=1) + "\n")
