"""What can be chosen of the measures, for those who list it before torch is there."""

from typing import Literal, get_args

Reduction = Literal["mse", "rms", "l2"]
Planes = Literal["rgb", "luma"]
Start = Literal["noise", "jpeg"]
# Of the options of `load_fidelity`.
CHOICES: dict[str, tuple[str, ...]] = {
    "reduction": get_args(Reduction),
    "planes": get_args(Planes),
}


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise ValueError if a value is not one of an option's choices."""
    if value not in choices:
        *others, last = choices
        raise ValueError(f"unknown {option} {value!r}: choose {', '.join(others)} or {last}")
