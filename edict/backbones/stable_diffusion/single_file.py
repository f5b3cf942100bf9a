"""Single-file checkpoints in Stable Diffusion's original (LDM) layout."""

import re
from pathlib import Path

from ....files.network_folder import Part
from ....files.reading import reading
from ....files.weights import file_metadata, find_tensors, read_finite
from .checkpoint import Checkpoint, TextPart, refuse_seesr
from .configs import text_config, unet_config, vae_config
from .distilled import CONSISTENCY, embeds_guidance
from .keys import (
    TEXT,
    UNET,
    VAE,
    Tensors,
    part,
    text_from_clip,
    text_from_open_clip,
    unet_from_ldm,
    vae_from_ldm,
)

SCALING_FACTOR, SDXL_SCALING_FACTOR = 0.18215, 0.13025
# v-prediction SD 2 networks differ from eps ones in nothing but their numbers; this bias of the
# last attention tells them apart (measured by ComfyUI's authors, who use the same limit).
_TELLING_BIAS = "attentions.{}.transformer_blocks.0.norm1.bias"
_TELLING_DEVIATION = 0.09
# Of the Stability AI model metadata standard, and of the original code's configurations.
_STATED = "modelspec.prediction_type"
_PARAMETRIZATION = rb"(?m)^[ \t]*parameterization[ \t]*:[ \t]*[\"']?(\w+)"
_PREDICTIONS = {"epsilon": "eps", "eps": "eps", "v": "v", "v_prediction": "v", "v-prediction": "v"}
_MOST_YAML = 1_000_000
_FLOW_BLOCKS = ("double_blocks.", "joint_blocks.")
_OTHER_SCHEDULES = ("edm_mean", "edm_vpred.sigma_max")


def find_single_file(path: Path, prediction: str = "auto") -> Checkpoint:
    """A single-file checkpoint's parts; its configuration is read off the tensors' shapes.

    Args:
        path: the file.
        prediction: "auto", or what the network predicts: then nothing else is asked.
    Raises: ValueError if it is damaged or no SD 1.5, SD 2.x or SDXL checkpoint.
    """
    tensors = find_tensors(path, "checkpoint")
    refuse_seesr(tensors, path)
    _check_complete(tensors, path)
    text = _find_text(tensors)
    sdxl = len(text) == 2
    unet = unet_from_ldm(part(tensors, UNET))
    config = unet_config(unet, text[-1].config["projection_dim"])
    if ("addition_embed_type" in config) != sdxl:
        raise ValueError(
            f"{path} is an SDXL refiner or unCLIP model: choose an SD 1.5, SD 2.x or SDXL base "
            "checkpoint"
        )
    vae = vae_from_ldm(part(tensors, VAE))
    scaling = SDXL_SCALING_FACTOR if sdxl else SCALING_FACTOR
    return Checkpoint(
        path,
        Part(config, unet),
        Part(vae_config(vae, scaling), vae),
        text,
        _scheduler(tensors, unet, config, prediction),
    )


def _check_complete(tensors: Tensors, path: Path) -> None:
    flow = tuple(prefix + block for prefix in ("", UNET) for block in _FLOW_BLOCKS)
    if any(name.startswith(flow) for name in tensors):
        raise ValueError(
            f"{path} is a flow model (SD 3 or Flux type): load it with ComfyUI's own nodes and "
            "Backbone from Model"
        )
    wanted = {"diffusion network": (UNET,), "autoencoder": (VAE,), "text encoder": tuple(TEXT)}
    for what, prefixes in wanted.items():
        if not any(name.startswith(prefixes) for name in tensors):
            raise ValueError(
                f"{path} has no {what} ({prefixes[0]}...): choose a whole SD 1.5, SD 2.x or SDXL "
                "checkpoint"
            )


def _find_text(tensors: Tensors) -> tuple[TextPart, ...]:
    """The text encoders, in the order in which SDXL joins them."""
    encoders = []
    for prefix, kind in TEXT.items():
        own = part(tensors, prefix)
        if not own:
            continue
        if kind == "clip":
            named = text_from_clip(own)
            config = text_config(named, "quick_gelu")
            encoders.append(TextPart(config, named, None, config["eos_token_id"]))
        else:
            named = text_from_open_clip(own)
            if prefix.startswith("cond_stage_model"):
                named = _without_last_layer(named)  # SD 2 takes the last layer's input
            encoders.append(TextPart(text_config(named, "gelu"), named, None, 0))
    return tuple(encoders)


def _without_last_layer(tensors: Tensors) -> Tensors:
    last = text_config(tensors, "gelu")["num_hidden_layers"] - 1
    unused = (f"encoder.layers.{last}.", "text_projection")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(unused)}


def _scheduler(tensors: Tensors, unet: Tensors, config: dict, prediction: str) -> dict:
    for name in _OTHER_SCHEDULES:
        if name in tensors:
            raise ValueError(
                f"{tensors[name].path} is an EDM model ({name}): choose an SD 1.5, SD 2.x or SDXL "
                "checkpoint with eps- or v-prediction"
            )
    # Of consistency models a single file shows only those that are told their guidance.
    kind = {"_class_name": CONSISTENCY} if embeds_guidance(config) else {}
    v = prediction == "v" or (prediction == "auto" and _predicts_v(tensors, unet, config))
    return {
        **kind,
        "prediction_type": "v_prediction" if v else "epsilon",
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "num_train_timesteps": 1000,
        "rescale_betas_zero_snr": "ztsnr" in tensors,
    }


def _stated_prediction(path: Path) -> str:
    """What the checkpoint's metadata or the .yaml beside it says: "eps", "v", or nothing."""
    said = ""
    if path.suffix.lower() == ".safetensors":
        said = file_metadata(path, "checkpoint").get(_STATED, "")
    for beside in (path.with_suffix(".yaml"), path.with_suffix(".yml")):
        if not said and beside.is_file():
            with reading(beside, "configuration", "mend or remove it"), beside.open("rb") as file:
                found = re.search(_PARAMETRIZATION, file.read(_MOST_YAML))
                said = found[1].decode() if found else ""
    if said and said.lower() not in _PREDICTIONS:
        raise ValueError(
            f"{path} says that it predicts {said[:40]!r}: choose an SD 1.5, SD 2.x or SDXL "
            "checkpoint with eps- or v-prediction, or say the prediction yourself"
        )
    return _PREDICTIONS[said.lower()] if said else ""


def _predicts_v(tensors: Tensors, unet: Tensors, config: dict) -> bool:
    if "v_pred" in tensors:
        return True
    said = _stated_prediction(next(iter(unet.values())).path)
    if said:
        return said == "v"
    sd2 = config["use_linear_projection"] and "addition_embed_type" not in config
    last = len(config["block_out_channels"]) - 1
    bias = f"up_blocks.{last}." + _TELLING_BIAS.format(config["layers_per_block"])
    return (
        sd2 and bias in unet and float(read_finite(unet[bias]).float().std()) > _TELLING_DEVIATION
    )
