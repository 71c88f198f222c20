"""One call for the page that has asked for it: sessions.md §5.2."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

from pinecall_cli.protocol import events
from pinecall_cli.protocol.events_llm import ToolCall
from pinecall_cli.protocol.frames import Event
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.jumping import BACKEND
from tests.sdk.pretended import ABOUT, Office, started
from tests.sdk.test_voice import calling
from tests.sdk.web import Page, reading, served


def only_call(office: Office) -> Call:
    (call,) = office.client.calls()
    return call


async def course(*frames: Event, before: tuple[Event, ...] = ()) -> list[tuple[str, Any]]:
    """Return what a page is told of some frames, the end included."""
    office = Office()
    office.happen(started(), *before)
    page = Page(only_call(office).stream_sse())
    await page.until(2)
    ended = events.CallEnded(reason="hangup", duration_seconds=13.6, **ABOUT)
    office.happen(*frames, ended)
    await page.served
    assert page.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    first, *found, last = page.events
    assert first == ("call.started", {"callId": "c1"})
    assert last == ("call.ended", {"reason": "hangup", "duration": 14})
    return found


def spoken(id: str, text: str) -> list[Event]:
    """Return the frames of a message of the agent's."""
    words = [
        events.BotWord(message_id=id, word=word, word_index=number, **ABOUT)
        for number, word in enumerate(text.split())
    ]
    end = [events.MessageConfirmed(message_id=id, text=text, **ABOUT)]
    return [events.BotSpeaking(message_id=id, **ABOUT), *words, *end]


async def test_a_page_follows_the_call_it_asked_for_on_a_real_server(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = client.agent("front-desk", llm="script", prompt="x")
    await client.registered()

    async def endpoint(request: Request) -> Any:
        return client.calls("front-desk")[0].stream_sse()

    async with served(Starlette(routes=[Route("/call", endpoint)])) as url:
        async with calling(server, client, agent) as call:
            async with reading(url + "/call") as page:
                assert page.headers["content-type"] == "text/event-stream"
                assert await page.next() == ("call.started", {"callId": call.id})
                await call.say("Hi there")
                said = await page.until("bot.confirmed")
                assert said == {"text": "Hi there", "messageId": "greeting"}
                assert [one["text"] for one in page.of("bot.word")] == ["Hi", "Hi there"]
                await call.hangup()
                ended = await page.until("call.ended")
                assert ended == {"reason": call.reason, "duration": round(call.duration or 0)}
                with pytest.raises(EOFError):
                    await page.next()


async def test_the_words_of_a_message_grow_and_the_first_one_is_the_greeting() -> None:
    found = await course(*spoken("m1", "Good day"), *spoken("m2", "How may I help?"))
    assert found == [
        ("bot.word", {"text": "Good", "messageId": "greeting"}),
        ("bot.word", {"text": "Good day", "messageId": "greeting"}),
        ("bot.confirmed", {"text": "Good day", "messageId": "greeting"}),
        ("bot.word", {"text": "How", "messageId": "m2"}),
        ("bot.word", {"text": "How may", "messageId": "m2"}),
        ("bot.word", {"text": "How may I", "messageId": "m2"}),
        ("bot.word", {"text": "How may I help?", "messageId": "m2"}),
        ("bot.confirmed", {"text": "How may I help?", "messageId": "m2"}),
    ]


async def test_who_speaks_first_is_the_caller_then_there_is_no_greeting() -> None:
    wanted = events.LlmToolCall(
        msg_id="r1",
        tool_calls=(
            ToolCall(id="t1", name="find", arguments='{"id": 7}'),
            ToolCall(id="t2", name="note", arguments="{broken"),
        ),
        **ABOUT,
    )
    found = await course(
        events.UserSpeaking(text="Whe", **ABOUT),
        events.UserMessage(message_id="u1", text="Where is it?", **ABOUT),
        wanted,
        *spoken("m1", "There."),
        events.MessageConfirmed(message_id="m9", text="", **ABOUT),
        events.BotWord(message_id="m8", word="hm", word_index=0, **ABOUT),  # does not play
    )
    assert found == [
        ("user.speaking", {"text": "Whe", "messageId": ""}),
        ("user.message", {"text": "Where is it?", "messageId": "u1"}),
        ("tool.call", {"name": "find", "args": {"id": 7}}),
        ("tool.call", {"name": "note", "args": "{broken"}),
        ("bot.word", {"text": "There.", "messageId": "m1"}),
        ("bot.confirmed", {"text": "There.", "messageId": "m1"}),
    ]


async def test_a_page_that_comes_later_is_told_the_greeting() -> None:
    greeting = tuple(spoken("m1", "Good day"))
    assert await course(before=greeting) == [
        ("bot.confirmed", {"text": "Good day", "messageId": "greeting"})
    ]
    *half, _ = greeting
    found = await course(greeting[-1], before=(*half,))
    assert found == [("bot.confirmed", {"text": "Good day", "messageId": "greeting"})]
    asked = events.UserMessage(message_id="u1", text="Hello?", **ABOUT)
    found = await course(*spoken("m1", "Yes"), before=(asked,))
    assert [data["messageId"] for _, data in found] == ["m1", "m1"]


async def test_a_chat_is_told_too() -> None:
    office, about = Office(), {"agent_id": "front-desk", "call_id": "chat-1"}
    office.happen(events.LlmChatStarted(**about))
    call = only_call(office)
    page = Page(call.stream_sse())
    await page.until(2)
    office.happen(
        events.ChatMessage(text="Hi", message_id="u1", **about),
        events.ChatResponse(text="Hello", **about),
        events.ChatResponse(text="", **about),
        events.LlmChatEnded(**about),
    )
    await page.served
    assert page.events[1:] == [
        ("user.message", {"text": "Hi", "messageId": "u1"}),
        ("bot.confirmed", {"text": "Hello", "messageId": ""}),
        ("call.ended", {"reason": "chat_completed", "duration": 0}),
    ]


async def test_of_a_call_that_is_over_there_is_a_beginning_and_an_end() -> None:
    office = Office()
    office.happen(started())
    call = only_call(office)
    office.happen(events.CallEnded(reason="hangup", **ABOUT))
    page = Page(call.stream_sse())
    await page.served
    assert [name for name, _ in page.events] == ["call.started", "call.ended"]
    assert repr(call.stream_sse()) == "<CallStream of c1>"


@pytest.mark.parametrize("anyio_backend", [BACKEND])
async def test_a_comment_comes_every_twenty_five_seconds_and_leaving_frees_everything() -> None:
    office, loop = Office(), asyncio.get_running_loop()
    office.happen(started())
    call = only_call(office)
    page = Page(call.stream_sse())
    await page.until(2)
    begun = loop.time()
    await page.until(4, within=100)
    assert loop.time() - begun == pytest.approx(50, abs=0.01)
    assert page.bodies[1:] == [b":ping\n\n"] * 2
    telling = weakref.ref(call.take_handlers("bot.word")[0].__self__)  # type: ignore[attr-defined]
    await page.leave()
    assert call.take_handlers("bot.word") == ()
    page.served = None  # type: ignore[assignment]
    gc.collect()
    assert telling() is None
