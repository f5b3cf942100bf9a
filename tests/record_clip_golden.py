"""Record what pyiqa's own LIQE and CLIP-IQA make of small random weights.

    python -m tests.record_clip_golden

Needs pyiqa and openai-clip, which does not import beside a current setuptools; the stand-in for
pkg_resources below is for this script alone. Nothing of theirs is kept but their numbers.
"""

import os
import sys
import tempfile
import types
from pathlib import Path

import packaging.version
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests import clip_weights as cw

TARGET = Path(__file__).parent / "data" / "clip_golden" / "golden.safetensors"


def run(score, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The score and its gradient, averaged over blocks of ten pixels to be small."""
    image = image.clone().requires_grad_(True)
    value = score(image)
    (gradient,) = torch.autograd.grad(value.sum(), image)
    return value.detach().flatten(), F.avg_pool2d(gradient, 10).contiguous()


def main() -> None:
    """Build pyiqa's metrics around our weights and keep their scores and gradients."""
    cache = Path(tempfile.mkdtemp())
    (cache / "hub" / "pyiqa").mkdir(parents=True)
    os.environ["TORCH_HOME"] = str(cache)
    packages = types.ModuleType("pkg_resources")
    packages.packaging = packaging
    sys.modules["pkg_resources"] = packages
    from pyiqa.archs import clip_model, clipiqa_arch, liqe_arch

    text = dict(
        context_length=cw.CONTEXT,
        vocab_size=cw.VOCABULARY,
        transformer_width=cw.TEXT_WIDTH,
        transformer_heads=cw.TEXT_WIDTH // 64,
        transformer_layers=cw.TEXT_LAYERS,
    )

    def build(weights, layers, width, patch):
        clip = clip_model.CLIP(cw.FEATURES, 224, layers, width, patch, **text)
        clip.load_state_dict(weights)
        return clip.eval()

    shape = cw.TRANSFORMER
    vision = (shape["layers"], shape["width"], shape["patch"])
    liqe_arch.load = lambda *_: build(cw.transformer_checkpoint(), *vision)
    residual = cw.RESIDUAL
    clipiqa_arch.load = lambda *_: build(
        cw.resnet_checkpoint(), residual["blocks"], residual["width"], None
    )
    golden = {}
    large, small = cw.picture(400, 390), cw.picture(97, 130)
    for name, multitask in (("liqe", False), ("liqe_mix", True)):
        for file in (cache / "hub" / "pyiqa").glob("*"):
            file.unlink()  # it keeps text features under one name, whatever the weights
        metric = liqe_arch.LIQE(pretrained=False, mtl=multitask).eval()
        metric.text_features = metric.text_features.detach()
        golden[f"{name}.score"], golden[f"{name}.gradient"] = run(metric, large)
        golden[f"{name}.text"] = metric.text_features[::7].contiguous()
    for name in ("clipiqa", "clipiqa+"):
        metric = clipiqa_arch.CLIPIQA(name, pretrained=False).eval()
        if name == "clipiqa+":
            metric.prompt_learner.ctx.data = cw.learned_words()
        golden[f"{name}.score"], golden[f"{name}.gradient"] = run(metric, small)
    TARGET.parent.mkdir(exist_ok=True)
    save_file(golden, TARGET)
    for name, value in golden.items():
        print(name, tuple(value.shape), value.flatten()[:3].tolist())


if __name__ == "__main__":
    main()
