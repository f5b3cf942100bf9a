"""The pack on ComfyUI's canvas as a new user meets it: an empty input folder, no models.

COMFYUI_PATH names the checkout (default ~/ComfyUI); see tests/comfyui/README.md.
"""

import pytest

from .comfyui.needed import in_the_frontend, need_comfyui
from .comfyui.record_schemas import searched
from .comfyui.server import REPOSITORY, comfy_server

need_comfyui()


@pytest.fixture(scope="module")
def server():
    """A fresh install: nothing but the pack."""
    with comfy_server() as running:
        yield running


def test_the_search_finds_the_pack(server):
    if not any(searched(server.object_info()).values()):
        pytest.skip("this core's nodes have no search words")
    words = (REPOSITORY / "tests" / "data" / "searched_words.txt").read_text().splitlines()
    found = in_the_frontend("search.mjs", server.url, *words)
    ours = {word for word, names in found.items() if any(n.startswith("DLM_") for n in names)}
    assert ours == set(words)
