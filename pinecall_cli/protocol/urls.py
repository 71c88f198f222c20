"""The addresses derived from a server's base URL, which may be written with any of four schemes."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit, urlunsplit

from pinecall_cli.protocol.refusal import ConfigRefused

TO_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
TO_WS = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


def http_base(url: str) -> str:
    """Return the base URL for HTTP, without a trailing slash.

    Raises:
        ConfigRefused: If it is not an http, https, ws or wss URL with a host.
    """
    return rebased(url, TO_HTTP)


def ws_base(url: str) -> str:
    """Return the base URL for WebSockets, without a trailing slash.

    Raises:
        ConfigRefused: If it is not an http, https, ws or wss URL with a host.
    """
    return rebased(url, TO_WS)


def client_url(url: str) -> str:
    """Return the address of the agent socket."""
    return ws_base(url) + "/client"


def mic_url(url: str, token: str) -> str:
    """Return the address of the microphone socket."""
    return f"{ws_base(url)}/mic/ws?{urlencode({'token': token})}"


def answer_url(url: str) -> str:
    """Return the address of the microphone socket for a terminal that waits for calls."""
    return ws_base(url) + "/mic/ws"


def chat_url(url: str, token: str) -> str:
    """Return the address of the chat socket."""
    return f"{ws_base(url)}/chat/ws?{urlencode({'token': token})}"


def attach_url(
    url: str,
    *,
    call: str | None = None,
    agent: str | None = None,
    after: int = 0,
    token: str | None = None,
) -> str:
    """Return the address of a call's log, or of an agent's, from the entry after ``after`` on."""
    asked = {"token": token, "call": call, "agent": agent, "after": after}
    given = {name: value for name, value in asked.items() if value is not None}
    return f"{ws_base(url)}/v1/attach?{urlencode(given)}"


def absolute(url: str, path: str) -> str:
    """Return a path such as ``/v1/attach`` on a server's HTTP host, whatever its base's path."""
    parts = urlsplit(http_base(url))
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def rebased(url: str, schemes: dict[str, str]) -> str:
    """Return a URL under its counterpart's scheme."""
    try:
        parts = urlsplit(url.strip())
        scheme = schemes.get(parts.scheme.lower())
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        scheme, valid = None, False
    if scheme is None or not valid:
        raise ConfigRefused(
            "invalid_url",
            f"`{url}` is no server address",
            "write it as https://host, http://127.0.0.1:4747 or with ws:// or wss://",
        )
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", ""))
