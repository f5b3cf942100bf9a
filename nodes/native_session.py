"""ComfyUI's models while one node uses them: opened on first use, given back when the node ends."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

_current: ContextVar["Session | None"] = ContextVar("native_session", default=None)


class Session:
    """What one node's execution has opened; `exits` gives it all back."""

    def __init__(self, exits: ExitStack):
        self.exits = exits
        self._opened: dict[object, Any] = {}

    def once(self, owner: object, open_it: Callable[[ExitStack], Any]) -> Any:
        """What `open_it` made for `owner` when it was first asked for in this session."""
        if owner not in self._opened:
            self._opened[owner] = open_it(self.exits)
        return self._opened[owner]


@contextmanager
def native_session() -> Iterator[None]:
    """The scope in which ComfyUI's models may be used; everything is given back at its end."""
    with ExitStack() as exits:
        token = _current.set(Session(exits))
        exits.callback(_current.reset, token)
        yield


def current_session() -> Session:
    """The running node's session. Raises RuntimeError outside of a node."""
    session = _current.get()
    if session is None:
        raise RuntimeError("ComfyUI's models can be used only while a node of this pack runs")
    return session
