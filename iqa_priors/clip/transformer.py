"""CLIP's transformer image tower: transformers' own, and the same on pictures of any size."""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .resnet import resampled

HEAD = 64  # channels of an attention head in all of OpenAI's CLIPs


class VisionShape(NamedTuple):
    """Sizes of a transformer image tower; the default is ViT-B/32's."""

    width: int = 768
    layers: int = 12
    features: int = 512
    patch: int = 32
    side: int = 224


def build_vision(shape: VisionShape) -> nn.Module:
    """The tower, with starting weights."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=shape.width,
        intermediate_size=4 * shape.width,
        projection_dim=shape.features,
        num_hidden_layers=shape.layers,
        num_attention_heads=max(1, shape.width // HEAD),
        image_size=shape.side,
        patch_size=shape.patch,
    )
    return CLIPVisionModelWithProjection(config)


def encode_any_size(tower: Any, image: Tensor) -> Tensor:
    """Embeddings (B, features) of normalised pictures (B, 3, H, W) of a patch or more.

    The table of positions is resampled along its list, as CLIP-IQA has it, not along rows and
    columns; what is beyond the last whole patch is not seen.
    """
    embeddings, inner = tower.vision_model.embeddings, tower.vision_model
    patches = embeddings.patch_embedding(image).flatten(2).mT
    tokens = torch.cat((embeddings.class_embedding.expand(len(image), 1, -1), patches), 1)
    tokens = tokens + resampled(embeddings.position_embedding.weight, tokens.shape[1])
    states = inner.encoder(inputs_embeds=inner.pre_layrnorm(tokens)).last_hidden_state
    return tower.visual_projection(inner.post_layernorm(states[:, 0]))
