"""``WS /ws/stream``: what happens in calls, for a page that comes back where it left off.

The call log's entries under another address (protocol: sessions.md §5.4): an agent's calls from now
on, or one call from its beginning; with ``after`` from that entry on. Nothing can be done to a call
here; ``/v1/attach`` is for that.
"""

from __future__ import annotations

import json

import msgspec
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.protocol.codec import REMOTE_FAULTS
from pinecall_cli.server.agents.registry import slugs_of
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.attach import Attachment, WatchedLog
from pinecall_cli.server.log.log_file import HIGHEST_SEQ
from pinecall_cli.server.routes.log import (
    Access,
    Denied,
    access_of,
    known_call,
    number,
    visible_agent,
)


class Wish(msgspec.Struct, frozen=True):
    """A message of the reader."""

    action: str = ""


WISHES: msgspec.json.Decoder[Wish] = msgspec.json.Decoder(Wish)
PONG = json.dumps({"event": "pong"})


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the event stream's route."""

    async def stream(socket: WebSocket) -> None:
        try:
            watched = await followed(server, socket, access_of(server, socket))
            start = 0 if watched.call is not None else server.stamps.horizon()
            after = number(socket, "after", start, HIGHEST_SEQ)
        except Denied as denied:
            refusal = JSONResponse({"detail": denied.detail}, denied.status)
            await socket.send_denial_response(refusal)
            return
        try:
            await socket.accept()
            await Attachment(server, socket, watched, after=after, obey=obey).serve()
        except WebSocketDisconnect:
            return  # the reader has left: there is nothing to clear up

    return [WebSocketRoute("/ws/stream", stream)]


async def followed(server: VoiceServer, socket: WebSocket, access: Access) -> WatchedLog:
    """Return the log that is to be followed: a call's, an agent's, or all that the token is for.

    Raises:
        Denied: If it is not there, or not theirs to see.
    """
    call, agent = socket.query_params.get("session"), socket.query_params.get("agent")
    if call is None and access.grant is not None:
        call = access.grant.call_id
    if call is not None:
        known = await known_call(server, access, call)
        if agent is not None and slugs_of(agent)[0] != known.agent:
            raise Denied(404, f"no call `{call}` of that agent")
        return WatchedLog(access.org, call=call, owner=known.agent)
    if agent is not None:
        return WatchedLog(access.org, agent=visible_agent(access, agent))
    if access.grant is None:
        return WatchedLog(access.org)
    agents = (access.grant.agent, *access.grant.agents)
    return WatchedLog(access.org, agents=frozenset(agents))


def obey(text: str) -> str | None:
    """Return what answers a reader's message: a ``ping`` is; nothing else is."""
    try:
        wish = WISHES.decode(text)
    except REMOTE_FAULTS:
        return None
    return PONG if wish.action == "ping" else None
