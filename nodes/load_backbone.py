"""Node: load a diffusion backbone from the pack or from ComfyUI's model folders."""

import os
from pathlib import Path
from typing import Any, get_args

import comfy.model_management as mm
import folder_paths
import torch
from comfy_api.latest import io

from ..edict.backbones import load_backbone
from ..edict.backbones.stable_diffusion.options import Precision
from ..edict.choices import Acceleration
from .schema_fields import found_as
from .session import outside_inference_mode
from .shared_inputs import advanced, control_strength, guidance
from .sockets import CATEGORY, Backbone

NOTHING = "none"
# The node's words, which are ComfyUI's, and the library's.
PREDICTIONS = {"auto": "auto", "epsilon": "eps", "v": "v"}
ACCELERATIONS = ("acceleration", "compile")  # any backbone has them
SEESR = "seesr"  # folder of ComfyUI's models, and name in extra_model_paths.yaml


class LoadBackbone(io.ComfyNode):
    """A diffusion model for the other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Inputs and outputs."""
        return io.Schema(
            node_id="DLM_LoadBackbone",
            display_name="Load Backbone (diffusion model)",
            category=CATEGORY,
            is_experimental=True,
            **found_as(
                "backbone, diffusion model, checkpoint, pocket, SeeSR, diffusers, load model"
            ),
            description="Loads the diffusion model that turns pictures into noise and back.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=["pocket", *_checkpoints(), *_seesr_models()],
                    default="pocket",
                    tooltip="pocket: the small network inside the pack, no download. It is a "
                    "preview of the method, not Stable Diffusion. Others: SD 1.5, SD 2.x and SDXL "
                    "in models/checkpoints and models/diffusers, SeeSR in models/seesr.",
                ),
                *_options(),
            ],
            outputs=[
                Backbone.Output(
                    display_name="backbone",
                    tooltip="The model, for EDICT Invert and Post-Enhance.",
                )
            ],
        )

    @classmethod
    @outside_inference_mode
    def execute(cls, name: str, **options: Any) -> io.NodeOutput:
        """Load it onto ComfyUI's device."""
        kind, chosen = _resolve(name, options)
        if "path" in chosen:
            _make_room(Path(chosen["path"]))
        return io.NodeOutput(load_backbone(kind, mm.get_torch_device(), **chosen))


def _options() -> list[Any]:
    """Inputs that go with a checkpoint; workflows made before there were any need none."""
    return [
        io.Combo.Input(
            "controlnet",
            options=[NOTHING, *_controlnets()],
            default=NOTHING,
            optional=True,
            tooltip="A ControlNet of the checkpoint's family, such as tile, from "
            "models/controlnet. It sees the picture being enhanced. SeeSR has its own.",
        ),
        control_strength("control_strength", optional=True),
        io.String.Input(
            "prompt",
            default="",
            optional=True,
            tooltip="What is in the picture. Empty, as the method has it, is a safe choice.",
        ),
        io.String.Input(
            "negative",
            default="",
            optional=True,
            tooltip="What to keep away from; used when cfg is not 1.",
        ),
        guidance(optional=True),
        io.Combo.Input(
            "dtype",
            options=list(get_args(Precision)),
            default="auto",
            optional=True,
            tooltip="Precision of the network. auto: bfloat16 on GPUs that have it, float32 on "
            "the CPU. The noise stays exact in any.",
        ),
        io.Combo.Input(
            "base",
            options=[NOTHING, *_checkpoints()],
            default=NOTHING,
            optional=True,
            tooltip="For SeeSR only: the SD 2.0 or 2.1 base checkpoint that gives it text encoder "
            "and autoencoder.",
        ),
        advanced(
            io.Boolean.Input(
                "compile",
                default=False,
                optional=True,
                tooltip="The same as acceleration compile, from before there was that choice.",
            )
        ),
        advanced(
            io.Combo.Input(
                "prediction",
                options=list(PREDICTIONS),
                default="auto",
                optional=True,
                tooltip="What the network predicts. auto: what the checkpoint, its metadata or a "
                ".yaml beside it says. Choose v for a v-prediction checkpoint that gives noise.",
            )
        ),
        advanced(
            io.Combo.Input(
                "acceleration",
                options=list(get_args(Acceleration)),
                default="auto",
                optional=True,
                tooltip="How the networks are called. graph: replayed as CUDA graphs: the same "
                "bits, sooner; for checkpoints on CUDA, not yet run on a GPU by its "
                "authors, so each is compared with a plain call at first. auto: graph "
                "where possible, else none. none: plainly. compile: torch.compile, "
                "minutes at first. What fails goes on plainly.",
            )
        ),
    ]


def _resolve(name: str, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and options of `load_backbone` from the node's inputs."""
    if name == "pocket":
        return name, {key: options[key] for key in ACCELERATIONS if key in options}
    prefix = name.partition(": ")[0]
    base, controlnet = options.pop("base", NOTHING), options.pop("controlnet", NOTHING)
    prediction = PREDICTIONS[options.pop("prediction", "auto")]
    chosen = {"tokenizer": _tokenizer(), **options}
    if not prefix.startswith(SEESR):
        chosen["prediction"] = prediction
        control = "" if controlnet == NOTHING else _controlnets()[controlnet]
        return "diffusers", {"path": _checkpoints()[name], "controlnet": control, **chosen}
    if base == NOTHING:
        raise ValueError(f"{name} needs an SD 2.0 or 2.1 checkpoint: choose one as base")
    if controlnet != NOTHING:
        raise ValueError(f"{name} has a ControlNet of its own: set controlnet to {NOTHING}")
    if prediction == "v":
        raise ValueError(f"{name} predicts noise: set prediction to auto")
    chosen["without_dape"] = prefix != SEESR
    return SEESR, {"path": _seesr_models()[name], "base": _checkpoints()[base], **chosen}


def _tokenizer() -> str:
    """CLIP's vocabulary, which comes with ComfyUI: single-file checkpoints hold none."""
    folder = Path(mm.__file__ or "").with_name("sd1_tokenizer")
    return str(folder) if folder.is_dir() else ""


def _checkpoints() -> dict[str, str]:
    """Checkpoints in ComfyUI's folders: how the node calls them, and where they are."""
    return {
        **_files("checkpoints", "checkpoint: "),
        **_folders("diffusers", "model_index.json", "diffusers: "),
    }


def _controlnets() -> dict[str, str]:
    return {**_files("controlnet", ""), **_folders("controlnet", "config.json", "")}


def _seesr_models() -> dict[str, str]:
    folder_paths.add_model_folder_path(SEESR, os.path.join(folder_paths.models_dir, SEESR))
    models = {}
    for inner, path in _folders(SEESR, os.path.join("controlnet", "config.json"), "").items():
        models[f"{SEESR}: {inner}"] = path
        models[f"{SEESR} without DAPE: {inner}"] = path
    return models


def _files(kind: str, prefix: str) -> dict[str, str]:
    names = folder_paths.get_filename_list(kind)
    return {prefix + name: str(folder_paths.get_full_path(kind, name)) for name in names}


def _folders(kind: str, mark: str, prefix: str) -> dict[str, str]:
    """Folders that hold the file `mark`, named by their place among the models."""
    folders: dict[str, str] = {}
    for top in folder_paths.get_folder_paths(kind):
        for folder, inner, _ in os.walk(top, followlinks=True):
            if os.path.exists(os.path.join(folder, mark)):
                folders.setdefault(prefix + os.path.relpath(folder, top), folder)
                inner.clear()
    return folders


def _make_room(path: Path) -> None:
    """Ask ComfyUI to unload other models if this one needs their memory."""
    files = path.rglob("*.safetensors") if path.is_dir() else [path]
    # ComfyUI's own weights must be moved in inference mode, or they are spoilt for it.
    with torch.inference_mode():
        mm.free_memory(sum(file.stat().st_size for file in files), mm.get_torch_device())
