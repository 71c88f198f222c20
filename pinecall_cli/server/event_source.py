"""One reader of the call log over HTTP: an answer without end, in the format of an `EventSource`.

Each entry is an event: its ``seq`` the id, its type the name, its envelope the data (HTML standard,
9.2). What is sent, how far it may lag behind and when it is over is an `Attachment`'s business.
"""

from __future__ import annotations

import asyncio

import msgspec
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.attach import Attachment, WatchedLog

RETRY = "retry: 1000\n\n"
"""How soon a browser comes back, in ms."""
PING_S = 25.0
PING = ": ping\n\n"


class Head(msgspec.Struct):
    """What an event says of its entry."""

    seq: int
    type: str


HEADS: msgspec.json.Decoder[Head] = msgspec.json.Decoder(Head)


class EventSource(Response):
    """Sends a log from a cursor on, until it is over or nobody reads it."""

    def __init__(self, server: VoiceServer, watched: WatchedLog, *, after: int) -> None:
        super().__init__(media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._server, self._watched, self._after = server, watched, after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        reader = HttpReader(scope, receive, send)
        await reader.send(RETRY)
        attachment = Attachment(
            self._server, reader, self._watched, after=self._after, obey=lambda text: None
        )
        # The server's own, so that it ends with the server whatever the reader does.
        serving = self._server.spawn(attachment.serve(), "log reader, HTTP")
        pinging = asyncio.ensure_future(ping(attachment))
        try:
            await asyncio.wait({serving})
            if serving.cancelled() or serving.exception() is not None:
                scope["state"]["abort"]()  # what is cut short ends so that it shows
                await reader.receive()
        finally:
            for task in (serving, pinging):
                task.cancel()
            await asyncio.gather(serving, pinging, return_exceptions=True)


class HttpReader:
    """The reader's connection, as an `Attachment` writes to it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive, self._send = receive, send

    async def receive(self) -> Message:
        """Return when the reader has left: it has nothing to say."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        return {"type": "websocket.disconnect"}

    async def send_text(self, text: str) -> None:
        """Send an entry, or a comment as it is."""
        await self.send(text if text.startswith(":") else event_of(text))

    async def send(self, text: str) -> None:
        """Send a piece of the answer."""
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def close(self, code: int, reason: str) -> None:
        """End the answer; there is no way to say why."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})


def event_of(text: str) -> str:
    """Return an entry's envelope as an event: JSON on the wire has no line breaks."""
    head = HEADS.decode(text)
    return f"id: {head.seq}\nevent: {head.type}\ndata: {text}\n\n"


async def ping(attachment: Attachment) -> None:
    """Keep a silent connection open, and tell its reader that it is."""
    while True:
        await asyncio.sleep(PING_S)
        attachment.put(PING)
