"""Gradients as they are taken on a GPU: by a thread of autograd's own, which knows no context.

On the CPU autograd walks back in the thread that asks. On CUDA it does so in one thread a device:
context variables are at their defaults there for all Python that runs on the way back.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def gradients_in_another_thread() -> Iterator[Callable[[], int]]:
    """A scope whose `torch.autograd.grad` runs in another thread; gives how often it did."""
    here, count = torch.autograd.grad, 0

    def elsewhere(*arguments: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        with ThreadPoolExecutor(1) as threads:
            return threads.submit(here, *arguments, **options).result()

    torch.autograd.grad = elsewhere
    try:
        yield lambda: count
    finally:
        torch.autograd.grad = here
