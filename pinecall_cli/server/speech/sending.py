"""An HTTP answer that is made while it is sent, and stopped as soon as nobody reads it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pinecall_cli.errors import EngineError
from pinecall_cli.server.app import VoiceServer
from pinecall_cli.server.speech.audio_api import left, upstream

log = logging.getLogger("pinecall.server")


class Sending(Response):
    """Sends what a generator yields; the work ends when the reader leaves, stalls, or we stop."""

    def __init__(
        self,
        server: VoiceServer,
        chunks: AsyncGenerator[bytes, None],
        *,
        media_type: str,
        headers: Mapping[str, str],
        over: Callable[[], None],
    ) -> None:
        """``over`` is called once nothing more is being made."""
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._server, self._chunks, self._over = server, chunks, over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; what is cut short ends without its last chunk, so that it shows."""
        sending = self._server.spawn(self._send(scope, receive, send), "an audio answer")
        leaving = asyncio.ensure_future(left(Request(scope, receive)))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            complete = sending.done() and not sending.cancelled() and sending.exception() is None
            if leaving.done() or (complete and sending.result()):
                return
            scope["state"]["abort"]()
            await leaving
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
            await self._chunks.aclose()
            self._over()

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Send everything; False if the reader took none of it for too long."""
        try:
            # Before the status, so that an engine that is not there is an error.
            chunk: bytes | None = await anext(self._chunks, None)
        except EngineError as problem:
            await upstream(problem).response()(scope, receive, send)
            return True
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        try:
            while chunk is not None:
                async with asyncio.timeout(self._server.limits.stalled_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                chunk = await anext(self._chunks, None)
        except TimeoutError:
            log.warning("an audio answer was cut off: its reader takes nothing")
            return False
        except EngineError as problem:
            log.error("an audio answer was cut off: %s", problem.message)
            return False
        await send({"type": "http.response.body", "body": b""})
        return True
