"""Events of calls for a web application in the agent's process: sessions.md §5.1 and §5.3."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import websockets
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute

from pinecall_cli.agent.define import Agent, collecting, tool
from pinecall_cli.errors import UsageError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Event, Unknown
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.streamed import REMEMBERED, Repeats, StreamEvent
from pinecall_cli.sdk.streams import EventStream
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines
from tests.sdk.listening import Log, chat
from tests.sdk.pretended import ABOUT, CALL, Office, started, word
from tests.sdk.test_voice import calling
from tests.sdk.web import Page, reading, served


@tool
def price(lamp: str) -> dict[str, int]:
    """Look up what a lamp costs.

    Args:
        lamp: Its colour.
    """
    return {"euros": 40}


# --- against a real server ----------------------------------------------------------------------


async def test_a_page_reads_every_word_of_a_real_call(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = client.agent("front-desk", llm="script", prompt="x")
    await client.registered()
    app = Starlette(routes=[Route("/events", client.stream()), Mount("/desk", agent.stream())])
    async with served(app) as url, reading(url + "/events") as page, reading(url + "/desk/") as one:
        assert page.headers["content-type"] == "text/event-stream"
        assert page.headers["cache-control"] == "no-cache"
        assert page.headers["connection"] == "keep-alive"
        assert page.headers["x-accel-buffering"] == "no"
        assert await page.next() == ("connected", {"agents": ["front-desk"]})
        assert await one.next() == ("connected", {"agent": "front-desk"})
        async with calling(server, client, agent) as call:
            await call.say("One two three four")
        ended = await page.until("call.ended")
        assert ended == {
            "callId": call.id,
            "from": "webrtc",
            "to": call.to,
            "direction": "inbound",
            "transport": "webrtc",
            "duration": call.duration,
            "reason": call.reason,
            "agent": "front-desk",
        }
        words = page.of("bot.word")
        assert [data["word"] for data in words] == ["One", "two", "three", "four"]
        assert [data["wordIndex"] for data in words] == [0, 1, 2, 3]
        assert {data["callId"] for data in words} == {call.id}
        assert {data["agent"] for data in words} == {"front-desk"}
        (spoken,) = page.of("message.confirmed")
        assert spoken["text"] == "One two three four"
        assert not any("_" in key for _, data in page.seen for key in data)
        (begun,) = page.of("call.started")
        assert "metadata" not in begun
        await one.until("call.ended")
        assert one.seen[1:] == page.seen[1:]


async def test_a_websocket_has_the_same_and_tool_calls(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = client.agent("front-desk", llm="script", prompt="x", tools=[price])
    told = Log()
    client.on("llm.tool_result", told)
    await client.registered()
    app = Starlette(routes=[WebSocketRoute("/ws", client.stream(tool_results=True))])
    async with served(app) as url:
        where = url.replace("http", "ws") + "/ws"
        async with websockets.connect(where, proxy=None) as socket:
            assert json.loads(await socket.recv()) == {
                "event": "connected",
                "agents": ["front-desk"],
            }
            await socket.send('{"action":"ping"}')
            assert json.loads(await socket.recv()) == {"event": "pong"}
            async with calling(server, client, agent) as call:
                await call.say("One two")
            await chat(client, "front-desk", 'tool price {"lamp": "red"}')
            seen = []
            while not seen or seen[-1]["event"] != "llm.tool_result":
                seen.append(json.loads(await socket.recv()))
            assert [one["word"] for one in seen if one["event"] == "bot.word"] == ["One", "two"]
            (asked,) = (one for one in seen if one["event"] == "llm.toolCall")
            returned = seen[-1]
            (wanted,) = asked["toolCalls"]
            assert (wanted["name"], returned["name"]) == ("price", "price")
            assert wanted["id"] == returned["toolCallId"]
            assert returned["result"] == {"euros": 40}
            assert len(told.entries) == 1, "the server tells it again, and that is no news"
            assert returned["callId"] == asked["callId"]
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(where, proxy=None, origin="https://evil.example")  # type: ignore[arg-type]


async def test_a_key_that_is_read_at_each_connection_is_not_read_at_each_event() -> None:
    asked: list[str] = []

    def key() -> Secret:
        asked.append("key")
        return Secret("pk_long_enough")

    async with (
        EmbeddedServer(engines=Engines(), keys=["pk_long_enough"]) as server,
        Pinecall(key, server.url) as client,
    ):
        agent = client.agent("front-desk", llm="script", prompt="x")
        await client.registered()
        app = Starlette(routes=[Route("/events", agent.stream())])
        async with served(app) as url, reading(url + "/events") as page:
            await page.next()
            before = len(asked)
            await chat(client, "front-desk", "my key is pk_long_enough")
            assert (await page.until("bot.speaking"))["text"] == "You said: my key is ***"
            assert len(asked) == before


async def test_a_page_that_leaves_is_forgotten_and_so_is_what_listened_for_it(
    server: EmbeddedServer, client: Pinecall
) -> None:
    await client.registered()
    async with served(Starlette(routes=[Route("/events", client.stream())])) as url:
        async with reading(url + "/events") as page:
            await page.next()
            assert client._feed._readers
    assert not client._feed._readers
    assert client._handlers.take("*") == ()


async def test_streams_end_when_the_client_disconnects(
    server: EmbeddedServer, client: Pinecall
) -> None:
    async with served(Starlette(routes=[Route("/events", client.stream())])) as url:
        async with reading(url + "/events") as page:
            await page.next()
            subscription = aiter(client.stream())
            await client.disconnect()
            with pytest.raises(EOFError):
                await page.next()
            with pytest.raises(StopAsyncIteration):
                await anext(subscription)


async def test_a_framework_that_makes_its_own_responses_takes_the_body(
    server: EmbeddedServer, client: Pinecall
) -> None:
    stream = client.stream()

    async def endpoint(request: Any) -> StreamingResponse:
        return StreamingResponse(stream.body(), headers=dict(stream.headers))

    async with served(Starlette(routes=[Route("/events", endpoint)])) as url:
        async with reading(url + "/events") as page:
            assert page.headers["content-type"] == "text/event-stream"
            assert await page.next() == ("connected", {"agents": []})


async def test_an_endpoint_alone_is_an_application(
    server: EmbeddedServer, client: Pinecall
) -> None:
    async with served(client.stream(), lifespan="on") as url, reading(url) as page:
        assert (await page.next())[0] == "connected"


# --- what is streamed ---------------------------------------------------------------------------


async def told(*frames: Event, agents: Any = None, office: Office | None = None) -> Any:
    """Return what an iterator is told of some frames."""
    office = office or Office()
    subscription = aiter(office.client.stream(agents))
    office.happen(*frames)
    subscription._reader.end()
    return [(event.name, dict(event.data)) async for event in subscription]


async def test_fields_are_flattened_and_the_call_reduced() -> None:
    message = events.UserMessage(
        message_id="m1", text="Hello?", confidence=1, lag_ms=0, turn_id=1, seq=7, **ABOUT
    )
    ended = events.CallEnded(
        reason="hangup",
        duration_seconds=13.24,
        messages=[{"role": "user", "content": "secret"}],
        **ABOUT,
    )
    ((_, begun), (name, said), (_, over)) = await told(started(), message, ended)
    assert begun == CALL | {"agent": "front-desk"}
    assert name == "user.message"
    assert said == CALL | {
        "messageId": "m1",
        "text": "Hello?",
        "confidence": 1,
        "lagMs": 0,
        "turnId": 1,
        "seq": 7,
        "agent": "front-desk",
    }
    assert over == CALL | {"duration": 13.24, "reason": "hangup", "agent": "front-desk"}


async def test_what_is_only_for_the_agent_is_not_streamed() -> None:
    quiet = [
        events.CallHeld(**ABOUT),
        events.CallUnheld(**ABOUT),
        events.CallMuted(**ABOUT),
        events.CallUnmuted(**ABOUT),
        events.LlmToolCall(msg_id="r1", tool_calls=(), **ABOUT),
        events.SessionTimeout(reason="max_duration", **ABOUT),
        events.TurnLatency(turn_id=1, **ABOUT),
    ]
    names = [name for name, _ in await told(started(), *quiet, word(0))]
    assert names == ["call.started", "bot.word"]


async def test_only_true_repetitions_are_dropped() -> None:
    def message(text: str, **more: Any) -> Event:
        return events.UserMessage(message_id="m1", text=text, **ABOUT, **more)

    def status(what: str) -> Event:
        return events.WhatsappStatus(status=what, message_id="m1", agent_id="front-desk")

    interim = events.UserSpeaking(text="Hel", message_id="m1", **ABOUT)
    frames = [message("Hello?", lag_ms=0), message("Hello?", lag_ms=449), message("Hello? You?")]
    confirmed = events.MessageConfirmed(message_id="m2", text="Yes.", seq=213, **ABOUT)
    nameless = events.BotSpeaking(message_id="", text="Yes.", **ABOUT)
    heard = await told(
        started(),
        *frames,
        interim,
        interim,
        word(0),
        word(1),
        word(1),
        confirmed,
        confirmed,
        nameless,
        nameless,
        status("sent"),
        status("delivered"),
        status("delivered"),
    )
    assert [name for name, _ in heard] == [
        "call.started",
        *["user.message"] * 2,
        *["user.speaking"] * 2,
        *["bot.word"] * 3,
        "message.confirmed",
        *["bot.speaking"] * 2,
        *["whatsapp.status"] * 2,
    ]


def test_what_was_told_long_ago_is_forgotten() -> None:
    repeats = Repeats()
    many = [StreamEvent("x", {"messageId": f"m{n}", "agent": "a"}) for n in range(REMEMBERED + 1)]
    assert not any(repeats.is_one(event) for event in many)
    assert repeats.is_one(many[-1])
    assert not repeats.is_one(many[0])


async def test_chats_and_whatsapp_sessions_have_their_own_beginning_and_end() -> None:
    chat = {"agent_id": "front-desk", "call_id": "chat-1"}
    session = {"agent_id": "front-desk", "session_id": "wa-1"}
    heard = await told(
        events.LlmChatStarted(**chat),
        events.ChatMessage(text="Hi", **chat),
        events.LlmChatEnded(**chat),
        events.WhatsappSessionStarted(contact_phone="51999", contact_name="Ana", **session),
        events.WhatsappMessage(from_="51999", text="Hola", message_id="w1", **session),
        events.SessionPaused(**session),
        events.WhatsappSessionEnded(
            contact_phone="51999",
            contact_name="Ana",
            reason="idle_timeout",
            messages=[{"role": "tool", "content": "secret"}],
            transcript=[{"role": "user", "content": "Hola"}],
            **session,
        ),
    )
    assert [name for name, _ in heard] == [
        "user.message",
        "call.ended",
        "whatsapp.sessionStarted",
        "whatsapp.message",
        "session.paused",
        "whatsapp.sessionEnded",
    ]
    begun, message, ended = heard[2][1], heard[3][1], heard[5][1]
    assert (begun["contactPhone"], begun["contactName"]) == ("51999", "Ana")
    assert begun["callId"] == "wa-1"
    assert (message["from"], message["text"], message["paused"]) == ("51999", "Hola", False)
    assert ended["reason"] == "idle_timeout"
    assert "messages" not in ended
    assert ended["transcript"] == [{"role": "user", "content": "Hola"}]


async def test_sessions_lost_with_the_connection_end_on_the_page_too() -> None:
    office = Office()
    subscription = aiter(office.client.stream())
    session = {"agent_id": "front-desk", "session_id": "wa-1"}
    office.happen(started(), events.WhatsappSessionStarted(contact_phone="51999", **session))
    office.client._callbook.lost("connection_lost")
    names = [(await anext(subscription)).name for _ in range(4)]
    assert names[2:] == ["call.ended", "whatsapp.sessionEnded"]


async def test_a_call_that_nobody_announced_begins_once() -> None:
    old = {"agent_id": "front-desk", "call_id": "wrt_1"}
    early = {"agent_id": "front-desk", "call_id": "chat-9"}
    heard = await told(
        events.BotWord(message_id="m", word="hi", word_index=0, **old),
        events.ChatMessage(text="Hi", **early),
    )
    assert [name for name, _ in heard] == ["call.started", "bot.word", "user.message"]


async def test_a_call_that_began_before_is_followed_from_now_on() -> None:
    office = Office()
    office.happen(started())
    assert [name for name, _ in await told(word(0), word(1), office=office)] == ["bot.word"] * 2


async def test_it_is_of_the_agents_that_were_asked_for() -> None:
    office = Office(Agent("a"), Agent("b"), Agent("c"))
    frames = [started(name, f"call-{name}") for name in "abc"]
    b = office.client.get_agent("b")
    subscription = aiter(office.client.stream(agents=["a", b]))  # type: ignore[list-item]
    single = aiter(office.client.stream(agents="c"))
    office.happen(*frames, events.SessionPaused(agent_id="nobody"))
    for one in (subscription, single):
        one._reader.end()
    assert [event.agent async for event in subscription] == ["a", "b"]
    assert [event.agent async for event in single] == ["c"]
    page = Page(office.client.stream(agents=["a", "zzz"]))
    await page.until(2)
    assert page.events == [("connected", {"agents": ["a"]})]
    await page.leave()


async def test_an_agent_under_another_name_is_found_by_its_own() -> None:
    agent = Agent("front-desk")
    office = Office(Agent("other"))
    office.client.add(agent, replace(agent.config, name="dev-ana-front-desk"))
    subscription = aiter(office.client.stream(agents=["front-desk"]))
    office.happen(started("other", "c1"), started("dev-ana-front-desk", "c2"))
    assert (await anext(subscription)).data["agent"] == "dev-ana-front-desk"


async def test_a_file_that_the_command_line_runs_streams_what_its_host_hears() -> None:
    with collecting():
        handle = Pinecall()
        stream = handle.stream()
    office = Office(Agent("front-desk"))
    release = office.client.adopt(handle)
    subscription = aiter(stream)
    office.happen(started())
    event = await anext(subscription)
    assert (event.name, event.call_id, event.agent) == ("call.started", "c1", "front-desk")
    release()


def test_the_stream_of_an_agent_needs_a_client() -> None:
    with pytest.raises(UsageError, match="not registered"):
        Agent("front-desk").stream()
    client = Pinecall("")
    agent = client.agent("front-desk")
    assert isinstance(agent.stream(), EventStream)
    assert repr(agent.stream()) == "<EventStream of front-desk>"
    assert repr(client.stream()) == "<EventStream of all agents>"


async def test_unknown_frames_are_not_streamed() -> None:
    office = Office()
    subscription = aiter(office.client.stream())
    office.happen(started())
    fields = {"event": "new.thing", "call_id": "c1", "agent_id": "front-desk"}
    office.client._callbook.unknown(Unknown("new.thing", fields))
    office.happen(word(0))
    assert [(await anext(subscription)).name for _ in range(2)] == ["call.started", "bot.word"]
