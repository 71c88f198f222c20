"""What `Call` does in a voice call on a real server: saying, hearing, being interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pinecall_cli.agent.define import Agent
from pinecall_cli.audio.pcm import silence
from pinecall_cli.sdk.call import Call, Said
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.sdk.listening import Log


@asynccontextmanager
async def calling(server: EmbeddedServer, client: Pinecall, agent: Agent) -> AsyncIterator[Call]:
    """Call an agent with a silent microphone; hang up at the end."""
    started = Log()
    agent.on("call.started", started)
    async with Rest(server.url, Secret(server.key)) as rest:
        token = await rest.token("webrtc", agent.name, metadata={"userId": "u1"})
    over = asyncio.Event()

    async def silent() -> AsyncIterator[bytes]:
        while not over.is_set():
            yield silence(20, 16_000)
            await asyncio.sleep(0.02)

    async with await MicCall.dial(server.url, token.token) as microphone:
        held = asyncio.ensure_future(
            microphone.hold(silent, play=lambda frame: None, hear=lambda received: None)
        )
        waiting = asyncio.ensure_future(started.until())
        await asyncio.wait({waiting, held}, return_when=asyncio.FIRST_COMPLETED)
        if held.done():
            held.result()
        (call,) = await waiting
        yield call
        over.set()
        await held


async def registered(client: Pinecall, **options: Any) -> Agent:
    agent = client.agent("front-desk", llm="script", prompt="x", **options)
    await client.registered()
    return agent


async def test_a_call_knows_what_it_is(server: EmbeddedServer, client: Pinecall) -> None:
    agent = await registered(client, language="en")
    async with calling(server, client, agent) as call:
        assert (call.transport, call.direction, call.status) == ("webrtc", "inbound", "active")
        assert call.metadata == {"userId": "u1"}
        assert call.language == "en"
        assert client.calls("front-desk") == (call,)
    assert call.status == "ended"
    assert call.duration is not None
    assert call.started_at is not None
    assert call.ended_at is not None


async def test_saying_is_over_when_it_was_heard(server: EmbeddedServer, client: Pinecall) -> None:
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        words = Log()
        call.on("bot.word", lambda event: words(event.word, tuple(call.words)))
        said = await call.say("Hi you", add_to_history=True)
        assert isinstance(said, Said)
        assert not said.interrupted
        assert [word for word, _ in words.entries] == ["Hi", "you"]
        assert words.entries[-1][1] == ("Hi", "you")
        assert call.words == []
        assert call.playing is None
        assert call.transcript == [{"role": "assistant", "content": "Hi you"}]


async def test_what_is_cut_off_says_so(server: EmbeddedServer, client: Pinecall) -> None:
    agent = await registered(client)
    async with calling(server, client, agent) as call:
        speaking = Log()
        call.on("bot.speaking", speaking)
        first = call.say("A long sentence that nobody will ever hear to its end")
        second = call.say("And one that does not begin")
        await speaking.until()
        reason = await call.hangup()
        assert (await first).interrupted
        assert (await second).interrupted
        assert reason == call.reason


async def test_a_greeting_in_a_handler_is_heard_first(
    server: EmbeddedServer, client: Pinecall
) -> None:
    agent = await registered(client)

    @agent.on("call.started")
    async def greet(call: Call) -> None:
        await call.say("Hi", add_to_history=True)

    async with calling(server, client, agent) as call:
        finished = Log()
        call.on("bot.finished", finished)
        await finished.until()
        assert call.transcript == [{"role": "assistant", "content": "Hi"}]
