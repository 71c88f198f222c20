"""``/live``: hearing a running call, as a socket and as a page (protocol: sessions.md §4)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pinecall_cli.server.agents.organisation import Organisation
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.voice.live import LiveFeed
from pinecall_cli.server.voice.session import VoiceSession


def routes(server: VoiceServer) -> list[BaseRoute]:
    """Return the listening socket and its page."""

    async def listen(socket: WebSocket) -> None:
        session = allowed(server, socket.path_params["call_id"], socket)
        if isinstance(session, Response):
            await socket.send_denial_response(session)
            return
        await socket.accept()
        with suppress(WebSocketDisconnect, RuntimeError):  # the listener has left
            await serve(server, socket, session)

    async def player(request: Request) -> Response:
        if key_of(server, request) is None:
            return refusal(401, "a key is needed: ?token=…")
        return HTMLResponse(PAGE, headers=PAGE_HEADERS)

    return [
        WebSocketRoute("/live/{call_id}/ws", listen),
        Route("/live/{call_id}/player", player),
    ]


def refusal(status: int, detail: str) -> Response:
    """Return why nobody may listen."""
    return JSONResponse({"detail": detail}, status)


def key_of(server: VoiceServer, request: Request | WebSocket) -> Organisation | None:
    """Return whose key was given: in ``Authorization``, or as ``token`` for browsers."""
    header = request.headers.get("authorization")
    if header is not None:
        return server.organisations.of_header(header)
    return server.organisations.of_key(request.query_params.get("token", ""))


def allowed(server: VoiceServer, call_id: str, request: WebSocket) -> VoiceSession | Response:
    """Return the call, or why it cannot be heard.

    A local server's calls are its developer's own, so media may be heard unless the agent says
    ``media: {live: false}``; off this machine it must say ``true``.
    """
    org = key_of(server, request)
    if org is None:
        return refusal(401, "the key is not known here")
    session = server.registry.session(org, call_id)
    if not isinstance(session, VoiceSession):
        return refusal(404, f"no live call `{call_id}`")
    if not may_be_heard(server, session):
        return refusal(403, "live listening is off for this agent: set `media: {live: true}`")
    return session


def may_be_heard(server: VoiceServer, session: VoiceSession) -> bool:
    """Tell whether whoever has the call now lets it be listened to."""
    media = session.config.get("media")
    live = media.get("live") if isinstance(media, Mapping) else None
    return live is not False and (live is not None or server.own_calls)


async def serve(server: VoiceServer, socket: WebSocket, session: VoiceSession) -> None:
    """Send the call's sound until it ends, the listener leaves or may not hear more of it."""
    feed = LiveFeed(session.tape, phone=session.details.transport == "phone")
    stop = session.when_ended(feed.end)
    metadata = {
        "type": "metadata",
        "sampleRate": feed.rate,
        "channels": 1,
        "bitDepth": 16,
        "sessionId": session.call_id,
    }
    leaving = asyncio.get_running_loop().create_task(gone(socket), name="listener")
    leaving.add_done_callback(lambda _: feed.end())
    try:
        await socket.send_json(metadata)
        async for chunk in feed.chunks():
            if not may_be_heard(server, session):  # a phone line has handed it to an agent
                break
            await socket.send_bytes(chunk)
        if not leaving.done():
            await socket.send_bytes(b"")
            await socket.close(1000)
    finally:
        stop()
        leaving.cancel()


async def gone(socket: WebSocket) -> None:
    """Return when the listener has left; what they send is nobody's business."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; connect-src 'self'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
PAGE = """<!doctype html>
<meta charset="utf-8"><title>pinecall: live call</title>
<style>
  body { font: 16px system-ui; margin: 4rem auto; max-width: 30rem; color-scheme: light dark }
  meter { width: 100% }
</style>
<h1>Live call</h1>
<p id="state">Press the button to listen.</p>
<button id="go">Listen</button> <meter id="level" max="1"></meter>
<script>
const state = document.getElementById("state"), level = document.getElementById("level");
document.getElementById("go").onclick = () => {
  const url = new URL(location.href);
  url.protocol = url.protocol.replace("http", "ws");
  url.pathname = url.pathname.replace(/player$/, "ws");
  const socket = new WebSocket(url);
  const audio = new AudioContext();
  let rate = 16000, next = 0;
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") {
      rate = JSON.parse(data).sampleRate;
      state.textContent = "Live";
      return;
    }
    if (data.byteLength < 4) return;
    const pcm = new Int16Array(data), buffer = audio.createBuffer(1, pcm.length, rate);
    const out = buffer.getChannelData(0);
    let peak = 0;
    for (let i = 0; i < pcm.length; i++) {
      out[i] = pcm[i] / 32768;
      peak = Math.max(peak, Math.abs(out[i]));
    }
    level.value = peak;
    const source = audio.createBufferSource();
    source.buffer = buffer;
    source.connect(audio.destination);
    next = Math.max(next, audio.currentTime + 0.1);
    source.start(next);
    next += buffer.duration;
  };
  socket.onclose = () => {
    state.textContent = "The call has ended, or cannot be heard.";
    level.value = 0;
  };
};
</script>
"""
