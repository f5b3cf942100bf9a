"""A fake of the few names of ComfyUI that the nodes use: no server, no models, no device.

Good for reading schemas and for running a node's own lines; the real core is in test_comfyui.py.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace

import pytest
import torch

NUMBER = {"default", "min", "max", "step", "round"}
CPU = torch.device("cpu")
ALLOWED = {
    "INT": NUMBER - {"round"},
    "FLOAT": NUMBER,
    "COMBO": {"options", "default", "upload"},
    "BOOLEAN": {"default", "label_on", "label_off"},
    "STRING": {"default", "multiline"},
}


class SimulatedInput:
    """A fake of comfy_api's io.Input: what was asked for, and what was set afterwards."""

    def __init__(self, optional: bool, entry: list):
        self.optional, self._entry, self.extra_dict = optional, entry, {}

    @property
    def id(self) -> str:
        return self._entry[0]

    def as_dict(self) -> dict:
        return self.entry[2]

    @property
    def entry(self) -> list:
        name, kind, options = self._entry
        return [name, kind, options | self.extra_dict]


class SimulatedNode:
    """A fake of comfy_api's io.ComfyNode: what a running node is told besides its inputs."""

    hidden = SimpleNamespace(prompt={})


def simulated_socket(kind: str) -> SimpleNamespace:
    """A fake of comfy_api's io.<Type>: what was asked for, nothing checked but the keywords."""

    def new_input(name, optional=False, tooltip=None, **options):
        unknown = set(options) - ALLOWED.get(kind, set())
        assert not unknown, f"{name}: the oldest core's {kind} takes no {unknown}"
        if kind == "STRING":
            options = {"multiline": False, **options}  # the real one's default
        if upload := options.pop("upload", None):
            options[upload] = True
        return SimulatedInput(optional, [name, kind, {"tooltip": tooltip, **options}])

    def new_output(id=None, display_name=None, tooltip=None):
        return SimpleNamespace(id=id, kind=kind, name=display_name or id, tooltip=tooltip)

    return SimpleNamespace(Input=new_input, Output=new_output)


def simulated_schema(search_aliases=(), **fields) -> SimpleNamespace:
    """A fake of comfy_api's io.Schema, with the one check that the oldest core makes."""
    ids = [item.entry[0] for item in fields["inputs"]]
    ids += [item.id for item in fields["outputs"] if item.id]
    assert len(ids) == len(set(ids)), f"v0.3.64 wants ids unique over inputs and outputs: {ids}"
    return SimpleNamespace(
        **{"is_output_node": False, "search_aliases": list(search_aliases), **fields}
    )


class SimulatedProgressBar:
    """A fake of comfy.utils.ProgressBar that remembers where it was."""

    made: "list[SimulatedProgressBar]"

    def __init__(self, total: int):
        self.total, self.values = total, []
        self.made.append(self)

    def update_absolute(self, value, total=None, preview=None):
        self.values.append(value)


def simulated_modules(device: torch.device, output: str) -> dict[str, ModuleType]:
    """The fakes by their names; `comfy.utils.ProgressBar.made` lists the bars."""
    latest = ModuleType("comfy_api.latest")
    kinds = {"Int": "INT", "Float": "FLOAT", "Combo": "COMBO", "Image": "IMAGE", "String": "STRING"}
    kinds |= {"Model": "MODEL", "Vae": "VAE", "Conditioning": "CONDITIONING", "Boolean": "BOOLEAN"}
    kinds |= {"ControlNet": "CONTROL_NET", "Mask": "MASK"}
    latest.io = SimpleNamespace(
        ComfyNode=SimulatedNode,
        Hidden=SimpleNamespace(prompt="PROMPT"),
        Schema=simulated_schema,
        NodeOutput=lambda *result, **_: result,
        Input=object,
        Custom=simulated_socket,
        UploadType=SimpleNamespace(image="image_upload"),
        **{name: simulated_socket(kind) for name, kind in kinds.items()},
    )
    latest.ui, latest.ComfyExtension = SimpleNamespace(PreviewText=str), object
    folders = ModuleType("folder_paths")  # of a ComfyUI without any model
    folders.models_dir = "models"
    folders.folder_names_and_paths = {}
    folders.get_output_directory = folders.get_temp_directory = lambda: output
    folders.get_input_directory = lambda: "input"
    folders.filter_files_content_types = lambda files, kinds: files
    folders.add_model_folder_path = lambda *_, **__: None
    folders.get_folder_paths = folders.get_filename_list = lambda _: []
    fakes = {"comfy_api.latest": latest, "folder_paths": folders}
    modules = "comfy_api", "comfy", "comfy.model_management", "comfy.utils"
    for name in (*modules, "comfy_execution", "comfy_execution.utils"):
        fakes[name] = ModuleType(name)
    management, utils = fakes["comfy.model_management"], fakes["comfy.utils"]
    fakes["comfy"].model_management, fakes["comfy"].utils = management, utils
    fakes["comfy_execution.utils"].get_executing_context = lambda: None
    management.get_torch_device = lambda: device
    management.throw_exception_if_processing_interrupted = lambda: None
    management.free_memory = lambda *_: None
    utils.ProgressBar = type("ProgressBar", (SimulatedProgressBar,), {"made": []})
    return fakes


@contextmanager
def simulated_nodes(device: torch.device = CPU) -> Iterator[ModuleType]:
    """The nodes package, imported over a fake ComfyUI whose work device is `device`."""
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as output:
        for name, fake in simulated_modules(device, output).items():
            patch.setitem(sys.modules, name, fake)
        yield importlib.import_module("latent_map.nodes")
        for name in [name for name in sys.modules if name.startswith("latent_map.nodes")]:
            del sys.modules[name]
