"""CLIP on transformers, from checkpoints in OpenAI's, pyiqa's or Hugging Face's layout.

openai-clip is not needed: it no longer imports beside a current setuptools.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...files.checksums import sha256_of
from ...files.constants import constant
from ...files.outlines import outline
from ...files.pickles import is_program
from ...files.reading import reading
from ...files.weights import check_module, find_tensors, load_module, read_weights
from .resnet import ClipResnet, ResnetShape
from .transformer import HEAD, VisionShape, build_vision, encode_any_size

WHAT = "CLIP checkpoint"
STEADINESS = 30.0  # of the texts of a CLIP trained from nothing
MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's training pictures
DEVIATION = (0.26862954, 0.26130258, 0.27577711)
# OpenAI publishes TorchScript programs, which PyTorch cannot read as weights only. These digests
# are part of their addresses; nothing else of that format is opened.
OPENAI_PROGRAMS = {
    "afeb0e10f9e5a86da6080e35cf09123aca3b358a0c3e3b6c78a7b63bc04b6762": "RN50.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32.pt",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14.pt",
}
NOT_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "position_ids")

# Beginnings of names; OpenAI's first, then those of transformers.
_TEXT_NAMES = {
    "transformer.resblocks.": "text.text_model.encoder.layers.",
    "token_embedding.": "text.text_model.embeddings.token_embedding.",
    "positional_embedding": "text.text_model.embeddings.position_embedding.weight",
    "ln_final.": "text.text_model.final_layer_norm.",
    "text_model.": "text.text_model.",
    "text_projection.": "text.text_projection.",
}
_VISION_NAMES = {
    "visual.class_embedding": "visual.vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "visual.vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "visual.vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.": "visual.vision_model.pre_layrnorm.",
    "visual.ln_post.": "visual.vision_model.post_layernorm.",
    "visual.transformer.resblocks.": "visual.vision_model.encoder.layers.",
    "vision_model.": "visual.vision_model.",
    "visual_projection.": "visual.visual_projection.",
}
_IN_LAYERS = {
    ".attn.": ".self_attn.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
}
# Matrices in OpenAI's files, layers, hence transposed, in transformers.
_MATRICES = {
    "text_projection": "text.text_projection.weight",
    "visual.proj": "visual.visual_projection.weight",
}


class TextShape(NamedTuple):
    """Sizes of the text tower; the default is ViT-B/32's."""

    width: int = 512
    layers: int = 12
    features: int = 512
    context: int = 77
    vocabulary: int = 49408


class ClipShape(NamedTuple):
    """Sizes of a CLIP; the default is ViT-B/32."""

    image: VisionShape | ResnetShape = VisionShape()
    text: TextShape = TextShape()


class Clip(nn.Module):
    """Two towers whose embeddings of pictures and of texts can be compared.

    Weights are named as in transformers, a residual image tower's as in OpenAI's files below
    `visual.`. It computes in float32, or in the type its weights are given.

    Source: Radford et al., arXiv 2103.00020.
    """

    def __init__(self, shape: ClipShape):
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection

        super().__init__()
        text = CLIPTextConfig(
            vocab_size=shape.text.vocabulary,
            hidden_size=shape.text.width,
            intermediate_size=4 * shape.text.width,
            projection_dim=shape.text.features,
            num_hidden_layers=shape.text.layers,
            num_attention_heads=max(1, shape.text.width // HEAD),
            max_position_embeddings=shape.text.context,
            # By the token, not by the largest number: learned prompts have numbers beyond it.
            eos_token_id=49407,
        )
        self.shape = shape
        self.text = CLIPTextModelWithProjection(text)
        image = shape.image
        self.visual = ClipResnet(image) if isinstance(image, ResnetShape) else build_vision(image)
        self.logit_scale = nn.Parameter(torch.tensor(4.6052))  # 1 / tau = 100, as trained

    def encode_image(self, image: Tensor, positions: bool = False) -> Tensor:
        """Embeddings (B, features), of length 1, of RGB pictures in [0, 1], (B, 3, H, W).

        Args:
            image: a transformer tower takes its own side (224) only, without `positions`.
            positions: whether the tower is told positions, resampled to the picture's size; a
                transformer always is at its own side.
        """
        mean, deviation = (constant(v, image).view(3, 1, 1) for v in (MEAN, DEVIATION))
        normalised = (image - mean) / deviation
        if isinstance(self.visual, ClipResnet):
            features = self.visual(normalised, positions)
        elif positions:
            features = encode_any_size(self.visual, normalised)
        else:
            features = self.visual(pixel_values=normalised).image_embeds
        return features / features.norm(dim=-1, keepdim=True)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embeddings (V, features), of length 1, of tokens (V, context)."""
        features = self.text(input_ids=tokens).text_embeds
        return features / features.norm(dim=-1, keepdim=True)

    def drop_text(self) -> None:
        """Free the text tower, whose work is done when the prompts are encoded."""
        self.text = nn.Identity()


@torch.no_grad()
def initialise(
    clip: Clip,
    temperature: float = 1 / 30,
    texts: Tensor | None = None,
    pictures: Tensor | None = None,
) -> Clip:
    """Draw random weights with which a small CLIP can be trained from nothing; returns it.

    Transformers' own starting weights embed all pictures and all texts alike, and a ranking loss
    does not get away from there. Here layers keep the size of what they are given, words differ,
    and the patches' filters see fine detail alone, which tells distorted pictures apart.

    Args:
        clip: its weights are overwritten.
        temperature: that similarities are divided by.
        texts: tokens (V, context), V > 1, whose embeddings are to point in different directions.
            Their tower's weights are enlarged as well, so that a step of Adam turns them less: a
            ranking that is wrong at first makes texts equal, where the pictures' gradient is 0.
        pictures: (B, 3, side, side), RGB in [0, 1], B > 1, whose embeddings are to point in
            different directions; needs a transformer as image tower.
    """
    for name, weight in clip.named_parameters():
        if "token_embedding" in name:
            weight.normal_()
        elif "position_embedding" in name or "class_embedding" in name:
            weight.normal_(0, 0.3)
        elif weight.ndim > 1:
            weight.normal_(0, weight[0].numel() ** -0.5)
        if "patch_embedding" in name:
            smooth = F.avg_pool2d(F.pad(weight, (1, 1, 1, 1), mode="reflect"), 3, stride=1)
            weight.sub_(smooth).sub_(weight.mean((2, 3), keepdim=True))
    clip.logit_scale.fill_(-math.log(temperature))
    if texts is not None:
        _steady(clip.text)
        text: Any = clip.text.text_model
        text.final_layer_norm.bias.sub_(text(input_ids=texts).pooler_output.mean(0))
    if pictures is not None:
        mean, deviation = (pictures.new_tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
        tower: Any = clip.visual.vision_model
        embeddings = tower(pixel_values=(pictures - mean) / deviation).pooler_output
        tower.post_layernorm.bias.sub_(embeddings.mean(0))
    return clip


def _steady(text: nn.Module) -> None:
    """Enlarge what a later normalisation divides out again, and Adam's steps count for less."""
    kept = ("q_proj", "k_proj", "fc1", "fc2", "layer_norm1", "layer_norm2")
    for name, weight in text.named_parameters():
        if not any(part in name for part in kept):
            weight.mul_(STEADINESS)


def load_clip(path: Path) -> Clip:
    """Read a CLIP with frozen weights, float32.

    Args:
        path: safetensors or PyTorch weights in OpenAI's, pyiqa's (LIQE) or Hugging Face's layout,
            or one of OpenAI's own programs, checked by its digest.
    Raises: ValueError naming the file if it is missing, damaged, unsafe or no CLIP.
    """
    return built_clip(_read(path), path)


def built_clip(given: Mapping[str, Tensor], path: Path) -> Clip:
    """A CLIP of a checkpoint's tensors, frozen. Raises ValueError, with the file, if it is none."""
    with reading(path, f"{WHAT} that is known here", "choose another"):
        tensors = clip_tensors(given)
        shape = shape_of(tensors)
        with outline(len(tensors)):
            outlined = Clip(shape)
    check_module(outlined, tensors, "", path)
    clip = load_module(Clip(shape), tensors, "", path)
    assert isinstance(clip, Clip)
    return clip


def clip_tensors(given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint's tensors under the names of `Clip`, from any of the layouts."""
    resnet = any(name.endswith("visual.attnpool.q_proj.weight") for name in given)
    renamed: dict[str, Tensor] = {}
    for name, value in given.items():
        short = name.removeprefix("module.").removeprefix("clip_model.")
        if not short.endswith(NOT_WEIGHTS):
            renamed |= dict(_renamed(short, value, resnet))
    return renamed


def _renamed(name: str, value: Tensor, resnet: bool) -> list[tuple[str, Tensor]]:
    if name in _MATRICES:
        return [(_MATRICES[name], value.T)]
    names = _TEXT_NAMES if resnet else _TEXT_NAMES | _VISION_NAMES
    new = next((new + name[len(old) :] for old, new in names.items() if name.startswith(old)), name)
    if ".layers." in new:
        for old, fresh in _IN_LAYERS.items():
            new = new.replace(old, fresh)
    if ".in_proj_" in new:  # query, key and value in one
        parts = (new.replace(".in_proj_", f".{part}_proj.") for part in "qkv")
        return list(zip(parts, value.chunk(3), strict=True))
    return [(new, value)]


def shape_of(tensors: Mapping[str, Tensor]) -> ClipShape:
    """Sizes of a CLIP, from its tensors under the names of `Clip`.

    Raises: KeyError where one is missing.
    """
    embeddings = "text.text_model.embeddings"
    features, width = tensors["text.text_projection.weight"].shape
    context = len(tensors[f"{embeddings}.position_embedding.weight"])
    vocabulary = len(tensors[f"{embeddings}.token_embedding.weight"])
    layers = _count(tensors, r"text\.text_model\.encoder\.layers\.(\d+)\.")
    return ClipShape(_image_shape(tensors), TextShape(width, layers, features, context, vocabulary))


def _image_shape(tensors: Mapping[str, Tensor]) -> VisionShape | ResnetShape:
    if "visual.attnpool.q_proj.weight" in tensors:
        blocks = tuple(_count(tensors, rf"visual\.layer{i}\.(\d+)\.") for i in (1, 2, 3, 4))
        width = len(tensors["visual.conv3.weight"])
        features = len(tensors["visual.attnpool.c_proj.weight"])
        positions = tensors.get("visual.attnpool.positional_embedding", ())
        return ResnetShape(blocks, width, features, len(positions))
    embeddings = "visual.vision_model.embeddings"
    width, _, patch, _ = tensors[f"{embeddings}.patch_embedding.weight"].shape
    grid = round((len(tensors[f"{embeddings}.position_embedding.weight"]) - 1) ** 0.5)
    layers = _count(tensors, r"visual\.vision_model\.encoder\.layers\.(\d+)\.")
    features = len(tensors["visual.visual_projection.weight"])
    return VisionShape(width, layers, features, patch, grid * patch)


def _count(names: Mapping[str, Tensor], pattern: str) -> int:
    return 1 + max((int(m[1]) for n in names if (m := re.match(pattern, n))), default=-1)


def _read(path: Path) -> dict[str, Tensor]:
    if is_program(path):
        digest = sha256_of(path)
        if digest not in OPENAI_PROGRAMS:
            names = ", ".join(OPENAI_PROGRAMS.values())
            raise ValueError(
                f"{path} is a TorchScript program and none of OpenAI's {names}, whose digests are "
                "known: convert it to .safetensors, or fetch it again"
            )
    return read_weights(find_tensors(path, WHAT))
