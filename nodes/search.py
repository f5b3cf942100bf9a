"""What a node is found by, beside its name, in ComfyUI's search."""

import inspect

from comfy_api.latest import io


def found_as(words: str) -> dict[str, list[str]]:
    """The schema's field for words that artists search for; nothing on cores that lack it.

    Args:
        words: separated by commas.
    """
    known = inspect.signature(io.Schema).parameters
    return {"search_aliases": words.split(", ")} if "search_aliases" in known else {}
