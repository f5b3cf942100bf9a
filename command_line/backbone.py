"""Which backbone a command works with."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..edict.backbones import BACKBONES, chosen_acceleration
from ..edict.choices import Acceleration
from .arguments import option, options_of

if TYPE_CHECKING:
    from ..edict.protocols import Backbone

PLAIN = "diffusers"  # the type of a path that names none


@dataclass(frozen=True, kw_only=True)
class BackboneChoice:
    """One of the backbone types, and its options that were given."""

    backbone: str = option(
        "pocket, a preview of the method; a diffusers folder or single-file checkpoint of SD "
        "1.5, 2.x or SDXL; or "
        + ", ".join(f"{name}:FOLDER" for name in BACKBONES if name not in ("pocket", PLAIN)),
        default="pocket",
        metavar="PATH",
    )
    acceleration: Acceleration = option(
        "how networks are called: graph replays CUDA graphs (of checkpoints, on CUDA), compile "
        "takes torch.compile (minutes at the first call of each picture size), none calls them "
        "plainly; auto (default) is graph where that is possible, else none",
        default="auto",
    )
    compile: bool = option("the same as --acceleration compile", default=False)
    given: dict[str, Any] = options_of(lambda: [row.options for row in BACKBONES.values()])

    def files(self) -> list[Path]:
        """The files and folders that it names."""
        fields_ = {f.name: f for row in BACKBONES.values() for f in fields(row.options)}
        named = [v for k, v in self.given.items() if fields_[k].metadata.get("kind") == "path"]
        places = (self.backbone.partition(":")[2], self.backbone, *named)
        return [Path(place) for place in places if place]

    def checked(self) -> Loading:
        """What is to be loaded.

        Raises: ValueError for a path that does not exist, options of another type or that would
            change nothing, or two accelerations.
        """
        acceleration = chosen_acceleration(self.compile, self.acceleration)
        name, _, path = self.backbone.partition(":")
        if name not in BACKBONES:  # a path, which on Windows may have a colon
            name, path = PLAIN, self.backbone
        known = {field.name: field for field in fields(BACKBONES[name].options)}
        for option_name in self.given:
            if option_name not in known:
                raise ValueError(
                    f"--{option_name.replace('_', '-')} does not go with --backbone "
                    f"{self.backbone}: leave it out, or choose another backbone"
                )
            needed = known.get(known[option_name].metadata.get("needs", ""))
            if needed and self.given.get(needed.name, needed.default) == needed.default:
                raise ValueError(
                    f"--{option_name.replace('_', '-')} changes nothing without --{needed.name}: "
                    "give both, or leave it out"
                )
        chosen = {"path": path, **self.given} if "path" in known else self.given
        for option_name, value in chosen.items():
            is_path = known[option_name].metadata.get("kind") == "path"
            if is_path and not (value.strip() and Path(value).exists()):
                raise ValueError(
                    f"there is no {value!r}: give a file or folder, or --backbone pocket"
                )
        return Loading(name, chosen, acceleration)


@dataclass(frozen=True)
class Loading:
    """A backbone whose options have been checked, not loaded yet."""

    name: str
    options: dict[str, Any]
    acceleration: Acceleration

    def load(self, device: str) -> Backbone:
        """Load it."""
        from ..edict.backbones import load_backbone

        return load_backbone(self.name, device, acceleration=self.acceleration, **self.options)
