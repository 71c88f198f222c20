"""Is a request addressed to this server, and does it come from a page of its own? Pure.

A page on any site can make its visitor's browser send requests to 127.0.0.1, and by DNS
rebinding even read the answers; what gives it away are its ``Host`` and ``Origin``. Both are
taken apart before they are compared: no substring of a name ever counts. Which foreign pages may
mint tokens is another question (`protocol/origins.py`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection

from pinecall_cli.protocol.origins import DEFAULT_PORTS, parse_origin

LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


def host_allowed(host: str | None, *, loopback: bool, names: Collection[str] = ()) -> bool:
    """Tell whether a ``Host`` header names this server.

    On a loopback bind that is the loopback by address or as localhost. On any other bind it is
    any address: a page that rebinds DNS always comes with a name. ``names`` (lower case) are
    allowed besides.
    """
    found = HOST.fullmatch((host or "").lower())
    if found is None:
        return False
    name = found["host"].strip("[]")
    if name in LOCAL_NAMES or name in names:
        return True
    return not loopback and is_address(name)


def named_locally(host: str | None) -> bool:
    """Tell whether a ``Host`` header is a name that this machine has for itself."""
    found = HOST.fullmatch((host or "").lower())
    return found is not None and found["host"].strip("[]") in LOCAL_NAMES


def same_origin(origin: str, host: str | None, scheme: str) -> bool:
    """Tell whether a page came from the very address that it now speaks to."""
    page, found = parse_origin(origin), HOST.fullmatch((host or "").lower())
    if page is None or found is None:
        return False
    secure = "https" if scheme in ("https", "wss") else "http"
    port = int(found["port"] or DEFAULT_PORTS[secure])
    return (page.host, page.port) == (found["host"].strip("[]"), port)


def is_address(host: str) -> bool:
    """Tell whether a host is written as an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Tell whether what is bound to ``host`` can be reached from this machine alone."""
    if host == "localhost":
        return True
    return is_address(host) and ipaddress.ip_address(host).is_loopback
