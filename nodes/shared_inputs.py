"""Inputs that several nodes have."""

from typing import Any, TypeVar

from comfy_api.latest import io

from .sockets import MapState, Regions

Widget = TypeVar("Widget", bound=io.Input)


def advanced(widget: Widget) -> Widget:
    """The widget, marked as one that frontends may fold away; older cores take it only so."""
    widget.extra_dict = {**(widget.extra_dict or {}), "advanced": True}
    return widget


def switch(
    name: str, governs: dict[str, float], labels: tuple[str, str], tooltip: str, on: bool = False
) -> io.Boolean.Input:
    """A toggle that says whether other widgets count.

    Args:
        name: of the toggle.
        governs: the widgets, and the number by which each once said "off": see queued_prompts.
        labels: what it shows when it is off, and on.
        tooltip: what it decides.
        on: how it is at first.
    """
    off_label, on_label = labels
    widget = io.Boolean.Input(
        name,
        default=on,
        optional=True,
        label_off=off_label,
        label_on=on_label,
        tooltip=tooltip,
    )
    widget.extra_dict = {**(widget.extra_dict or {}), "governs": governs}
    return widget


def tile() -> io.Int.Input:
    """Side of the networks' tiles, where it is not left to the memory that is free."""
    widget = io.Int.Input(
        "tile",
        default=1024,
        min=64,
        max=16384,
        step=64,
        optional=True,
        tooltip="Where own_tile is on: side in pixels of the tiles that the networks work on, a "
        "multiple of 64. Smaller ones need less memory and more time: with the small test "
        "networks, tiles of 256 took a 2048 px picture from 3.5 to 0.5 GB and 1.3 times as long. A "
        "picture no larger is worked on as a whole. Below 256 Stable Diffusion sees too little.",
    )
    return advanced(widget)


def own_tile() -> io.Boolean.Input:
    """Whether `tile` counts."""
    return advanced(
        switch(
            "own_tile",
            {"tile": 0},
            ("as memory allows", "own"),
            "How large the networks' tiles are: the largest that fit into half of the free memory, "
            "or your own.",
        )
    )


def preview_every() -> io.Int.Input:
    """How often the picture is shown while it is worked on."""
    return io.Int.Input(
        "preview_every",
        default=1,
        min=1,
        max=1000,
        tooltip="Show the best picture so far each so many iterations. Another interval alone "
        "computes nothing anew.",
    )


def preview() -> io.Boolean.Input:
    """Whether the picture is shown while it is worked on."""
    return switch(
        "preview",
        {"preview_every": 0},
        ("off", "on"),
        "Whether the best picture so far is shown while the node works.",
        on=True,
    )


def regions() -> io.Input:
    """Where changes count more."""
    return Regions.Input(
        "regions",
        optional=True,
        tooltip="Regions where changes count more, each with a weight, from Region Weight.",
    )


def resume() -> io.Boolean.Input:
    """Whether to go on with what an interrupted run has left."""
    return io.Boolean.Input(
        "resume",
        default=True,
        optional=True,
        label_off="start anew",
        label_on="go on",
        tooltip="What to do when an earlier run with the same picture and settings was "
        "interrupted: go on from its state in output/latent_map, or start anew. Iterations may "
        "differ.",
    )


def state() -> io.Input:
    """What was left on an earlier run, given on purpose."""
    return MapState.Input(
        "state",
        optional=True,
        tooltip="A state to go on from on purpose, from Load MAP State: of the same picture and "
        "settings, or it is refused.",
    )


def check_gradient() -> io.Boolean.Input:
    """Whether the first gradient is compared with what small steps change."""
    widget = io.Boolean.Input(
        "check_gradient",
        default=True,
        optional=True,
        tooltip="Compare the gradients of network, decoder and prior with what small steps change, "
        "at the price of some eight network calls, and warn in the log if some patch of the model "
        "spoils one.",
    )
    return advanced(widget)


def guidance(**more: Any) -> io.Float.Input:
    """Guidance by the prompt."""
    return io.Float.Input(
        "cfg",
        default=1.0,
        min=0.0,
        max=100.0,
        step=0.1,
        round=0.01,
        tooltip="Guidance by the prompt. 1 is the method's and one network call; other values take "
        "two, one of them with the negative prompt, and make the gradient steep.",
        **more,
    )


def control_strength(name: str, **more: Any) -> io.Float.Input:
    """How much a ControlNet weighs."""
    return io.Float.Input(
        name,
        default=1.0,
        min=0.0,
        max=10.0,
        step=0.01,
        round=0.001,
        tooltip="How much the ControlNet given to this node weighs, SeeSR's own too.",
        **more,
    )
