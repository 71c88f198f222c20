"""The call log's routes: `/v1/attach`, a call's entries, and the calls there were.

Whoever asks shows a stream token (``token=``, or as a key is shown), or the key itself: a command
has it anyway. A page may read the answer exactly if it shows a token in the address, at a time when
a key's holder may have given it one; no page is told that it may send a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.protocol import codec
from pinecall_cli.protocol.ids import LINE_PREFIX
from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.agents.registry import slugs_of
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.attach import ALL, Attachment, WatchedLog
from pinecall_cli.server.event_source import EventSource
from pinecall_cli.server.log.log_file import HIGHEST_SEQ, LoggedCall, read_calls
from pinecall_cli.server.supervise import Supervision
from pinecall_cli.server.tokens import Grant

LARGEST_PAGE = 1_000
MOST_TYPES = 32
LIFECYCLE = frozenset({"call.ringing", "call.started", "call.routed", "call.ended"})
"""What an agent's log says over HTTP: which calls there are. One that a phone line has routed here
started in the line's log."""
ENDS = frozenset({"call.ended", "call.summary"})
"""Entries that come whatever types are asked for: without them no call would be over."""


class Denied(Exception):
    """Nothing is shown: the status and what is wrong."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status, self.detail = status, detail


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, and what they may see."""

    org: Organisation
    grant: Grant | None = None
    """What their token stands for; None for whoever holds the key."""

    def covers(self, agent: str, call: str | None = None) -> bool:
        """Tell whether they may see an agent's calls, or one of them."""
        if self.grant is None:
            return True
        return self.grant.covers(agent) and self.grant.call_id in (None, call)


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the call log's routes."""

    async def attach(socket: WebSocket) -> None:
        try:
            access = access_of(server, socket)
            watched = await watched_log(server, socket, access)
            watched = narrowed(socket, watched)
            after = number(socket, "after", 0, HIGHEST_SEQ)
        except Denied as denied:
            refusal = JSONResponse({"detail": denied.detail}, denied.status)
            await socket.send_denial_response(refusal)
            return
        scope = "supervise" if access.grant is None else access.grant.scope
        try:
            await socket.accept()
            obey = Supervision(server, watched.org, watched.call, scope)
            await Attachment(server, socket, watched, after=after, obey=obey).serve()
        except WebSocketDisconnect:
            return  # the reader has left: there is nothing to clear up

    return [
        WebSocketRoute("/v1/attach", attach),
        answering(server, "/v1/calls", listed),
        answering(server, "/v1/calls/{call_id}/events", events),
        answering(server, "/v1/agents/{slug}/calls", listed),
    ]


def answering(
    server: VoiceServer, path: str, answer: Callable[[VoiceServer, Request], Awaitable[Response]]
) -> Route:
    """Return a route whose refusals are told as all errors are; preflights are answered."""

    async def answered(request: Request) -> Response:
        headers = readable(server, request)
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        try:
            told = await answer(server, request)
        except Denied as denied:
            told = JSONResponse({"detail": denied.detail}, denied.status)
        told.headers.update(headers)
        return told

    return Route(path, answered, methods=["GET", "OPTIONS"])


def readable(server: VoiceServer, request: Request) -> dict[str, str]:
    """Return the headers that say which page may ask, and read what it is told."""
    headers = {"Cache-Control": "no-store", "Vary": "Origin"}
    origin = request.headers.get("origin")
    shown = "token" in request.query_params
    if origin is not None and shown and server.tokens.anywhere("stream"):
        headers["Access-Control-Allow-Origin"] = origin
        if request.method == "OPTIONS":
            headers["Access-Control-Allow-Methods"] = "GET"
            headers["Access-Control-Allow-Headers"] = "Content-Type"
    return headers


# --- who asks, and for what ---


def access_of(server: VoiceServer, request: HTTPConnection) -> Access:
    """Return who asks, by their token or their key.

    Raises:
        Denied: If it is neither.
    """
    token = request.query_params.get("token")
    if token is not None:
        grant = server.tokens.attach(token)
        if grant is None:
            raise Denied(401, "the token is unknown or expired")
        return Access(grant.org, grant)
    shown = request.headers.get("authorization")
    org = server.organisations.of_header(shown)
    if org is None:
        grant = server.tokens.attach((shown or "").partition(" ")[2].strip())
        if grant is not None:
            return Access(grant.org, grant)
        raise Denied(401, "a stream token is missing, or the API key")
    return Access(org)


async def watched_log(server: VoiceServer, request: HTTPConnection, access: Access) -> WatchedLog:
    """Return the log that is to be watched.

    Raises:
        Denied: If it is not there, or not theirs to see.
    """
    call, agent = request.query_params.get("call"), request.query_params.get("agent")
    if (call is None) == (agent is None) or "" in (call, agent):
        raise Denied(422, "name either `call` or `agent`")
    if call is not None:
        owner = (await known_call(server, access, call)).agent
        return WatchedLog(access.org, call=call, owner=owner)
    assert agent is not None
    if agent == ALL:
        if access.grant is not None:
            raise Denied(403, "this token is for single agents")
        return WatchedLog(access.org)
    slug = visible_agent(access, agent)
    return WatchedLog(access.org, agent=slug)


def visible_agent(access: Access, name: str) -> str:
    """Return the slug of an agent whose calls they may all see.

    Raises:
        Denied: If they may not.
    """
    slug = name if name.startswith(LINE_PREFIX) else slugs_of(name)[0]
    if not access.covers(slug):
        raise Denied(403, "this token is not for that agent, or for one call of it alone")
    return slug


async def known_call(server: VoiceServer, access: Access, call_id: str) -> LoggedCall:
    """Return what the log knows of a call that they may see.

    Raises:
        Denied: If there is none, or it is not theirs to see.
    """
    found = await asyncio.wrap_future(
        server.journal.ask(
            lambda database: read_calls(database, call=call_id, org=access.org.id, limit=1)
        )
    )
    if not found:
        raise Denied(404, f"no call `{call_id}`")
    if not access.covers(found[0].agent, call_id):
        raise Denied(403, "this token is not for that call")
    return found[0]


def number(request: HTTPConnection, name: str, default: int, largest: int) -> int:
    """Return a whole number of the query.

    Raises:
        Denied: If it is none.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 19:
        raise Denied(422, f"`{name}` is no number from 0 on")
    return min(int(text), largest)


def narrowed(request: HTTPConnection, log: WatchedLog) -> WatchedLog:
    """Return a log with those entries alone that ``types=`` and ``durable=`` ask for.

    Raises:
        Denied: If these are no types.
    """
    named = request.query_params.get("types")
    types = log.types
    if named is not None:
        wanted = frozenset(named.split(",")) - {""}
        if not wanted or len(wanted) > MOST_TYPES:
            raise Denied(400, f"`types` names 1 to {MOST_TYPES} types of entries, with commas")
        types = wanted | ENDS if types is None else (wanted | ENDS) & types
    durable = request.query_params.get("durable") in ("1", "true")
    return replace(log, types=types, durable=durable)


def cursor(request: Request) -> int:
    """Return the ``seq`` to read on from: that of the query, or where a stream broke off.

    Raises:
        Denied: If it is no number.
    """
    after = number(request, "after", 0, HIGHEST_SEQ)
    broke_off = request.headers.get("last-event-id", "")
    if broke_off.isascii() and broke_off.isdigit() and len(broke_off) <= 18:
        after = max(after, int(broke_off))
    return after


def streams(request: Request) -> bool:
    """Tell whether the answer is to go on as things happen."""
    return request.method == "GET" and "text/event-stream" in request.headers.get("accept", "")


# --- what they get ---


async def events(server: VoiceServer, request: Request) -> Response:
    """Answer with a page of a call's entries, or with all of them as they come (rest.md §6)."""
    access = access_of(server, request)
    known = await known_call(server, access, request.path_params["call_id"])
    call = known.call_id
    watched = narrowed(request, WatchedLog(access.org, call=call, owner=known.agent))
    live = server.registry.session(access.org, call) is not None
    after = cursor(request)
    if not streams(request):
        page = await read(server, request, watched, after, LARGEST_PAGE)
        return JSONText(page | {"live": live})
    if not live and not (await read(server, request, watched, after, 1))["entries"]:
        return Response(status_code=204)  # which tells a browser not to come back
    return EventSource(server, watched, after=after)


async def listed(server: VoiceServer, request: Request) -> Response:
    """Answer with one row per call, the newest first: of an agent, or of all.

    Of an agent the entries that say so are told too, or only they, as they come.
    """
    access = access_of(server, request)
    name = request.path_params.get("slug")
    if name is None and access.grant is not None:
        raise Denied(403, "this token is for single agents")
    slug = None if name is None else visible_agent(access, name)
    limit = max(1, number(request, "limit", 100, LARGEST_PAGE))
    newest = server.stamps.horizon()
    happened: dict[str, Any] = {}
    if slug is not None:
        watched = narrowed(request, WatchedLog(access.org, agent=slug, types=LIFECYCLE))
        if streams(request):
            return EventSource(server, watched, after=cursor(request))
        happened = await read(server, request, watched, cursor(request), LARGEST_PAGE)
        happened["live"] = True  # of an agent there may be more at any time
    last = happened["last_seq"] if happened.get("has_more") else newest
    calls = await asyncio.wrap_future(
        server.journal.ask(
            lambda database: read_calls(database, agent=slug, org=access.org.id, limit=limit)
        )
    )
    rows = [row(server, access.org, call) for call in calls]
    return JSONText(happened | {"calls": rows, "last_seq": last})


async def read(
    server: VoiceServer, request: Request, watched: WatchedLog, after: int, largest: int
) -> dict[str, Any]:
    """Return a page of a log: its entries, where it ends, and where to read on if there is more."""
    limit = max(1, number(request, "limit", largest, largest))
    page = await asyncio.wrap_future(
        server.journal.page(
            call=watched.call,
            agent=watched.agent,
            org=watched.org.id,
            after=after,
            upto=server.stamps.horizon(),
            types=watched.types,
            limit=limit,
        )
    )
    last = page.entries[-1].seq if page.entries else after
    entries = [msgspec.Raw(codec.encode(watched.envelope(one)).encode()) for one in page.entries]
    more = {} if page.complete else {"next": last}
    return {"entries": entries, "last_seq": last, "has_more": not page.complete, **more}


class JSONText(Response):
    """JSON with parts that are encoded already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return msgspec.json.encode(content)


def row(server: VoiceServer, org: Organisation, call: LoggedCall) -> dict[str, Any]:
    """Return a call as it is listed; times are epoch seconds."""
    return {
        "call_id": call.call_id,
        "agent": call.agent,
        "direction": call.direction,
        "from": call.from_,
        "to": call.to,
        "channel": call.channel,
        "started_at": call.started_at,
        "ended_at": call.ended_at,
        "duration_s": call.duration_s,
        "reason": call.reason,
        "live": server.registry.session(org, call.call_id) is not None,
        "first_seq": call.first_seq,
        "last_seq": call.last_seq,
    }
