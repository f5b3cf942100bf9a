"""What is done to a prompt when it is queued: saved values of before, and previews.

Workflows saved before there were toggles say "off" by a number, as -1 iterations: it becomes the
toggle's "off". And the interval of previews is taken out of what ComfyUI compares prompts by, so
that another interval alone computes nothing anew.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from comfy_api.latest import io
from comfy_execution.utils import get_executing_context

from ..map_estimation.settings import PRESETS

PREVIEW = ("preview", "preview_every")
Prompt = dict[str, dict[str, Any]]

# By a node's number in the prompt, as asked for last.
_preview_intervals: dict[str, int] = {}


class Toggles(NamedTuple):
    """The toggles of a kind of node.

    Attributes:
        governed: by toggle the widgets it governs, with the number by which each once said "off".
        defaults: of all widgets.
    """

    governed: dict[str, dict[str, float]]
    defaults: dict[str, Any]


def toggles_of(nodes: Sequence[type[io.ComfyNode]]) -> dict[str, Toggles]:
    """The toggles of each kind of node, by its id."""
    found = {}
    for node in nodes:
        schema = node.define_schema()
        options = {item.id: item.as_dict() for item in schema.inputs}
        found[schema.node_id] = Toggles(
            {name: given["governs"] for name, given in options.items() if "governs" in given},
            {name: given["default"] for name, given in options.items() if "default" in given},
        )
    return found


def prepare(prompt: Prompt, kinds: dict[str, Toggles]) -> None:
    """Change a prompt in API format, in place, before ComfyUI checks it.

    Args:
        prompt: nodes by their number; anything that is none of ours stays as it is.
        kinds: see `toggles_of`.
    """
    for number, node in prompt.items():
        toggles = kinds.get(str(node.get("class_type"))) if isinstance(node, dict) else None
        inputs = node.get("inputs") if toggles else None
        if toggles and isinstance(inputs, dict):
            for name, governed in toggles.governed.items():
                _translate(inputs, name, governed, toggles.defaults)
            _take_preview_out(number, inputs, toggles.defaults)


def _translate(
    inputs: dict[str, Any], toggle: str, governed: dict[str, float], defaults: dict[str, Any]
) -> None:
    """Where a toggle is missing or off, numbers that once said so become ordinary ones."""
    if toggle not in inputs:
        inputs[toggle] = any(inputs.get(name, off) != off for name, off in governed.items())
        if not governed.keys() & inputs.keys():
            inputs[toggle] = defaults[toggle]
    elif inputs[toggle]:
        return
    preset = vars(PRESETS.get(str(inputs.get("preset")), object))
    for name, off in governed.items():
        if inputs.get(name) == off:
            inputs[name] = preset.get(name, defaults[name])


def _take_preview_out(number: str, inputs: dict[str, Any], defaults: dict[str, Any]) -> None:
    if not set(PREVIEW) <= inputs.keys():
        return
    wanted, every = (inputs[name] for name in PREVIEW)
    if isinstance(wanted, bool) and isinstance(every, int) and every >= 1:  # else it is refused
        _preview_intervals[number] = every if wanted else 0
        inputs.update({name: defaults[name] for name in PREVIEW})


def preview_interval(preview: bool, preview_every: int) -> int:
    """Each how many iterations the running node is to show its picture; 0 is never.

    Args:
        preview, preview_every: as the node got them, for one whose prompt was not prepared.
    """
    context = get_executing_context()
    number = "" if context is None else context.node_id
    return _preview_intervals.get(number, preview_every if preview else 0)
