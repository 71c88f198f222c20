"""Which browser origins may mint tokens. Origins are parsed, never matched as text.

https://site.com      this origin
https://*.site.com    any sub-domain of it, one label or more, not site.com itself
http://localhost:*    any port
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from pinecall_cli.protocol.refusal import ConfigRefused

DEFAULT_PORTS = {"http": 80, "https": 443}
DEVIANT = frozenset("ßẞς\u200c\u200d")
"""Characters that browsers keep in a name and Python's IDNA, the older one, maps to others or to
none: by it a pattern for ``straße.de`` would let ``strasse.de`` in, which is somebody else."""


@dataclass(frozen=True, slots=True)
class Origin:
    """An origin, or a pattern of origins, taken apart."""

    scheme: str
    host: str
    port: int | None
    """None in a pattern means any."""
    subdomains: bool = False


def parse_origin(text: str) -> Origin | None:
    """Return an ``Origin`` header taken apart; None for ``null`` and anything malformed."""
    if not (text.isascii() and text.isprintable()) or any(bad in text for bad in "*\\ "):
        return None
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    bare = not (parts.path or parts.query or parts.fragment or "@" in parts.netloc)
    if not bare or not host or scheme not in DEFAULT_PORTS or text.endswith(("?", "#", ":")):
        return None
    if port is None:
        port = DEFAULT_PORTS[scheme]
    return Origin(scheme, host, port)


def parse_pattern(text: str) -> Origin:
    """Return an entry of ``allowed_origins`` taken apart.

    Raises:
        ConfigRefused: If it is none of the three forms.
    """
    scheme, separator, rest = str(text).strip().removesuffix("/").partition("://")
    any_port = rest.endswith(":*")
    subdomains = rest.startswith("*.")
    host = ascii_host(rest.removesuffix(":*").removeprefix("*."))
    origin = parse_origin(f"{scheme}{separator}{host}")
    two_ports = any_port and ":" in host.rpartition("]")[2]
    if origin is None or two_ports or (subdomains and is_address(origin.host)):
        raise ConfigRefused(
            "invalid_origin",
            f"`{text}` is no origin",
            "write https://site.com, https://*.site.com or http://localhost:*",
        )
    return Origin(origin.scheme, origin.host, None if any_port else origin.port, subdomains)


def browser_origin(url: str) -> str | None:
    """Return the ``Origin`` that a browser sends from the page at ``url``; None if it is no page.

    ``null``, which sandboxed frames and local files send, is returned as it is.
    """
    if url == "null":
        return url
    if "://" not in url or "\\" in url or not url.isprintable():
        return None
    try:
        parts = urlsplit(url.strip())
        host, port = ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    shown = f"[{host}]" if ":" in host else host
    origin = f"{scheme}://{shown}"
    if port not in (None, DEFAULT_PORTS.get(scheme)):
        origin += f":{port}"
    return origin if parse_origin(origin) is not None else None


def origin_allowed(origin: str | None, patterns: Iterable[str]) -> bool:
    """Return whether a request with this ``Origin`` header may mint tokens.

    No header is no match, and a malformed pattern allows nothing.
    """
    came_from = parse_origin(origin) if origin else None
    return came_from is not None and any(matches(came_from, pattern) for pattern in patterns)


def matches(origin: Origin, pattern: str) -> bool:
    """Return whether one pattern allows an origin."""
    try:
        allowed = parse_pattern(pattern)
    except ConfigRefused:
        return False
    if origin.scheme != allowed.scheme or allowed.port not in (None, origin.port):
        return False
    if allowed.subdomains:
        labels = origin.host.removesuffix("." + allowed.host)
        return labels != origin.host and all(labels.split("."))
    return origin.host == allowed.host


def ascii_host(host: str) -> str:
    """Return a host as browsers send it; empty if we cannot say."""
    if host.isascii():
        return host
    try:
        return "" if DEVIANT & set(host) else host.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def is_address(host: str) -> bool:
    """Return whether a host is an IP address, which has no sub-domains."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
