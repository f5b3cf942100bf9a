"""ComfyUI's models while one node uses them: opened on first use, given back when the node ends."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

_current: ContextVar["Session | None"] = ContextVar("native_session", default=None)
_open: list["Session"] = []  # autograd walks back in threads of its own, which have no context


class Session:
    """What one node's execution has opened; `exits` gives it all back."""

    def __init__(self, exits: ExitStack):
        self._scopes: list[tuple[ExitStack, dict[object, Any]]] = [(exits, {})]
        self._parts: list[Callable[[], Mapping[str, str]]] = []

    def once(
        self, owner: object, open_it: Callable[[ExitStack], Any], lasting: bool = False
    ) -> Any:
        """What `open_it` made for `owner` when it was first asked for.

        Args:
            owner: whom it belongs to; is kept as long.
            open_it: makes it; registers how to give it back.
            lasting: keep it until the node ends, not only while this picture is worked on.
        """
        exits, opened = self._scopes[0 if lasting else -1]
        if owner not in opened:
            opened[owner] = open_it(exits)
        return opened[owner]

    def has_opened(self, parts: Callable[[], Mapping[str, str]]) -> None:
        """A model has been opened; `parts` gives digests of what it is made of."""
        self._parts.append(parts)

    def made_of(self) -> dict[str, str]:
        """What the models that are open are made of, by parts; nothing if there are none."""
        return {name: digest for parts in self._parts for name, digest in parts().items()}

    @contextmanager
    def picture(self) -> Iterator[None]:
        """One picture of a batch: what is bound to it is given back at its end."""
        with ExitStack() as exits:
            self._scopes.append((exits, {}))
            exits.callback(self._scopes.pop)
            yield


@contextmanager
def native_session() -> Iterator[None]:
    """The scope in which ComfyUI's models may be used; everything is given back at its end."""
    with ExitStack() as exits:
        session = Session(exits)
        exits.callback(_current.reset, _current.set(session))
        exits.callback(_open.remove, session)
        _open.append(session)
        yield


def current_session() -> Session:
    """The running node's session. Raises RuntimeError outside of a node."""
    session = _current.get() or (_open[-1] if _open else None)
    if session is None:
        raise RuntimeError("ComfyUI's models can be used only while a node of this pack runs")
    return session
