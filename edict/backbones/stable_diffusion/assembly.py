"""A backbone put together from a base checkpoint and networks: checked, named, loaded."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from ....files.network_folder import Part
from ....files.weights import fingerprint
from ...choices import Prediction
from .checkpoint import Checkpoint, TextPart
from .denoiser import Networks
from .distilled import embeds_guidance
from .keys import Tensors
from .networks import check_network, load_network
from .options import StableDiffusionOptions
from .schedule import noise_levels
from .text import Conditioning, check_text_encoders, encode_prompts

Chosen = TypeVar("Chosen", bound=StableDiffusionOptions)


@dataclass(frozen=True)
class Assembly:
    """A backbone's files, found, and the networks for them, nothing loaded.

    Attributes:
        base: where text encoders, autoencoder and noise levels come from.
        unet, controlnet: on disk, by the names of `networks`.
        networks: on the meta device, without weights.
        whose: word for the networks in errors.
        extra: tensors of what the backbone loads itself.
    """

    base: Checkpoint
    unet: Part
    controlnet: Part | None
    networks: Networks
    whose: str = "this"
    extra: Tensors = field(default_factory=dict)

    def parts(self) -> list[tuple[Any, Part, str]]:
        """(network, its files, what it is), in the order of `Networks`."""
        parts = [(self.networks.unet, self.unet, f"{self.whose} UNet")]
        if self.controlnet is not None:
            parts.append((self.networks.controlnet, self.controlnet, f"{self.whose} ControlNet"))
        return [*parts, (self.networks.vae, self.base.vae, "this autoencoder")]

    def check(self) -> None:
        """Raise ValueError unless the files hold these networks; nothing but headers is read."""
        for network, part, what in self.parts():
            check_network(network, part.tensors, what)
        check_text_encoders(self.base)


class Loaded(NamedTuple):
    """An assembly at work.

    Attributes:
        networks: with weights, frozen; the autoencoder is float32 whatever the others are.
        conditioning: the prompts, encoded.
        levels: alphas of the training steps, and what the network predicts.
    """

    networks: Networks
    conditioning: Conditioning
    levels: tuple[Tensor, Prediction]


def load_assembly(
    assembly: Assembly, options: StableDiffusionOptions, device: torch.device
) -> Loaded:
    """Encode the prompts and read the weights.

    Args:
        assembly: checked.
        options: settled.
        device: where the networks run.
    Raises: ValueError if a file is unusable, or a prompt needs a missing tokenizer.
    """
    levels = noise_levels(assembly.base.scheduler, assembly.base.path)
    tokenizer = Path(options.tokenizer) if options.tokenizer else None
    # A network that is told its guidance has one branch.
    told = embeds_guidance(assembly.unet.config)
    prompts = [options.prompt] if told else options.prompts
    conditioning = encode_prompts(assembly.base, prompts, device, tokenizer)
    dtype = choose_dtype(options.dtype, device)
    for network, part, what in assembly.parts():
        own = torch.float32 if network is assembly.networks.vae else dtype
        load_network(network, part.tensors, what, own, device)
    return Loaded(assembly.networks, conditioning, levels)


def settle(options: Chosen, device: torch.device) -> Chosen:
    """Options that mean the same elsewhere: whole paths, and the precision that "auto" is here."""
    given = {place: getattr(options, place) for place in _places(options)}
    places = {place: str(Path(value).absolute()) for place, value in given.items() if value}
    dtype = str(choose_dtype(options.dtype, device)).removeprefix("torch.")
    return replace(options, **places, dtype=dtype)


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """The network's precision on a device.

    bfloat16 before float16: it has float32's range, and gradients need range.
    """
    if name != "auto":
        return getattr(torch, name)
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def hashed_name(
    label: str,
    options: StableDiffusionOptions,
    scheduler: dict[str, Any],
    *groups: Sequence[Part | TextPart],
) -> str:
    """A backbone's name: a label, and a hash of all that its map depends on.

    Saved states hold such names: the order of groups, and of the parts in them, must stay.

    Args:
        label: begins the name.
        options: settled. Its paths do not count: files may move, and what they hold is hashed.
        scheduler: diffusers' scheduler configuration.
        groups: the parts on disk; the files of a group are hashed in the order of their paths.
    """
    facts = asdict(options)
    for place in _places(options):
        facts.pop(place)
    files = []
    for group in groups:
        files += sorted({stored.path for part in group for stored in part.tensors.values()})
    configs = [part.config for group in groups for part in group if part.config]
    described = json.dumps([facts, scheduler, configs, fingerprint(files)], sort_keys=True)
    return f"{label} {hashlib.sha256(described.encode()).hexdigest()[:16]}"


def _places(options: StableDiffusionOptions) -> list[str]:
    return [option.name for option in fields(options) if option.metadata.get("kind") == "path"]
