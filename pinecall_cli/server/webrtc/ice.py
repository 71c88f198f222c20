"""ICE servers: whom pages, and this server itself, ask for a way to each other.

A STUN server says how one is seen from outside; a TURN server passes the sound on where there is
no straight way, for whoever has its user and password. They are written as browsers write them,
with user and password before the host as in any URL:

    stun:stun.example.com:3478
    turn:alice:s3cret@turn.example.com:3478?transport=tcp
    turns:alice:s3cret@turn.example.com

The password is shown to every page that asks (a browser needs it), and nowhere else.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from pinecall_cli.errors import UsageError
from pinecall_cli.server.hosts import named_locally

PLACE = re.compile(
    r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?:\?transport=(?:udp|tcp))?"
)
SCHEMES = ("stun", "stuns", "turn", "turns")
FORMS = "stun:HOST:PORT, turn:USER:PASS@HOST:PORT or turns:USER:PASS@HOST:PORT"
MOST = 20
"""Browsers say themselves that five make finding a way slow."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server."""

    url: str
    """As browsers take it: without user and password."""
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def shown(self) -> dict[str, Any]:
        """Return it as an entry of ``iceServers``.

        ``urls`` is always a list: browsers take a string as well, but clients on phones read a
        list alone and leave out every other entry.
        """
        entry: dict[str, Any] = {"urls": [self.url]}
        if self.username is not None and self.credential is not None:
            entry |= {"username": self.username, "credential": self.credential}
        return entry


STUN = IceServer("stun:stun.l.google.com:19302")
"""The one that browsers' clients fall back to themselves."""


def parse_ice_servers(texts: Iterable[str]) -> tuple[IceServer, ...]:
    """Return the servers that somebody wrote down.

    Raises:
        UsageError: If one is none, or there are too many; no password is in the message.
    """
    servers = tuple(parse_ice_server(text) for text in texts)
    if len(servers) > MOST:
        raise UsageError(f"{len(servers)} ICE servers are too many", fix=f"name at most {MOST}")
    return servers


def parse_ice_server(text: str) -> IceServer:
    """Return the server that somebody wrote down; raises as `parse_ice_servers` does."""
    scheme, _, rest = text.strip().partition(":")
    scheme = scheme.lower()
    login, at, place = rest.removeprefix("//").rpartition("@")
    found = PLACE.fullmatch(place)
    # What cannot be read may be a password in the wrong place.
    shown = f"{scheme}:{'***@' if at else ''}{place if found else '***'}"
    if scheme not in SCHEMES:
        raise UsageError("an ICE server has no `stun:`, `stuns:`, `turn:` or `turns:`", fix=FORMS)
    if found is None or not 0 < int(found["port"] or 1) < 65_536:
        raise UsageError(f"`{shown}` is no ICE server", fix=FORMS)
    url = f"{scheme}:{place}"
    if scheme.startswith("stun"):
        if at or "?" in place:
            raise UsageError(f"`{shown}` has more than a STUN server's host and port", fix=FORMS)
        return IceServer(url)
    username, colon, password = login.partition(":")
    if not (username and colon and password):
        raise UsageError(
            f"`{shown}` lacks the TURN server's user or password",
            fix=f"{FORMS}; `@`, `:` and `/` in them as %40, %3A and %2F",
        )
    return IceServer(url, unquote(username), unquote(password))


def for_page(given: Sequence[IceServer], host: str | None) -> list[dict[str, Any]]:
    """Return the ``iceServers`` of a page that addresses this server as ``host``.

    Those that were given; else a public one, except on this machine, where a server that cannot be
    reached costs a browser two seconds.
    """
    return [server.shown() for server in given or (() if named_locally(host) else (STUN,))]


def for_us(given: Sequence[IceServer], host: str | None, page: str) -> list[IceServer]:
    """Return whom to ask how this machine is seen from where a page is.

    Nobody, if the page is in the same network: a server that cannot be reached costs 5 s. A page
    whose connection comes from this machine, under another name, has come through a proxy.

    Args:
        given: Those that were given.
        host: How the page addresses this server.
        page: Where its connection comes from.
    """
    try:
        address = ipaddress.ip_address(page)
    except ValueError:
        return list(given or (STUN,))
    proxied = address.is_loopback and not named_locally(host)
    return list(given or (STUN,)) if proxied or not address.is_private else []
