"""A server's URL, in the spelling that each part of the program wants."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from pinecall_cli.errors import UsageError


def http_base(url: str) -> str:
    """Return a server's URL as ``http(s)://host[:port][/path]``, without a trailing slash.

    Raises:
        UsageError: If it is not a ws, wss, http or https URL with a host.
    """
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    scheme = {"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)
    if "@" in url:
        raise UsageError("a server's URL holds no user or password", fix="use `--api-key`")
    readable = url.strip().isprintable()
    if scheme not in {"http", "https"} or not (host and readable) or parts.query or parts.fragment:
        raise UsageError(
            f"`{url}` is not a server's URL", fix="write it like `http://127.0.0.1:4747`"
        )
    return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}"


def ws_base(url: str) -> str:
    """Return a server's URL as ``ws(s)://…``, without a trailing slash."""
    return "ws" + http_base(url).removeprefix("http")


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
