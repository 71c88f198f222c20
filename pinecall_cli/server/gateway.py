"""The server's front door: every route by family, behind one guard for `Host` and `Origin`."""

from __future__ import annotations

import logging
import re

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from pinecall_cli.errors import InfrastructureError
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.hosts import host_allowed, same_origin
from pinecall_cli.server.openapi import described_route
from pinecall_cli.server.routes import (
    account,
    agents,
    chat,
    client,
    live,
    log,
    mic,
    public,
    speech,
    stream,
    tokens,
    transcriptions,
    webrtc,
    whatsapp,
)

log_book = logging.getLogger("pinecall.server")

LARGEST_HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
FAMILIES = (
    *(client, mic, agents, public, tokens, chat, live, log, whatsapp, webrtc),
    *(stream, speech, transcriptions, account),
)
"""The routes by family; a new family is a file in `routes/` and its name here."""
PUBLIC = re.compile(
    "/webrtc/(token|ice-servers|offer)|/chat/token|/chat/ws|/v1/attach|/api/sdk/agent-info/[^/]+"
    "|/v1/(calls|calls/[^/]+/events|agents/[^/]+/calls|audio/.+)|/ws/stream"
    "|/api/sdk/voice(s|-preview)|/api/scribe(/ws)?"
)
"""Paths that pages of other origins may ask. The routes themselves decide which pages, or which
token; what none of them decides is nobody's secret."""


def gateway(server: VoiceServer, *, loopback: bool) -> Starlette:
    """Return the ASGI application of a server.

    Args:
        server: What the routes work on.
        loopback: Whether it is bound to this machine alone.
    """
    routes = [route for family in FAMILIES for route in family.routes(server)]
    return Starlette(
        routes=[*routes, described_route(routes)],
        middleware=[Middleware(Guard, server=server, loopback=loopback)],
        exception_handlers={
            HTTPException: refuse,
            ClientDisconnect: unheard,
            InfrastructureError: unavailable,
        },
    )


async def refuse(request: Request, problem: Exception) -> Response:
    """Answer what no route took, in the form all errors have."""
    assert isinstance(problem, HTTPException)
    return JSONResponse({"detail": problem.detail}, problem.status_code, headers=problem.headers)


async def unheard(request: Request, problem: Exception) -> Response:
    """Answer somebody who left while they were still asking."""
    return Response(status_code=499)


async def unavailable(request: Request, problem: Exception) -> Response:
    """Answer when something the server stands on is broken; what, is for its own log."""
    log_book.error("%s: %s", request.scope["path"], problem)
    return JSONResponse({"detail": "the server cannot answer this now"}, 503)


class Guard:
    """Turns away what was not addressed to this server or comes from a foreign page.

    Clients that build URLs from a base with a trailing slash ask for ``//webrtc/token``; runs
    of slashes count as one.
    """

    def __init__(self, app: ASGIApp, *, server: VoiceServer, loopback: bool) -> None:
        self._app, self._server, self._loopback = app, server, loopback
        self._requests = 0

    def _struck(self) -> bool:
        """Tell whether a request is one that is to fail on purpose."""
        self._requests += 1
        every = self._server.faults.too_many
        return bool(every) and self._requests % every == 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 403."""
        path = re.sub("/{2,}", "/", scope["path"])
        scope = {**scope, "path": path, "raw_path": path.encode()}
        headers = Headers(scope=scope)
        if too_large(scope):
            detail = f"the request line and headers may have {LARGEST_HEAD} bytes"
            await JSONResponse({"detail": detail}, 431)(scope, receive, send)
            return
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
            if scope["type"] == "http" and self._struck():
                headers_sent = {"Retry-After": "1"}
                too_many = JSONResponse({"detail": "too many requests"}, 429, headers_sent)
                await too_many(scope, receive, send)
                return
            await self._app(scope, receive, send)
            return
        await JSONResponse({"detail": detail}, 403)(scope, receive, send)


def too_large(scope: Scope) -> bool:
    """Tell whether a request's line and headers are more than anybody needs."""
    size = len(scope["path"]) + len(scope.get("query_string", b""))
    return size + sum(len(name) + len(value) for name, value in scope["headers"]) > LARGEST_HEAD
