"""Small CLIPs with weights that are the same on every machine, for tests and their recorder."""

from functools import cache

import numpy as np
import torch

CONTEXT, VOCABULARY = 77, 49408
FEATURES, TEXT_WIDTH, TEXT_LAYERS = 32, 128, 2
TRANSFORMER = {"width": 128, "layers": 2, "patch": 32, "side": 224}
RESIDUAL = {"width": 8, "blocks": (1, 2, 1, 1)}
LEARNED_WORDS = 16
CROP_SIDE = 32  # of `small_clip`


def draw(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal numbers; numpy promises this generator's stream for ever, the newer ones' not."""
    numbers = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(numbers.astype(np.float32))


def transformer_layers(prefix: str, width: int, count: int) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for index in range(count):
        block = f"{prefix}.resblocks.{index}"
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
            f"{block}.mlp.c_proj.bias": (width,),
        }
        for norm in ("ln_1", "ln_2"):
            shapes |= {f"{block}.{norm}.weight": (width,), f"{block}.{norm}.bias": (width,)}
    return shapes


def text_shapes() -> dict[str, tuple[int, ...]]:
    return {
        "positional_embedding": (CONTEXT, TEXT_WIDTH),
        "text_projection": (TEXT_WIDTH, FEATURES),
        "token_embedding.weight": (VOCABULARY, TEXT_WIDTH),
        "ln_final.weight": (TEXT_WIDTH,),
        "ln_final.bias": (TEXT_WIDTH,),
        **transformer_layers("transformer", TEXT_WIDTH, TEXT_LAYERS),
    }


def vision_shapes() -> dict[str, tuple[int, ...]]:
    width, patch = TRANSFORMER["width"], TRANSFORMER["patch"]
    positions = (TRANSFORMER["side"] // patch) ** 2 + 1
    norms = {f"visual.{n}.{p}": (width,) for n in ("ln_pre", "ln_post") for p in ("weight", "bias")}
    return {
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (positions, width),
        "visual.proj": (width, FEATURES),
        "visual.conv1.weight": (width, 3, patch, patch),
        **norms,
        **transformer_layers("visual.transformer", width, TRANSFORMER["layers"]),
    }


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    shapes = {f"{name}.{part}": (channels,) for part in parts}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def resnet_shapes() -> dict[str, tuple[int, ...]]:
    width, shapes = RESIDUAL["width"], {}
    for index, (before, after) in enumerate(
        ((3, width // 2), (width // 2,) * 2, (width // 2, width))
    ):
        shapes[f"visual.conv{index + 1}.weight"] = (after, before, 3, 3)
        shapes |= norm_shapes(f"visual.bn{index + 1}", after)
    channels = width
    for stage, count in enumerate(RESIDUAL["blocks"]):
        inner = width * 2**stage
        for index in range(count):
            block = f"visual.layer{stage + 1}.{index}"
            sizes = ((inner, channels, 1, 1), (inner, inner, 3, 3), (4 * inner, inner, 1, 1))
            for number, size in enumerate(sizes, start=1):
                shapes[f"{block}.conv{number}.weight"] = size
                shapes |= norm_shapes(f"{block}.bn{number}", size[0])
            if not index:
                shapes[f"{block}.downsample.0.weight"] = (4 * inner, channels, 1, 1)
                shapes |= norm_shapes(f"{block}.downsample.1", 4 * inner)
            channels = 4 * inner
    pool = "visual.attnpool"
    shapes[f"{pool}.positional_embedding"] = (50, channels)
    for part, size in (("q", channels), ("k", channels), ("v", channels), ("c", FEATURES)):
        shapes |= {
            f"{pool}.{part}_proj.weight": (size, channels),
            f"{pool}.{part}_proj.bias": (size,),
        }
    return shapes


def random_weights(shapes: dict[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    """Weights of these shapes, of sizes at which every part of the network matters."""
    weights = {"logit_scale": torch.tensor(2.3)}
    for seed, (name, shape) in enumerate(sorted(shapes.items())):
        numbers = draw(seed, shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.zeros((), dtype=torch.int64)
        elif name.endswith("running_var") or (len(shape) == 1 and name.endswith(".weight")):
            weights[name] = 1 + 0.2 * numbers.abs()
        elif len(shape) < 2 or "embedding" in name:
            weights[name] = 0.3 * numbers
        elif name in ("visual.proj", "text_projection"):
            weights[name] = numbers / shape[0] ** 0.5
        else:
            weights[name] = numbers / numbers[0].numel() ** 0.5
    return weights


@cache
def transformer_checkpoint() -> dict[str, torch.Tensor]:
    """Weights of a small CLIP with a transformer as image tower, named as in OpenAI's files."""
    return random_weights(text_shapes() | vision_shapes())


@cache
def resnet_checkpoint() -> dict[str, torch.Tensor]:
    """Weights of a small CLIP with a residual image tower, named as in OpenAI's files."""
    return random_weights(text_shapes() | resnet_shapes())


def learned_words() -> torch.Tensor:
    """CLIP-IQA+'s learned words for good and for bad, (2, 16, width)."""
    return 0.3 * draw(1001, (2, LEARNED_WORDS, TEXT_WIDTH))


def picture(height: int, width: int, seed: int = 2001) -> torch.Tensor:
    """Noise over large blots, RGB in [0, 1], (1, 3, height, width)."""
    blots = draw(seed, (1, 3, 9, 9))
    coarse = torch.nn.functional.interpolate(blots, size=(height, width), mode="nearest")
    return torch.sigmoid(coarse + 0.7 * draw(seed + 1, (1, 3, height, width)))


def small_clip(seed: int = 0) -> torch.nn.Module:
    """A CLIP of starting weights that looks at crops of CROP_SIDE."""
    from latent_map.iqa_priors.clip.model import Clip, ClipShape, TextShape, VisionShape, initialise

    torch.manual_seed(seed)
    shape = ClipShape(VisionShape(64, 2, 32, 8, CROP_SIDE), TextShape(64, 1, 32))
    return initialise(Clip(shape))
