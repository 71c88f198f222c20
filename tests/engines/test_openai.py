from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.engines.llm import closing
from pinecall_cli.engines.openai import Endpoint, OpenAIModel, is_loopback, without_secrets
from pinecall_cli.engines.sse import MAX_EVENT, EventStream, EventTooLongError
from pinecall_cli.engines.types import ModelRequest, ToolCall
from pinecall_cli.errors import EngineError

KEY = "sk-very-secret-key"
HELLO = ModelRequest([{"role": "user", "content": "Hello?"}])

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Stub:
    """An OpenAI-compatible endpoint of somebody else's: answers as told, byte by byte."""

    respond: Respond
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    connections: int = 0
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                self.headers.append(head)
                length = next(
                    int(line.split(":")[1])
                    for line in head.splitlines()
                    if line.lower().startswith("content-length")
                )
                self.requests.append(json.loads(await reader.readexactly(length)))
                await self.respond(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.hung_up.set()
            writer.close()


@asynccontextmanager
async def endpoint(respond: Respond, **known: Any) -> AsyncIterator[tuple[Stub, OpenAIModel]]:
    stub = Stub(respond)
    server = await asyncio.start_server(stub.serve, "127.0.0.1", 0)
    stub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    place = Endpoint(provider="openai", base_url=stub.url, key=KEY, key_name="OPENAI_API_KEY")
    model = OpenAIModel(replace(place, **known), "gpt-x")
    try:
        yield stub, model
    finally:
        await model.aclose()
        server.close()
        await server.wait_closed()


def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


def streaming(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> Respond:
    """Answer 200 and send pieces, each in a chunk of its own."""

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            chunk(writer, piece)
            await writer.drain()
        writer.write(end)
        await writer.drain()

    return respond


def refusing(status: int, body: Any, headers: str = "") -> Respond:
    async def respond(writer: asyncio.StreamWriter) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"HTTP/1.1 {status} No\r\n{headers}content-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        await writer.drain()

    return respond


def event(delta: Any = None, **choice: Any) -> bytes:
    body = {"choices": [{"index": 0, "delta": delta or {}, **choice}]}
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n".encode()


def text(*words: str) -> list[bytes]:
    return [event({"content": word}) for word in words]


DONE = b"data: [DONE]\n\n"


async def ask(model: OpenAIModel, request: ModelRequest = HELLO) -> list[str | ToolCall]:
    return [piece async for piece in model.stream(request)]


# -- streaming -----------------------------------------------------------------------------


async def test_text_streams_in_the_pieces_that_the_endpoint_sends() -> None:
    role = event({"role": "assistant", "content": ""})
    stop = event(finish_reason="stop")
    async with endpoint(streaming(role, *text("Hi", " there"), stop, DONE)) as (stub, model):
        assert await ask(model) == ["Hi", " there"]
    assert stub.requests == [
        {"model": "gpt-x", "messages": [{"role": "user", "content": "Hello?"}], "stream": True}
    ]
    assert f"authorization: bearer {KEY}" in stub.headers[0].lower()
    assert stub.headers[0].startswith("POST /v1/chat/completions ")


async def test_the_first_word_arrives_before_the_endpoint_has_finished() -> None:
    go_on = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter) -> None:
        await streaming(*text("Hi"), end=b"")(writer)
        await go_on.wait()
        chunk(writer, DONE)

    async with endpoint(respond) as (_, model):
        pieces = model.stream(HELLO)
        assert await anext(pieces) == "Hi"
        go_on.set()
        assert [piece async for piece in pieces] == []


async def test_an_answer_may_be_cut_into_chunks_anywhere() -> None:
    answer = b": hello\r\n\r\n" + b"".join(text("¿Qué", " tal? 👋")).replace(b"\n", b"\r\n") + DONE
    async with endpoint(streaming(*(answer[at : at + 1] for at in range(len(answer))))) as (
        _,
        model,
    ):
        assert await ask(model) == ["¿Qué", " tal? 👋"]


async def test_an_answer_without_the_end_mark_is_whole_if_it_says_that_it_has_finished() -> None:
    pieces = [*text("Hi"), event(finish_reason="stop").rstrip()]
    async with endpoint(streaming(*pieces)) as (_, model):
        assert await ask(model) == ["Hi"]


async def test_requests_share_one_connection() -> None:
    async with endpoint(streaming(*text("Hi"), DONE)) as (stub, model):
        await ask(model)
        await ask(model)
    assert (stub.connections, len(stub.requests)) == (1, 2)


async def test_an_answer_ends_with_its_end_mark_though_the_endpoint_stays_open() -> None:
    async with endpoint(streaming(*text("Hi"), DONE, end=b"")) as (_, model):
        assert await ask(model) == ["Hi"]


async def test_options_tools_and_any_text_go_out() -> None:
    tool = {"type": "function", "function": {"name": "a", "parameters": {}}}
    request = ModelRequest(
        [{"role": "user", "content": "é \ud800"}],
        tools=[tool],
        temperature=0.5,
        max_tokens=9,
        session={"secret": True},
    )
    respond = streaming(*text("Hi"), DONE)
    async with endpoint(respond, limit_name="max_completion_tokens") as (stub, model):
        await ask(model, request)
    assert stub.requests == [
        {
            "model": "gpt-x",
            "messages": [{"role": "user", "content": "é \ud800"}],
            "stream": True,
            "tools": [tool],
            "temperature": 0.5,
            "max_completion_tokens": 9,
        }
    ]


async def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with endpoint(streaming(*text("Hi"), DONE)) as (_, model):
        assert await ask(model) == ["Hi"]


# -- tool calls ------------------------------------------------------------------------------


def call(**part: Any) -> bytes:
    return event({"tool_calls": [part]})


@pytest.mark.parametrize(
    ("parts", "calls"),
    [
        (
            [
                call(index=0, id="c1", type="function", function={"name": "a", "arguments": ""}),
                call(index=0, function={"arguments": '{"n"'}),
                call(index=1, id="c2", function={"name": "b", "arguments": "{}"}),
                call(index=0, function={"arguments": ": 1}"}),
            ],
            [ToolCall("c1", "a", '{"n": 1}'), ToolCall("c2", "b", "{}")],
        ),
        (
            [
                call(id="c1", function={"name": "a", "arguments": {"n": 1}}),
                call(id="c2", function={"name": "b"}),
                call(function={"arguments": "{}"}),
            ],
            [ToolCall("c1", "a", '{"n": 1}'), ToolCall("c2", "b", "{}")],
        ),
        (
            [call(index=0, function={"name": "a"}), call(index=1, function={"name": "b"})],
            [ToolCall("", "a", "{}"), ToolCall("", "b", "{}")],
        ),
        ([call(index=0, id="c1", function={"arguments": "{}"})], []),
        ([event({"tool_calls": [None, 3]}), event({"tool_calls": None})], []),
    ],
)
async def test_tool_calls_are_put_together_from_their_pieces(
    parts: Sequence[bytes], calls: list[ToolCall]
) -> None:
    finish = event(finish_reason="tool_calls")
    async with endpoint(streaming(*text("Wait."), *parts, finish, DONE)) as (_, model):
        assert await ask(model) == ["Wait.", *calls]


# -- cancelling --------------------------------------------------------------------------------


async def test_closing_the_stream_hangs_up_at_once() -> None:
    async def respond(writer: asyncio.StreamWriter) -> None:
        await streaming(*text("Hi"), end=b"")(writer)

    async with endpoint(respond) as (stub, model):
        async with closing(model.stream(HELLO)) as pieces:
            assert await anext(pieces) == "Hi"
        async with asyncio.timeout(5):
            await stub.hung_up.wait()


async def test_cancelling_the_task_hangs_up_before_the_first_word_too() -> None:
    asked = asyncio.Event()

    async def respond(writer: asyncio.StreamWriter) -> None:
        asked.set()

    async with endpoint(respond) as (stub, model):
        task = asyncio.ensure_future(ask(model))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5):
            await stub.hung_up.wait()


# -- failures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "said", "fix"),
    [
        (401, {"error": {"message": f"bad key {KEY}"}}, "refused the key", "OPENAI_API_KEY"),
        (403, b"<html>", "refused the key", "OPENAI_API_KEY"),
        (404, {"error": {"message": "gone"}}, "does not know the model `gpt-x`: gone", "check"),
        (429, {"error": "slow\ndown"}, "has no capacity left for this key: slow down", "plan"),
        (400, {"error": {"message": f"I got {KEY}"}}, "status 400: I got ***", None),
        (422, {"message": "x" * 500}, "xxx", None),
        (500, b"\xff\xfe", "failed with status 500", "again"),
        (503, b"x" * 200_000, "failed with status 503", "again"),
    ],
)
async def test_a_refusal_is_one_sentence_with_a_fix_and_without_the_key(
    status: int, body: Any, said: str, fix: str | None
) -> None:
    async with endpoint(refusing(status, body)) as (_, model):
        with pytest.raises(EngineError) as failed:
            await ask(model)
    error = failed.value
    assert said in error.message
    assert "openai/gpt-x" in error.message
    assert len(error.message) < 300
    assert fix is None or fix in str(error.fix)
    assert KEY not in error.message + str(error.fix)


async def test_a_redirect_is_not_followed_with_the_key() -> None:
    async with endpoint(refusing(302, b"", "location: http://127.0.0.1:1/\r\n")) as (stub, model):
        with pytest.raises(EngineError, match="redirect"):
            await ask(model)
    assert len(stub.requests) == 1


async def test_a_model_that_ollama_lacks_is_to_be_pulled() -> None:
    async with endpoint(refusing(404, {}), provider="ollama", key=None) as (stub, model):
        with pytest.raises(EngineError) as failed:
            await ask(model)
    assert "`ollama pull gpt-x`" in str(failed.value.fix)
    assert "authorization" not in stub.headers[0].lower()


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        (streaming(*text("Hi"), end=b""), ["Hi"]),
        (streaming(*text("Hi")), ["Hi"]),
        (streaming(*text("Hi"), b"data: {broken\n\n"), ["Hi"]),
        (streaming(b"data: [1]\n\n"), []),
        (streaming(b'data: {"error": {"message": "overloaded"}}\n\n'), []),
        (streaming(b"data: " + b"x" * (MAX_EVENT + 1)), []),
        (streaming(end=b"zz\r\n"), []),
    ],
)
async def test_a_broken_stream_is_an_error_after_the_words_that_came(
    respond: Respond, words: list[str]
) -> None:
    async def once(writer: asyncio.StreamWriter) -> None:
        await respond(writer)
        writer.close()

    got: list[str | ToolCall] = []

    async def collect(model: OpenAIModel) -> None:
        async for piece in model.stream(HELLO):
            got.append(piece)

    async with endpoint(once) as (_, model):
        with pytest.raises(EngineError) as failed:
            await collect(model)
    assert got == words
    assert failed.value.fix


async def test_an_endpoint_that_falls_silent_is_given_up() -> None:
    async with endpoint(streaming(*text("Hi"), end=b"")) as (stub, _):
        model = OpenAIModel(Endpoint("openai", stub.url), "gpt-x", silence_s=0.01)
        with pytest.raises(EngineError, match=r"was silent for 0\.01 s"):
            await ask(model)
        await model.aclose()


async def test_an_address_where_nobody_listens_says_how_to_start_the_server() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    place = Endpoint("ollama", f"http://127.0.0.1:{port}/v1", start="start it with `ollama serve`")
    with pytest.raises(EngineError) as failed:
        await ask(OpenAIModel(place, "llama"))
    assert "cannot be reached" in failed.value.message
    assert failed.value.fix == "start it with `ollama serve`"


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/v1", "http://[::1/v1", "nonsense", "http://"])
async def test_an_address_that_is_none_is_an_error(url: str) -> None:
    with pytest.raises(EngineError):
        await ask(OpenAIModel(Endpoint("openai", url), "m"))


def test_neither_key_nor_password_is_shown() -> None:
    place = Endpoint("openai", "https://u:pw@example.com/v1", key=KEY)
    assert KEY not in repr(place)
    assert without_secrets("https://u:pw@example.com:8/v1?key=x") == "https://example.com:8/v1"
    assert "pw" not in repr(place)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1/v1", True),
        ("http://localhost/v1", True),
        ("http://[::1]/v1", True),
        ("http://10.0.0.1/v1", False),
        ("https://localhost.example.com/v1", False),
        ("http://[::1", False),
    ],
)
def test_only_this_machine_is_this_machine(url: str, here: bool) -> None:
    assert is_loopback(url) is here


# -- server-sent events --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data:a\r\n\r\ndata:  b\r\rdata: c\n\r\n", ["a", " b", "c"]),
        (b": comment\nevent: x\nid: 1\nretry: 9\ndata: a\ndata: b\n\n", ["a\nb"]),
        (b"\n\n\nevent: nothing\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", ["a"]),
        (b"data: open", ["open"]),
        (b"data\n\ndata:\n\n", ["", ""]),
        (b"data: \xe2\x82", ["\ufffd"]),
    ],
)
def test_events_are_read_as_the_format_says(stream: bytes, data: list[str]) -> None:
    for size in (1, 2, 3, len(stream)):
        events = EventStream()
        got = []
        for at in range(0, len(stream), size):
            got += events.feed(stream[at : at + size])
        assert [*got, *events.close()] == data


def test_an_event_that_never_ends_is_given_up() -> None:
    events = EventStream()
    line = b"data: " + b"x" * 1024 + b"\n"
    for _ in range(MAX_EVENT // 1024):
        events.feed(line)
    with pytest.raises(EventTooLongError):
        events.feed(line)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=6))
def test_how_bytes_are_cut_does_not_change_what_is_read(data: bytes, cuts: list[int]) -> None:
    whole = EventStream()
    expected = [*whole.feed(data), *whole.close()]
    parts = EventStream()
    got: list[str] = []
    start = 0
    for end in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        got += parts.feed(data[start:end])
        start = end
    assert [*got, *parts.close()] == expected
