"""Conversations in writing, held by the client against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pinecall_cli.agent.define import Agent, tool
from pinecall_cli.errors import (
    CallFailedError,
    NotAuthorisedError,
    PinecallError,
    ServerUnreachableError,
)
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received, Unknown
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.chat import Chat
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.server.peer import Peer, connected

PATIENCE_S = 20.0
RULES = [
    {"on": "order", "call": "lookup", "say": "It is {result.status}."},
    {"on": "stuck", "call": "stuck", "say": "done"},
    {"say": "You said: {text}"},
]


@tool
def lookup() -> dict[str, str]:
    """Look up an order."""
    return {"status": "shipped"}


@tool
async def stuck() -> dict[str, str]:
    """Take as long as it takes."""
    await asyncio.Event().wait()
    return {}


class Ear:
    """What a conversation told."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.lost: list[PinecallError] = []
        self._news = asyncio.Event()

    def hear(self, received: Received) -> None:
        self.frames.append(received.frame)
        self._news.set()

    def lose(self, problem: PinecallError) -> None:
        self.lost.append(problem)
        self._news.set()

    async def until(self, there: Callable[[], bool]) -> None:
        while not there():
            self._news.clear()
            await self._news.wait()

    def of(self, *kinds: type) -> list[Any]:
        return [frame for frame in self.frames if isinstance(frame, kinds)]


@asynccontextmanager
async def conversation(
    server: EmbeddedServer, agent: str = "desk", *, answer_within_s: float = PATIENCE_S
) -> AsyncIterator[tuple[Chat, Ear]]:
    ear = Ear()
    chat = await Chat.open(
        server.url,
        Secret(server.key),
        agent,
        hear=ear.hear,
        lost=ear.lose,
        answer_within_s=answer_within_s,
    )
    async with chat, asyncio.timeout(PATIENCE_S):
        yield chat, ear


def desk(**options: Any) -> Agent:
    local = {"llm": "script", "script": RULES}
    return Agent("desk", **({"tools": [lookup, stuck], "local": local} | options))


async def register(client: Pinecall, agent: Agent) -> None:
    client.add(agent)
    await client.registered()


async def test_a_message_is_answered_word_by_word_and_the_last_frame_is_returned(
    server: EmbeddedServer, client: Pinecall
):
    await register(client, desk())
    async with conversation(server) as (chat, ear):
        done = await chat.write("good morning")
        assert isinstance(done, events.LlmChatDone)
        assert done.text == "You said: good morning"
        assert isinstance(ear.frames[0], events.LlmChatStarted)
        assert ear.frames[-1] is done
        assert "".join(frame.token for frame in ear.of(events.LlmChatToken)) == done.text
        # The agent's owner is told in other words, and on another connection.
        assert ear.of(events.ChatMessage, events.ChatResponse, events.LlmToolCall) == []


async def test_the_tools_that_are_called_are_heard_of(server: EmbeddedServer, client: Pinecall):
    await register(client, desk())
    async with conversation(server) as (chat, ear):
        done = await chat.write("where is my order?")
        assert done == ear.frames[-1]
        (called,) = ear.of(events.LlmChatToolCall)
        (answered,) = ear.of(events.LlmChatToolResult)
        assert [one.name for one in called.tool_calls] == ["lookup"]
        assert answered.result == '{"status": "shipped"}'
        assert done.text == "It is shipped."


async def test_one_conversation_has_one_history_and_the_next_has_none(
    server: EmbeddedServer, client: Pinecall
):
    await register(client, desk())
    ended: asyncio.Queue[Call] = asyncio.Queue()
    client.on("call.ended", lambda call, reason: ended.put_nowait(call))
    for texts in (["one", "two"], ["three"]):
        async with conversation(server) as (chat, _):
            for text in texts:
                await chat.write(text)
        async with asyncio.timeout(PATIENCE_S):
            call = await ended.get()
        assert call.id == chat.session_id
        said = [message["content"] for message in call.messages]
        assert said == [part for text in texts for part in (text, f"You said: {text}")]


async def test_what_concerns_another_conversation_is_not_heard(
    server: EmbeddedServer, client: Pinecall
):
    await register(client, desk())
    async with conversation(server) as (one, ear_one), conversation(server) as (two, ear_two):
        await asyncio.gather(one.write("first"), two.write("second"))
        assert [frame.text for frame in ear_one.of(events.LlmChatDone)] == ["You said: first"]
        assert [frame.text for frame in ear_two.of(events.LlmChatDone)] == ["You said: second"]


async def test_what_the_agent_says_unasked_is_heard(server: EmbeddedServer, client: Pinecall):
    agent = desk()
    calls: asyncio.Queue[Call] = asyncio.Queue()
    agent.on("chat.started", calls.put_nowait)
    await register(client, agent)
    async with conversation(server) as (chat, ear):
        await chat.write("hello")
        (await calls.get()).say("By the way: we close at six.")
        await ear.until(lambda: len(ear.of(events.LlmChatDone)) == 2)
        assert ear.frames[-1].text == "By the way: we close at six."
        # Nor is it taken for the next answer.
        answer = await chat.write("thanks")
        assert isinstance(answer, events.LlmChatDone)
        assert answer.text == "You said: thanks"


async def test_a_turn_that_fails_is_no_exception_and_not_the_end(
    server: EmbeddedServer, client: Pinecall
):
    async with conversation(server) as (chat, _):
        failed = await chat.write("anybody?")
        assert isinstance(failed, events.LlmChatError)
        assert failed.code == "AGENT_NOT_FOUND"
        await register(client, desk())
        assert isinstance(await chat.write("now?"), events.LlmChatDone)


async def test_an_agent_that_hangs_up_on_a_question_is_no_endless_wait(
    server: EmbeddedServer, client: Pinecall
):
    agent = desk()
    agent.on("llm.tool_call", lambda event, call: call.hangup())
    await register(client, agent)
    async with conversation(server) as (chat, _):
        failed = await chat.write("get stuck")
        assert isinstance(failed, events.LlmChatError)
        assert failed.error == "the conversation has ended: hangup"


async def test_no_answer_in_time_ends_the_conversation(server: EmbeddedServer, client: Pinecall):
    await register(client, desk())
    async with conversation(server, answer_within_s=0.05) as (chat, _):
        for text in ("get stuck", "again"):  # a late answer would be taken for the next one
            with pytest.raises(CallFailedError, match="no answer from `desk`") as caught:
                await chat.write(text)
            assert (caught.value.code, caught.value.exit_code) == ("no_answer", 1)


async def test_a_connection_lost_while_an_answer_is_awaited_fails_the_message(
    server: EmbeddedServer, client: Pinecall
):
    await register(client, desk())
    async with conversation(server) as (chat, ear):
        writing = asyncio.ensure_future(chat.write("get stuck"))
        await ear.until(lambda: bool(ear.of(events.LlmChatToolCall)))
        drop(server, keep=client)
        with pytest.raises(ServerUnreachableError, match="connection was lost") as caught:
            await writing
        assert caught.value.exit_code == 3
        assert ear.lost == []


async def test_a_connection_lost_in_between_is_told_and_the_next_message_fails(
    server: EmbeddedServer, client: Pinecall
):
    await register(client, desk())
    async with conversation(server) as (chat, ear):
        await chat.write("hello")
        drop(server, keep=client)
        await ear.until(lambda: bool(ear.lost))
        with pytest.raises(ServerUnreachableError):
            await chat.write("hello?")


def drop(server: EmbeddedServer, *, keep: Pinecall) -> None:
    """Close every agent socket that has registered no agent."""

    def close() -> None:
        for connection in tuple(server.server.connections):
            if not connection.agents:
                connection.close(1011, "pulled")

    assert keep.names
    server.call_soon(close)


async def test_a_closed_conversation_is_over_on_the_server_and_tells_nothing_more(
    server: EmbeddedServer, client: Pinecall
):
    ended: asyncio.Queue[str] = asyncio.Queue()
    client.on("call.ended", lambda call, reason: ended.put_nowait(reason))
    await register(client, desk())
    async with conversation(server) as (chat, ear):
        await chat.write("hello")
    async with asyncio.timeout(PATIENCE_S):
        assert await ended.get() == "chat_completed"
    assert ear.lost == []
    await chat.close()


async def test_a_key_that_is_refused_and_a_server_that_is_not_there(server: EmbeddedServer):
    def ignore(what: object) -> None:
        """Hear nothing."""

    with pytest.raises(NotAuthorisedError):
        await Chat.open(server.url, Secret("pk_wrong"), "desk", hear=ignore, lost=ignore)
    with pytest.raises(ServerUnreachableError):
        await Chat.open("http://127.0.0.1:9", Secret("k"), "desk", hear=ignore, lost=ignore)


async def test_a_view_that_breaks_is_told_to_who_waits(server: EmbeddedServer, client: Pinecall):
    await register(client, desk())

    def break_down(received: Received) -> None:
        raise OSError("no space left on device")

    chat = await Chat.open(
        server.url, Secret(server.key), "desk", hear=break_down, lost=lambda error: None
    )
    async with chat, asyncio.timeout(PATIENCE_S):
        with pytest.raises(OSError, match="no space left"):
            await chat.write("hello")


# --- servers with other habits ------------------------------------------------------------------


@asynccontextmanager
async def by_hand(server: EmbeddedServer) -> AsyncIterator[Peer]:
    """Run an agent whose answers the test writes, frame by frame."""
    async with connected(server, server.key) as peer:
        await peer.agent("desk")
        yield peer


async def answer(peer: Peer, *replies: str) -> None:
    message = await peer.until("turn.end")
    for number, text in enumerate(replies):
        await peer.send(
            "bot.reply",
            call_id=message["call_id"],
            message_id=f"m{number}",
            text=text,
            in_reply_to=message["message_id"],
        )


async def test_an_application_without_a_model_answers_as_well(server: EmbeddedServer):
    async with by_hand(server) as peer, conversation(server) as (chat, _):
        done, _ = await asyncio.gather(chat.write("hello"), answer(peer, "Hi there."))
        assert isinstance(done, events.LlmChatDone)
        assert done.text == "Hi there."


@pytest.mark.parametrize("key", ["session_id", "call_id"])
async def test_frames_that_no_one_knows_are_heard_if_they_are_of_the_conversation(key: str):
    heard: list[object] = []
    client = Pinecall(Secret("k"), "http://127.0.0.1:9", auto_reconnect=False)
    chat = Chat(client, "desk", hear=lambda one: heard.append(one.frame), lost=lambda error: None)
    for frame in frames(chat, key):
        for tap in client._office.taps:
            tap(Received(frame, b"{}"))
    await chat.close()
    assert [frame.event for frame in heard if isinstance(frame, Unknown)] == ["docs.sources"]


def frames(chat: Chat, key: str) -> Sequence[Unknown]:
    return (
        Unknown("docs.sources", {"event": "docs.sources", key: chat.session_id}),
        Unknown("docs.sources", {"event": "docs.sources", key: "chat-another"}),
        Unknown("news", {"event": "news"}),
    )
