"""Networks built without memory, no larger than their files."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.modules.module import register_module_parameter_registration_hook

_SLACK = 64  # tensors that a file may lack and still be told of by name


@contextmanager
def outline(tensors: int) -> Iterator[None]:
    """While it lasts, modules are built on the meta device, and with few more weights than a file.

    A configuration may ask for a thousand million layers, which take for ever without memory, too.

    Args:
        tensors: how many the file has.
    Raises: ValueError as soon as more weights than that are asked for.
    """
    builder, most, count = threading.get_ident(), 2 * tensors + _SLACK, 0

    def stop_in_time(*_: Any) -> None:
        nonlocal count
        count += threading.get_ident() == builder
        if count > most:
            raise ValueError(f"it asks for more than {most} weights, the file has {tensors}")

    hook = register_module_parameter_registration_hook(stop_in_time)
    try:
        with torch.device("meta"):
            yield
    finally:
        hook.remove()
