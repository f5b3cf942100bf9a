"""Interrupted runs: where their states are kept, what they are named by, who is told."""

import hashlib
import json
import logging
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import folder_paths
from comfy_execution.utils import get_executing_context

from ..map_estimation.kept_runs import KeptRuns
from .native.session import current_session
from .queued_prompts import PREVIEW

log = logging.getLogger(__name__)
FOLDER = "latent_map"  # in ComfyUI's output folder
SUFFIX = ".state"


def states_folder() -> Path:
    """Where states are kept, beside the user's results."""
    return Path(folder_paths.get_output_directory()) / FOLDER


def kept_states() -> list[str]:
    """Names of the states that are there, the newest first."""
    written = {path.name: _written(path) for path in states_folder().glob(f"*{SUFFIX}")}
    return sorted(
        (name for name in written if written[name]), key=written.__getitem__, reverse=True
    )


def _written(path: Path) -> float:
    """When a file was; 0 for what is none, as a link to one that another server has removed."""
    try:
        found = path.stat()
    except OSError:
        return 0.0
    return found.st_mtime if stat.S_ISREG(found.st_mode) else 0.0


def keep_runs(
    resume: bool,
    lines: list[str],
    chosen: Path | None,
    prompt: Mapping[str, Any] | None = None,
) -> KeptRuns:
    """How the running node keeps interrupted runs.

    Args:
        resume: whether to go on from what is kept of the same run.
        lines: of the node's summary; what is told is added to them.
        chosen: a state given on purpose, from Load MAP State.
        prompt: that is executed, where the node has a backbone: ComfyUI's own models have no name
            that tells them from others, so what is connected stands for it in the file's name, and
            digests of the loaded weights are compared when it is gone on from.
    """
    context = get_executing_context()
    number = None if context is None else context.node_id

    def tell(what: str) -> None:
        lines.append(what)
        log.info("latent MAP: %s", what)
        _show(what, number)

    above = lineage(prompt or {}, number, "backbone")
    return KeptRuns(states_folder(), resume, above, tell, chosen, current_session().made_of)


def lineage(prompt: Mapping[str, Any], number: str | None, socket: str) -> str:
    """What a node's socket is connected to, all the way up, as a short digest; "" for nothing."""
    source = prompt.get(number or "", {}).get("inputs", {}).get(socket)
    if not _is_link(source):
        return ""
    text = json.dumps(_described(prompt, source), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _described(prompt: Mapping[str, Any], link: list) -> list:
    node = prompt.get(str(link[0]), {})
    inputs = {name: value for name, value in node.get("inputs", {}).items() if name not in PREVIEW}
    above = {
        name: _described(prompt, value) if _is_link(value) else value
        for name, value in inputs.items()
    }
    return [node.get("class_type"), link[1], above]


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2


def _show(text: str, number: str | None) -> None:
    """Show text on the node at once: an interrupted node has no other way to say anything."""
    if number is not None:
        from server import PromptServer

        PromptServer.instance.send_progress_text(text, number)
