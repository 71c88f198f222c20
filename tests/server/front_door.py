"""Every route and socket of a server, and requests to them as an attacker writes them: raw."""

from __future__ import annotations

import base64
import http.client
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.routing import BaseRoute, WebSocketRoute

from pinecall_cli.server import gateway, openapi
from pinecall_cli.server.embedded import EmbeddedServer
from tests.server.peer import PATIENCE_S, bearer


def table(server: EmbeddedServer) -> list[BaseRoute]:
    """Return the routes as the gateway mounts them."""
    return list(gateway.gateway(server.server, loopback=True).routes)


def endpoints(server: EmbeddedServer) -> list[tuple[str, str]]:
    """Return the method and path of every HTTP route."""
    return list(openapi.methods_of(table(server)))


def sockets(server: EmbeddedServer) -> list[str]:
    """Return the path of every socket."""
    return [route.path for route in table(server) if isinstance(route, WebSocketRoute)]


def filled(path: str, value: str = "x") -> str:
    """Return a path with a value for each of its parameters."""
    return re.sub(r"{\w+}", lambda _: value, path)


@dataclass(frozen=True)
class Answer:
    """How a server answers."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


def ask(
    server: EmbeddedServer,
    method: str,
    target: str,
    headers: Mapping[str, str | bytes] | None = None,
    body: bytes = b"",
) -> Answer:
    """Send a request whose target is sent as it stands; nothing is put right."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    given = {"Host": f"127.0.0.1:{server.port}"} | dict(headers or {})
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in given.items():
            connection.putheader(name, value)
        if body or method in ("POST", "PUT"):
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body or None)
        answer = connection.getresponse()
        taken = b"" if answer.status == 101 else answer.read()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, named, taken)
    finally:
        connection.close()


def upgrade(
    server: EmbeddedServer, target: str, headers: Mapping[str, str | bytes] | None = None
) -> Answer:
    """Ask for a socket."""
    wish = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
    }
    return ask(server, "GET", target, wish | dict(headers or {}))


def keyed(**headers: str) -> dict[str, str]:
    """Return headers with a good key."""
    return bearer() | headers
