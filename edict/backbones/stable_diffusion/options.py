"""What can be chosen of a Stable Diffusion backbone."""

import math
from dataclasses import dataclass, field
from typing import Literal, get_args

Precision = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class StableDiffusionOptions:
    """What all backbones of Stable Diffusion's networks share.

    Strings and numbers only, so that a state can keep them. A field's metadata are for those who
    let users choose: `help`, a line; `kind` "path" for a file or folder; `internal` for what has
    no option of its own on the command line.

    Attributes:
        path: where the networks are.
        control_strength: factor of the ControlNet's residuals, finite.
        prompt, negative: texts; the negative one is used only with guidance.
        cfg: guidance. 1 computes one branch; others two, which doubles the cost.
        dtype: of the network; "auto" is float32 on the CPU, else bfloat16 where there is it, else
            float16. The state stays float64 and the autoencoder float32.
        tokenizer: folder with vocab.json and merges.txt, for prompts with single files.
    """

    path: str = field(metadata={"kind": "path", "internal": True})
    control_strength: float = field(
        default=1.0, metadata={"help": "of the ControlNet, default 1", "needs": "controlnet"}
    )
    prompt: str = field(
        default="", metadata={"help": "what the picture shows, in words; default: empty"}
    )
    negative: str = field(
        default="",
        metadata={"help": "negative prompt, used with --cfg; default: empty", "needs": "cfg"},
    )
    cfg: float = field(
        default=1.0, metadata={"help": "guidance, default 1; others double the cost"}
    )
    dtype: Precision = field(
        default="auto",
        metadata={
            "help": "precision of the network; default: auto, which is float32 on the CPU and "
            "bfloat16 where a GPU has it, else float16"
        },
    )
    tokenizer: str = field(default="", metadata={"kind": "path", "internal": True})

    def __post_init__(self):
        for name in ("cfg", "control_strength"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"{name} {getattr(self, name)} must be a number: 1 is usual")
        if self.dtype not in get_args(Precision):
            raise ValueError(
                f"unknown dtype {self.dtype!r}: choose {', '.join(get_args(Precision))}"
            )

    @property
    def prompts(self) -> list[str]:
        """One per branch."""
        return [self.prompt] if self.cfg == 1 else [self.negative, self.prompt]


@dataclass(frozen=True)
class DiffusersOptions(StableDiffusionOptions):
    """What fixes a diffusers backbone.

    Attributes:
        path: a diffusers folder or a single-file checkpoint.
        controlnet: a diffusers folder or file; "" for none. It sees the picture being enhanced.
        prediction: "auto", which is what the checkpoint, its metadata or a .yaml beside it says; or
            "eps" or "v".
    """

    controlnet: str = field(
        default="", metadata={"help": "its ControlNet, folder or file", "kind": "path"}
    )
    prediction: Literal["auto", "eps", "v"] = field(
        default="auto", metadata={"help": "of the network; default: what the checkpoint says"}
    )
