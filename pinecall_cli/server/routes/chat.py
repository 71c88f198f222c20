"""``WS /chat/ws``: a page writes to an agent (protocol: sessions.md §1)."""

from __future__ import annotations

import logging

from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.errors import PinecallError
from pinecall_cli.protocol import chat
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.text.browser_chat import BrowserChat
from pinecall_cli.server.text.chat import ChatSession
from pinecall_cli.server.text.threads import thread_of

log = logging.getLogger("pinecall.server")


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the chat socket's route. Its token is used up by the attempt, whatever comes of it."""

    async def endpoint(socket: WebSocket) -> None:
        grant = server.tokens.consume(socket.query_params.get("token", ""), "chat")
        if grant is None:
            await deny(socket, 401, "the token is unknown, used or expired")
            return
        if not grant.good_from(socket.headers.get("origin")):
            await deny(socket, 403, "the token was given to a page of another origin")
            return
        agent = server.registry.find(grant.org, grant.agent)
        if agent is None:
            await deny(socket, 404, f"Agent '{grant.agent}' is not online")
        elif server.draining:
            await deny(socket, 503, "the server is stopping")
        elif pages_writing(server) >= server.limits.browser_chats:
            await deny(socket, 503, "SERVER_AT_CAPACITY: too many pages are writing")
        else:
            asked = socket.query_params.get("thread")
            thread = thread_of(agent.org.id, agent.slug, grant.metadata, asked)
            await socket.accept()
            try:
                await BrowserChat(server, socket, agent, grant.metadata, thread).serve()
            except PinecallError as problem:
                log.warning("a page cannot write to %s: %s", agent.slug, problem.message)
                await socket.send_text(chat.encode(chat.Refused(error=chat.UNANSWERED)))
                await socket.close(1011, problem.code)
            except WebSocketDisconnect:
                return  # it left before it began

    return [WebSocketRoute("/chat/ws", endpoint)]


async def deny(socket: WebSocket, status: int, detail: str) -> None:
    """Refuse the upgrade."""
    await socket.send_denial_response(JSONResponse({"detail": detail}, status))


def pages_writing(server: VoiceServer) -> int:
    """Return how many text sessions pages have open."""
    sessions = server.registry.sessions()
    return sum(isinstance(s, ChatSession) and isinstance(s.opener, BrowserChat) for s in sessions)
