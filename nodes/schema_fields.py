"""Fields of a node's schema that older cores lack."""

import inspect
from typing import Any

from comfy_api.latest import io


def where_known(**fields: Any) -> dict[str, Any]:
    """Those of the fields that this core's schemas have."""
    known = inspect.signature(io.Schema).parameters
    return {name: value for name, value in fields.items() if name in known}


def found_as(words: str) -> dict[str, Any]:
    """What a node is found by in ComfyUI's search, beside its name.

    Args:
        words: those that artists search for, separated by commas.
    """
    return where_known(search_aliases=words.split(", "))
