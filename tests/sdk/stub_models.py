"""A language model's endpoint in the test's own loop: OpenAI's dialect and Anthropic's.

A test holds the other end of every request: it sees what was asked, says word by word what is
answered, and is told when whoever asked has hung up.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from tests.sdk.listening import PATIENCE_S, raw_server

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
)
Frame = tuple[str, dict[str, Any]]


class Asked:
    """One request for a reply, and the writing of the reply."""

    def __init__(self, path: str, key: str, body: dict[str, Any], out: asyncio.StreamWriter):
        self.path, self.key, self.body = path, key, body
        self.hung_up = asyncio.Event()
        """Set when the other side closes the connection before the reply is whole."""
        self.answered = asyncio.Event()
        self._out, self._begun = out, False

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Who said what, the system prompt first."""
        system = [("system", self.body["system"])] if "system" in self.body else []
        return system + [(one["role"], one["content"]) for one in self.body["messages"]]

    def say(self, *texts: str) -> None:
        """Write some more of the reply."""
        for text in texts:
            self._write(anthropic_text(text) if self._is_anthropic else openai_text(text))

    def finish(self) -> None:
        """End the reply."""
        self._write(anthropic_end() if self._is_anthropic else openai_end())
        if not self._is_anthropic:
            self._event("data: [DONE]\n\n")
        self._out.write(b"0\r\n\r\n")
        self.answered.set()

    async def until_hung_up(self) -> None:
        """Return when the request was given up."""
        async with asyncio.timeout(PATIENCE_S):
            await self.hung_up.wait()

    @property
    def _is_anthropic(self) -> bool:
        return self.path == "/v1/messages"

    def _write(self, frames: Iterator[Frame]) -> None:
        if not self._begun:
            self._begun = True
            self._out.write(HEAD)
            if self._is_anthropic:
                self._write(anthropic_start())
        for name, data in frames:
            event = f"event: {name}\n" if name else ""
            self._event(f"{event}data: {json.dumps(data)}\n\n")

    def _event(self, text: str) -> None:
        self._out.write(b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()))


class Stub:
    """The endpoint."""

    def __init__(self, port: int, requests: asyncio.Queue[Asked]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._requests = requests

    async def asked(self) -> Asked:
        """Return the next request."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._requests.get()

    @property
    def quiet(self) -> bool:
        """Whether there is no request that `asked` has not returned."""
        return self._requests.empty()


@asynccontextmanager
async def model_endpoint() -> AsyncIterator[Stub]:
    requests: asyncio.Queue[Asked] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        except asyncio.IncompleteReadError:
            return  # opened and not used
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        key = headers.get("x-api-key") or headers.get("authorization", "")
        asked = Asked(head[0].split()[1], key, body, writer)
        requests.put_nowait(asked)
        over = asyncio.ensure_future(asked.answered.wait())
        gone = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({over, gone}, return_when=asyncio.FIRST_COMPLETED)
        if over.done():
            await writer.drain()
        else:
            asked.hung_up.set()
        for waiting in (over, gone):
            waiting.cancel()

    async with raw_server(answer) as port:
        yield Stub(port, requests)


# --- the dialects -------------------------------------------------------------------------------


def openai_text(text: str) -> Iterator[Frame]:
    yield "", openai_chunk({"role": "assistant", "content": text}, None)


def openai_end() -> Iterator[Frame]:
    yield "", openai_chunk({}, "stop")


def openai_chunk(delta: dict[str, Any], why: str | None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": why, "logprobs": None}
    about = {"id": "chatcmpl-1", "created": 1_787_352_100, "model": "gpt-5-mini"}
    return {**about, "object": "chat.completion.chunk", "choices": [choice]}


def anthropic_start() -> Iterator[Frame]:
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    about = {"model": "claude", "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield "message_start", {"type": "message_start", "message": {**message, **about}}
    block = {"type": "text", "text": ""}
    yield (
        "content_block_start",
        {"type": "content_block_start", "index": 0, "content_block": block},
    )


def anthropic_text(text: str) -> Iterator[Frame]:
    delta = {"type": "text_delta", "text": text}
    yield "content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta}


def anthropic_end() -> Iterator[Frame]:
    yield "content_block_stop", {"type": "content_block_stop", "index": 0}
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield (
        "message_delta",
        {"type": "message_delta", "delta": delta, "usage": {"output_tokens": 9}},
    )
    yield "message_stop", {"type": "message_stop"}
