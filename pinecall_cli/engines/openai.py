"""Any model behind an OpenAI-compatible ``/chat/completions``: hosted, or on this machine.

Streams over one connection that is kept between requests. No error names the key.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from pinecall_cli.engines.sse import EventStream, EventTooLongError
from pinecall_cli.engines.types import ModelRequest, ToolCall
from pinecall_cli.errors import EngineError

CONNECT_S = 5.0
SILENCE_S = 30.0
"""Seconds without a byte before a request is given up: a caller has long hung up by then, but a
local server may load a model first."""

REST_S = 0.05
"""Seconds given to the end of a stream behind its end mark; it mostly comes in the same packet."""

MAX_ERROR = 64 * 1024
"""Bytes of a refusal that are read."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a model is, and how to speak of it."""

    provider: str
    """The name in the agent's ``llm``."""
    base_url: str
    """Up to, and without, ``/chat/completions``."""
    key: str | None = None
    key_name: str | None = None
    """The variable the key came from, for error messages."""
    start: str | None = None
    """How to start it, where it is a program on this machine."""
    limit_name: str = "max_tokens"
    """OpenAI's newer models refuse the older name."""

    def __repr__(self) -> str:
        return f"Endpoint({self.provider!r}, {without_secrets(self.base_url)!r})"


class OpenAIModel:
    """A `Model` at an endpoint."""

    def __init__(self, endpoint: Endpoint, model: str, *, silence_s: float = SILENCE_S) -> None:
        self.name = f"{endpoint.provider}/{model}"
        self._endpoint = endpoint
        self._model = model
        self._silence_s = silence_s
        self._client: httpx.AsyncClient | None = None

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ToolCall]:
        """Yield text as it comes, then the tool calls; closing it drops the request.

        Raises:
            EngineError: If the endpoint refuses, breaks off or cannot be reached.
        """
        answer = Answer()
        events = EventStream()
        url = f"{self._endpoint.base_url.rstrip('/')}/chat/completions"
        try:
            async with self._connected().stream(
                "POST", url, content=self._body(request)
            ) as response:
                if response.status_code != httpx.codes.OK:
                    raise await self._refused(response)
                chunks = response.aiter_bytes()
                async for chunk in chunks:
                    for data in events.feed(chunk):
                        if (text := self._read(answer, data)) is not None:
                            yield text
                    if answer.done:
                        await read_out(chunks)
                        break
                else:
                    for data in events.close():
                        if (text := self._read(answer, data)) is not None:
                            yield text
        except (httpx.HTTPError, httpx.InvalidURL, EventTooLongError) as error:
            raise self._broken(error) from error
        if not answer.complete:
            raise self._error("broke off in the middle of an answer", "try again")
        for call in answer.tool_calls():
            yield call

    async def aclose(self) -> None:
        """Close the connection that is kept between requests; the next request opens another."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _connected(self) -> httpx.AsyncClient:
        if self._client is None:
            key = self._endpoint.key
            url = self._endpoint.base_url
            self._client = httpx.AsyncClient(
                headers={
                    "content-type": "application/json",
                    **({"authorization": f"Bearer {key}"} if key else {}),
                },
                timeout=httpx.Timeout(self._silence_s, connect=CONNECT_S),
                # A proxy for the way out would be asked for our own machine too.
                trust_env=not is_loopback(url),
                verify=certificates() if url.startswith("https:") else False,
            )
        return self._client

    def _body(self, request: ModelRequest) -> bytes:
        body: dict[str, Any] = {
            "model": self._model,
            "messages": list(request.messages),
            "stream": True,
        }
        if request.tools:
            body["tools"] = list(request.tools)
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.max_tokens is not None:
            body[self._endpoint.limit_name] = request.max_tokens
        return json.dumps(body).encode()

    def _read(self, answer: Answer, data: str) -> str | None:
        """Put an event into ``answer``; return the text it brings."""
        if data.strip() == "[DONE]":
            answer.done = True
            return None
        try:
            event = json.loads(data)
        except ValueError:
            event = None
        if not isinstance(event, Mapping):
            raise self._error("sent something that is no answer", "check its address")
        if event.get("error"):
            raise self._error(f"failed: {self._said(event)}", "try again")
        return answer.take(event)

    async def _refused(self, response: httpx.Response) -> EngineError:
        """Return the error for an answer that is not 200."""
        body = b""
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_ERROR:
                break
        try:
            said = self._said(json.loads(body))
        except ValueError:
            said = ""
        key = f"`{self._endpoint.key_name}`" if self._endpoint.key_name else "the key"
        told = f": {said}" if said else ""
        match response.status_code:
            case 401 | 403:  # what it said may repeat a part of the key
                return self._error("refused the key", f"set {key} to a valid one")
            case 404:
                pull = f"`ollama pull {self._model}`, or " if self._is_ollama else ""
                problem = f"does not know the model `{self._model}`{told}"
                return self._error(problem, f"{pull}check the name and {self._place}")
            case 429:
                problem = f"has no capacity left for this key{told}"
                return self._error(problem, "wait a moment, or check your plan")
            case status if status >= 500:
                return self._error(f"failed with status {status}{told}", "try again later")
            case status if 300 <= status < 400:
                # Not followed: the key would go to wherever it points.
                return self._error("answers with a redirect", f"check {self._place}")
            case status:
                return self._error(f"refused the request with status {status}{told}", None)

    def _broken(self, error: Exception) -> EngineError:
        """Return the error for a connection that failed."""
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout():
                fix = self._endpoint.start or f"check the network and {self._place}"
                return self._error("cannot be reached", fix)
            case httpx.TimeoutException():
                return self._error(f"was silent for {self._silence_s:g} s", "try again later")
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                return self._error("has an address that is none", f"check {self._place}")
            case _:
                return self._error("broke off in the middle of an answer", "try again")

    def _error(self, problem: str, fix: str | None) -> EngineError:
        return EngineError(f"the model `{self.name}` {problem}", fix=fix, code="llm")

    def _said(self, body: Any) -> str:
        """Return what a refusal says: one line of at most 200 characters, without the key."""
        error = body.get("error", body) if isinstance(body, Mapping) else body
        said = error.get("message") if isinstance(error, Mapping) else error
        line = " ".join(str(said or "").split())
        key = self._endpoint.key
        return (line.replace(key, "***") if key else line)[:200]

    @property
    def _place(self) -> str:
        return f"the address `{without_secrets(self._endpoint.base_url)}`"

    @property
    def _is_ollama(self) -> bool:
        return self._endpoint.provider == "ollama"


class Answer:
    """What has arrived of one answer."""

    def __init__(self) -> None:
        self.done = False
        """The stream's own end mark was read."""
        self._finished = False
        self._calls: list[dict[str, str]] = []
        self._by_index: dict[Any, dict[str, str]] = {}

    @property
    def complete(self) -> bool:
        """Return whether nothing is missing: some servers leave out the end mark."""
        return self.done or self._finished

    def take(self, event: Mapping[str, Any]) -> str | None:
        """Take in one chunk; return the text it brings."""
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else {}
        if not isinstance(choice, Mapping):
            return None
        self._finished |= bool(choice.get("finish_reason"))
        delta = choice.get("delta")
        if not isinstance(delta, Mapping):
            return None
        for part in delta.get("tool_calls") or ():
            if isinstance(part, Mapping):
                self._take_call(part)
        return plain(delta.get("content")) or None

    def _take_call(self, part: Mapping[str, Any]) -> None:
        """Take in a piece of a tool call.

        Pieces belong together by ``index``; servers that leave it out begin each call with its id.
        """
        function = part.get("function")
        function = function if isinstance(function, Mapping) else {}
        id, index = part.get("id"), part.get("index")
        call = self._by_index.get(index) if index is not None else None
        if index is None and self._calls and (not id or id == self._calls[-1]["id"]):
            call = self._calls[-1]
        if call is None:
            call = {"id": "", "name": "", "arguments": ""}
            self._calls.append(call)
            self._by_index[index] = call
        call["id"] = call["id"] or str(id or "")
        call["name"] = call["name"] or str(function.get("name") or "")
        arguments = function.get("arguments")
        if arguments is not None:
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            call["arguments"] += text

    def tool_calls(self) -> list[ToolCall]:
        """Return the complete tool calls; one without a name is none."""
        return [
            ToolCall(call["id"], call["name"], call["arguments"].strip() or "{}")
            for call in self._calls
            if call["name"]
        ]


async def read_out(chunks: AsyncIterator[bytes]) -> None:
    """Read what a stream has behind its end mark, so that its connection can be used again."""
    with suppress(TimeoutError):
        async with asyncio.timeout(REST_S):
            async for _ in chunks:
                pass


def plain(content: Any) -> str:
    """Return the words of a delta; some servers send them in parts."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else ()
    texts = (part.get("text") for part in parts if isinstance(part, Mapping))
    return "".join(text for text in texts if isinstance(text, str))


@cache
def certificates() -> ssl.SSLContext:
    """Return the trusted certificates, read once: 30 ms each time (measured)."""
    return httpx.create_ssl_context()


def is_loopback(url: str) -> bool:
    """Return whether a URL names this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def without_secrets(url: str) -> str:
    """Return a URL without the user, password and query it may carry."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "of the model"
    return f"{parts.scheme}://{host}{port}{parts.path}"
