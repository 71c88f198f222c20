"""The server's front door: every route by family, behind one guard for `Host` and `Origin`."""

from __future__ import annotations

import re

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.hosts import host_allowed, same_origin
from pinecall_cli.server.routes import agents, chat, client, live, log, mic, public, tokens

FAMILIES = (client, mic, agents, public, tokens, chat, live, log)
"""The routes by family; a new family is a file in `routes/` and its name here."""
PUBLIC = re.compile(
    "/webrtc/token|/webrtc/ice-servers|/chat/token|/chat/ws|/v1/attach|/api/sdk/agent-info/[^/]+"
)
"""Paths that pages of other origins may ask. The routes themselves decide which pages, or which
token; what none of them decides is nobody's secret."""


def gateway(server: VoiceServer, *, loopback: bool) -> Starlette:
    """Return the ASGI application of a server.

    Args:
        server: What the routes work on.
        loopback: Whether it is bound to this machine alone.
    """
    return Starlette(
        routes=[route for family in FAMILIES for route in family.routes(server)],
        middleware=[Middleware(Guard, server=server, loopback=loopback)],
        exception_handlers={HTTPException: refuse},
    )


async def refuse(request: Request, problem: Exception) -> Response:
    """Answer what no route took, in the form all errors have."""
    assert isinstance(problem, HTTPException)
    return JSONResponse({"detail": problem.detail}, problem.status_code, headers=problem.headers)


class Guard:
    """Turns away what was not addressed to this server or comes from a foreign page.

    Clients that build URLs from a base with a trailing slash ask for ``//webrtc/token``; runs
    of slashes count as one.
    """

    def __init__(self, app: ASGIApp, *, server: VoiceServer, loopback: bool) -> None:
        self._app, self._server, self._loopback = app, server, loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        path = re.sub("/{2,}", "/", scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode()}
        headers = Headers(scope=scope)
        host, origin = headers.get("host"), headers.get("origin")
        names = self._server.public_hosts
        if len(headers.getlist("host")) != 1 or not host_allowed(
            host, loopback=self._loopback, names=names
        ):
            detail = "this server is not addressed by that host; see --public-host"
        elif (
            origin is not None
            and not PUBLIC.fullmatch(path)
            and not same_origin(origin, host, scope["scheme"])
        ):
            detail = "pages of that origin may not speak to this server"
        else:
            await self._app(scope, receive, send)
            return
        await JSONResponse({"detail": detail}, 403)(scope, receive, send)
