"""Who may talk to the server of a session: under which names of the machine, with which token."""

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "localhost", "::1")
TOKEN_HEADER = "X-Session-Token"


@dataclass(frozen=True)
class Access:
    """What a request must bring.

    A page of another site can be made to reach a server on this machine under a name of its own
    (DNS rebinding), so the name that is asked for is checked. On another address than this
    machine's own, a token is needed, too.

    Attributes:
        address: on which the server listens.
        token: needed with every request but those for the page itself; empty: none.
    """

    address: str = LOCAL[0]
    token: str = field(default="", repr=False)

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this machine: a foreign name could be rebound."""
        name = _host_name(host)
        if self.address in LOCAL:
            return name in LOCAL
        own = {*LOCAL, self.address.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
        return name in own or _is_number(name)

    def knows_origin(self, origin: str | None, host: str) -> bool:
        """Whether a request comes from our own page; a program sends no origin."""
        return origin is None or _place(origin) == host.lower()

    def knows_token(self, token: str | None) -> bool:
        """Whether the token is right, in a time that does not tell how much of it is."""
        return not self.token or hmac.compare_digest((token or "").encode(), self.token.encode())


def access_for(address: str) -> Access:
    """Without a token on this machine alone, with a fresh one on any other address.

    Raises: ValueError if the address is none.
    """
    if address in LOCAL:
        return Access(address)
    try:
        socket.getaddrinfo(address, None)
    except OSError as error:
        raise ValueError(
            f"{address!r} is no address of this machine: give 127.0.0.1, or 0.0.0.0 for all"
        ) from error
    return Access(address, secrets.token_urlsafe(18))


def _place(origin: str) -> str:
    """An origin's name and port; empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _host_name(host: str) -> str:
    """Without the port and the brackets of IPv6; empty if it is no host."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _is_number(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
