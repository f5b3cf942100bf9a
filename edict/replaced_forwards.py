"""Modules with other `forward`s of their own for a while.

Threads take turns: one that came in between would compute with what is replaced for another, and
leave it in place.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

# Whoever has it computes forth only, and so never waits for autograd's thread.
TURN = threading.RLock()


@contextmanager
def replaced(forwards: Mapping[nn.Module, Callable[..., Any]]) -> Iterator[None]:
    """Modules with other `forward`s of their own; what they had comes back."""
    with TURN, ExitStack() as exits:
        for module, forward in forwards.items():
            if "forward" in vars(module):
                exits.callback(setattr, module, "forward", vars(module)["forward"])
            else:
                exits.callback(delattr, module, "forward")
            module.forward = forward
        yield
