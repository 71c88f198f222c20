"""Streams as endpoints: what they answer, slow readers, pings, and the key."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import pytest

from pinecall_cli.protocol import events
from pinecall_cli.protocol.events_llm import ToolCall
from pinecall_cli.sdk.reader import MOST_WAITING, Reader, SlowReaderError
from pinecall_cli.sdk.streamed import StreamEvent
from pinecall_cli.sdk.streams import action
from tests.sdk.jumping import BACKEND
from tests.sdk.pretended import ABOUT, CALL, Office, started, word
from tests.sdk.web import Page

# --- endpoints, in memory -----------------------------------------------------------------------


async def test_only_reading_is_allowed_and_head_has_no_body() -> None:
    stream = Office().client.stream()
    page = Page(stream, method="POST")
    await page.served
    assert page.status == 405
    assert (b"allow", b"GET, HEAD") in page.sent[0]["headers"]
    page = Page(stream, method="HEAD")
    await page.served
    assert (page.status, page.bodies) == (200, [b""])


async def test_one_call_alone_can_be_asked_for() -> None:
    office = Office()
    page = Page(office.client.stream(), "/events?session=c2")
    socket = Page(office.client.stream(), "/ws?session=c1", type="websocket")
    await page.until(2)
    await socket.until(2)
    office.happen(started(call="c1"), started(call="c2"), word(0), word(1, call_id="c2"))
    await socket.until(4)
    await page.until(3)
    assert [data.get("callId") for _, data in page.events] == [None, "c2", "c2"]
    assert [one.get("callId") for one in socket.texts] == [None, "c1", "c1"]
    await page.leave()
    await socket.leave()


async def test_a_websocket_has_tool_calls_and_repetitions() -> None:
    office = Office()
    socket = Page(office.client.stream(), type="websocket")
    wanted = events.LlmToolCall(
        msg_id="r1", tool_calls=(ToolCall(id="t1", name="find", arguments="{}"),), **ABOUT
    )
    twice = events.MessageConfirmed(message_id="m1", text="Yes.", **ABOUT)
    await socket.until(2)
    office.happen(started(), wanted, twice, twice)
    await socket.until(6)
    assert [one["event"] for one in socket.texts] == [
        "connected",
        "call.started",
        "llm.toolCall",
        *["message.confirmed"] * 2,
    ]
    assert socket.texts[2]["toolCalls"][0]["name"] == "find"
    await socket.leave()


async def test_a_websocket_has_what_tools_returned_if_that_is_asked_for() -> None:
    office = Office()
    agent = office.client.get_agent("front-desk")
    assert agent is not None
    asked = Page(agent.stream(tool_results=True), type="websocket")
    others = [Page(office.client.stream(), type="websocket")]
    others.append(Page(office.client.stream(tool_results=True)))
    for page in (asked, *others):
        await page.until(2)
    returned = events.LlmToolResult(tool_call_id="t1", name="find", result={"at": [1]}, **ABOUT)
    office.happen(started(), returned, word(0))
    await asked.until(5)
    assert [one["event"] for one in asked.texts[1:]] == [
        *("call.started", "llm.tool_result", "bot.word")
    ]
    told = asked.texts[2]
    assert told == CALL | {
        "event": "llm.tool_result",
        "agent": "front-desk",
        "toolCallId": "t1",
        "name": "find",
        "result": {"at": [1]},
    }
    for page in others:
        await page.until(3)
        names = [one["event"] for one in page.texts] or [name for name, _ in page.events]
        assert names == ["connected", "call.started", "bot.word"]
    for page in (asked, *others):
        await page.leave()


@pytest.mark.parametrize("text", ["", "ping", "[]", '{"action": 1}', '{"action": "dance"}', None])
def test_what_a_page_says_otherwise_means_nothing(text: str | None) -> None:
    assert action(text) != "ping"


@pytest.mark.parametrize(
    ("origin", "accepted"),
    [
        (None, True),
        ("https://app.example", True),
        ("https://APP.example", True),
        ("https://evil.example", False),
        ("null", False),
        ("https://trusted.example", True),
    ],
)
async def test_a_websocket_is_for_pages_of_the_same_origin(
    origin: str | None, accepted: bool
) -> None:
    stream = Office().client.stream(allowed_origins=["https://trusted.example"])
    headers = [(b"host", b"app.example")]
    headers += [] if origin is None else [(b"origin", origin.encode())]
    socket = Page(stream, type="websocket", headers=headers)
    await socket.until(1)
    assert (socket.sent[0]["type"] == "websocket.accept") is accepted
    if accepted:
        await socket.leave()


async def test_a_websocket_that_is_gone_before_it_is_open_is_nothing() -> None:
    stream = Office().client.stream()

    async def receive() -> dict[str, Any]:
        return {"type": "websocket.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await stream({"type": "websocket"}, receive, send)


@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_a_server_that_says_when_sending_that_nobody_is_there_is_believed(kind: str) -> None:
    office = Office()
    page = Page(office.client.stream(), type=kind)
    await page.until(2)

    async def gone(message: Any) -> None:
        raise OSError("gone")

    incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    incoming.put_nowait({"type": f"{kind}.connect"})
    await office.client.stream()({**page.scope}, incoming.get, gone)
    await page.leave()
    assert not office.client._feed._readers


# --- slow readers -------------------------------------------------------------------------------


async def test_a_slow_page_is_dropped_with_a_reason_and_holds_up_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    office = Office()
    slow, quick = (Page(office.client.stream()) for _ in range(2))
    await slow.until(2)
    await quick.until(2)
    slow.reads.clear()
    office.happen(started())
    for number in range(MOST_WAITING + 10):
        office.happen(word(number))
        if number % 1000 == 0:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    slow.reads.set()
    await slow.served
    name, why = slow.events[-1]
    assert (name, why["reason"]) == ("error", "slow_consumer")
    assert "waited to be read" in why["message"]
    assert "a reader of events was dropped" in caplog.text
    async with asyncio.timeout(10):
        while len(quick.events) < MOST_WAITING + 12:
            quick.more.clear()
            await quick.more.wait()
    indices = [data["wordIndex"] for name, data in quick.events if name == "bot.word"]
    assert indices == list(range(MOST_WAITING + 10))
    await quick.leave()


@pytest.mark.parametrize("anyio_backend", [BACKEND])
@pytest.mark.parametrize("kind", ["http", "websocket"])
async def test_one_that_does_not_even_take_the_reason_is_cut_off(kind: str) -> None:
    office = Office()
    page = Page(office.client.stream(), type=kind)
    await page.until(2)
    page.reads.clear()
    office.happen(started(), *(word(number) for number in range(MOST_WAITING + 1)))
    await page.served
    assert not office.client._feed._readers


async def test_a_slow_websocket_is_closed_with_the_reason() -> None:
    office = Office()
    page = Page(office.client.stream(), type="websocket")
    await page.until(2)
    office.happen(started(), *(word(number) for number in range(MOST_WAITING)))
    await page.served
    assert page.texts[-1]["reason"] == "slow_consumer"
    assert page.sent[-1] == {"type": "websocket.close", "code": 1008, "reason": "slow_consumer"}


async def test_a_slow_iterator_is_told() -> None:
    office = Office()
    subscription = aiter(office.client.stream())
    office.happen(started(), *(word(number) for number in range(MOST_WAITING + 5)))
    with pytest.raises(SlowReaderError, match="waited to be read"):
        await anext(subscription)


async def test_an_iterator_that_is_let_go_costs_nothing() -> None:
    office = Office()
    stream = office.client.stream()
    closed, forgotten = aiter(stream), aiter(stream)
    await closed.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(closed)
    assert office.client._feed._readers
    del forgotten
    gc.collect()
    office.happen(started())
    assert not office.client._feed._readers
    assert office.client._handlers.take("*") == ()


async def test_a_reader_on_another_loop_hears_the_same() -> None:
    ready, done = threading.Event(), asyncio.Event()
    here = asyncio.get_running_loop()
    heard: list[str] = []
    office = Office()

    async def elsewhere() -> None:
        subscription = aiter(office.client.stream())
        ready.set()
        async for event in subscription:
            heard.append(event.name)
            if event.name == "bot.word":
                break
        here.call_soon_threadsafe(done.set)

    thread = threading.Thread(target=lambda: asyncio.run(elsewhere()))
    thread.start()
    await asyncio.to_thread(ready.wait)
    office.happen(started(), word(0))
    async with asyncio.timeout(10):
        await done.wait()
    thread.join()
    assert heard == ["call.started", "bot.word"]
    office.happen(word(1))  # its loop is closed by now: nothing breaks


async def test_a_reader_whose_loop_is_closed_breaks_nothing() -> None:
    made: list[Reader] = []

    async def make() -> None:
        made.append(Reader())

    thread = threading.Thread(target=lambda: asyncio.run(make()))
    thread.start()
    thread.join()
    made[0].put(StreamEvent("x", {}))
    made[0].end()
    made[0].put(StreamEvent("y", {}))
    assert [event.name for event in await made[0].take()] == ["x"]


# --- time ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("anyio_backend", [BACKEND])
async def test_a_comment_keeps_the_connection_open_every_thirty_seconds() -> None:
    office = Office()
    loop = asyncio.get_running_loop()
    page = Page(office.client.stream())
    await page.until(2)
    begun = loop.time()
    office.happen(started())
    for count in (1, 2, 3):
        while sum(body.count(b":ping\n\n") for body in page.bodies) < count:
            page.more.clear()
            await page.more.wait()
        assert loop.time() - begun == pytest.approx(30 * count, abs=0.01)
    assert [name for name, _ in page.events] == ["connected", "call.started"]
    page.reads.clear()
    await asyncio.sleep(100)
    page.reads.set()
    await page.until(len(page.sent) + 2, within=100)
    comments = b"".join(page.bodies).count(b":ping\n\n")
    assert (comments, loop.time() - begun) == (5, pytest.approx(190, abs=0.01)), (
        "none is made up for"
    )
    await page.leave()


@pytest.mark.parametrize("anyio_backend", [BACKEND])
async def test_a_websocket_is_pinged_every_twenty_five_seconds() -> None:
    loop = asyncio.get_running_loop()
    socket = Page(Office().client.stream(), type="websocket")
    await socket.until(2)
    begun = loop.time()
    await socket.until(4, within=100)
    assert loop.time() - begun == pytest.approx(50, abs=0.01)
    assert socket.texts[1:] == [{"event": "ping"}] * 2
    await socket.leave()


# --- the key ------------------------------------------------------------------------------------


async def test_the_key_is_never_streamed_whoever_says_it() -> None:
    office = Office()
    office.client._key = type(office.client._key)("pk_live_0123456789")  # type: ignore[call-arg]
    page = Page(office.client.stream())
    socket = Page(office.client.stream(), type="websocket")
    await page.until(2)
    await socket.until(2)
    said = events.UserMessage(message_id="m1", text="it is pk_live_0123456789", **ABOUT)
    office.happen(started(), said)
    await socket.until(4)
    await page.until(3)
    assert page.events[-1][1]["text"] == "it is ***"
    assert socket.texts[-1]["text"] == "it is ***"
    await page.leave()
    await socket.leave()


async def test_text_that_utf8_has_no_form_for_breaks_no_stream() -> None:
    office = Office()
    page = Page(office.client.stream())
    await page.until(2)
    office.happen(started(), word(0, "half \ud83d\nand\u2028more"))
    await page.until(3)
    assert page.events[-1][1]["word"] == "half ?\nand\u2028more"
    await page.leave()
