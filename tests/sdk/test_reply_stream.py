"""Replies that are written while they are spoken: what is sent, and what ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from pinecall_cli.protocol import commands, events
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.reply_stream import ReplyStream
from pinecall_cli.server.embedded import EmbeddedServer
from tests.sdk.listening import Log
from tests.sdk.test_foreign_server import Foreign, foreign
from tests.sdk.test_voice import calling

STARTED = {"from": "webrtc", "to": "webrtc", "direction": "inbound", "transport": "webrtc"}


def stream(answers: str = "u1") -> tuple[ReplyStream, list[tuple[str, str | None]]]:
    """Return a stream, and what it sends: actions with their tokens."""
    sent: list[tuple[str, str | None]] = []

    def post(frame: commands.BotReplyStream) -> None:
        token = None if frame.token is UNSET else frame.token
        sent.append((frame.action, token))
        assert frame.in_reply_to == (answers if frame.action == "start" else UNSET)

    return ReplyStream("c1", answers, post), sent


async def tokens(*texts: str, closed: list[str] | None = None) -> AsyncIterator[str]:
    try:
        for text in texts:
            yield text
    finally:
        if closed is not None:
            closed.append("closed")


# --- what is sent -------------------------------------------------------------------------------


def test_the_first_token_opens_it_and_the_end_closes_it():
    reply, sent = stream()
    assert sent == []
    reply.write("Sure, ")
    reply.write(None)
    reply.write("")
    reply.write("it is.")
    reply.end()
    reply.end()
    assert sent == [("start", None), ("chunk", "Sure, "), ("chunk", "it is."), ("end", None)]
    assert (reply.state, reply.ended, reply.aborted) == ("ended", True, False)


def test_one_that_says_nothing_is_opened_and_closed():
    reply, sent = stream()
    reply.end()
    assert sent == [("start", None), ("end", None)]


def test_after_an_abort_writes_are_counted_and_not_sent():
    reply, sent = stream()
    reply.write("Sure")
    reply.abort("turn_continued")
    reply.abort("call_ended")
    reply.write("too late")
    reply.end()
    assert sent == [("start", None), ("chunk", "Sure"), ("end", None)]
    assert (reply.ignored, reply.reason, reply.state) == (1, "turn_continued", "aborted")


def test_one_that_was_not_opened_is_aborted_in_silence():
    reply, sent = stream()
    reply.abort("turn_continued")
    reply.write("x")
    assert sent == []


async def test_leaving_the_block_ends_it_also_when_something_fails():
    reply, sent = stream()

    async def answer() -> None:
        async with reply:
            reply.write("Sure")
            raise ValueError("model")

    with pytest.raises(ValueError, match="model"):
        await answer()
    assert sent[-1] == ("end", None)


@given(st.lists(st.sampled_from(["write", "end", "abort", "silent"])))
def test_whatever_happens_the_frames_are_a_stream(steps: list[str]):
    reply, sent = stream()
    for step in steps:
        match step:
            case "write":
                reply.write("x")
            case "end":
                reply.end()
            case "abort":
                reply.abort("cancelled")
            case "silent":
                reply.abort("connection_lost", tell=False)
    actions = [action for action, _ in sent]
    assert actions[:1] in ([], ["start"])
    assert actions.count("start") <= 1
    assert actions.count("end") <= 1
    assert "end" not in actions[:-1]
    written = steps.count("write")
    assert actions.count("chunk") + reply.ignored == written


# --- from a model -------------------------------------------------------------------------------


async def test_what_a_model_writes_is_piped_whole():
    reply, sent = stream()
    shut: list[str] = []
    assert await reply.pipe(tokens("one ", "two", closed=shut)) is True
    assert [token for action, token in sent if action == "chunk"] == ["one ", "two"]
    assert shut == ["closed"]
    assert not reply.ended


async def test_an_abort_cancels_the_model_at_once():
    reply, sent = stream()
    asked, shut = asyncio.Event(), asyncio.Event()

    async def model() -> AsyncIterator[str]:
        try:
            yield "one "
            asked.set()
            await asyncio.Event().wait()
            yield "never"
        finally:
            shut.set()

    piping = asyncio.ensure_future(reply.pipe(model()))
    await asked.wait()
    reply.abort("turn_continued")
    assert await piping is False
    assert shut.is_set()
    assert [token for action, token in sent if action == "chunk"] == ["one "]


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_ending_it_meanwhile_cancels_the_model_as_well(elsewhere: bool):
    reply, sent = stream()
    asked, shut = asyncio.Event(), asyncio.Event()

    async def model() -> AsyncIterator[str]:
        try:
            yield "one "
            asked.set()
            await asyncio.Event().wait()
        finally:
            shut.set()

    piping = asyncio.ensure_future(reply.pipe(model()))
    await asked.wait()
    if elsewhere:
        await asyncio.to_thread(reply.end)
    else:
        reply.end()
    assert await piping is False
    assert shut.is_set()
    assert not reply.aborted
    assert sent == [("start", None), ("chunk", "one "), ("end", None)]


async def test_a_model_that_ends_it_itself_comes_to_its_own_end():
    reply, sent = stream()
    finished = []

    async def model() -> AsyncIterator[str]:
        yield "one "
        reply.end()
        await asyncio.sleep(0)
        finished.append(True)
        yield "ignored"

    assert await reply.pipe(model()) is False
    assert finished == [True]
    assert (sent[-1], reply.ignored) == (("end", None), 1)


async def test_a_stream_that_is_over_takes_nothing_and_closes_the_source():
    reply, sent = stream()
    reply.abort("call_ended")
    shut: list[str] = []
    source = tokens("one", closed=shut)
    assert await reply.pipe(source) is False
    assert sent == []
    with pytest.raises(StopAsyncIteration):
        await anext(source)


async def test_what_the_model_raises_is_raised():
    async def broken() -> AsyncIterator[str]:
        yield "one"
        raise ConnectionError("the model is gone")

    reply, _ = stream()
    with pytest.raises(ConnectionError, match="gone"):
        await reply.pipe(broken())
    assert not reply.aborted


async def test_whoever_pipes_may_be_cancelled_and_then_the_model_is_too():
    reply, _ = stream()
    shut = asyncio.Event()

    async def model() -> AsyncIterator[str]:
        try:
            yield "one"
            await asyncio.Event().wait()
        finally:
            shut.set()

    piping = asyncio.ensure_future(reply.pipe(model()))
    for _ in range(5):
        await asyncio.sleep(0)
    piping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await piping
    assert shut.is_set()


async def test_a_source_that_is_no_generator_is_read_as_well():
    class Stream:
        def __init__(self) -> None:
            self.left = ["a", "b"]

        def __aiter__(self) -> Stream:
            return self

        async def __anext__(self) -> str | None:
            if not self.left:
                raise StopAsyncIteration
            return self.left.pop(0)

    reply, sent = stream()
    assert await reply.pipe(Stream())
    assert [token for _, token in sent if token] == ["a", "b"]


# --- what aborts it -----------------------------------------------------------------------------


async def heard(peer: Foreign, client: Pinecall) -> Call:
    """Let a call begin and the caller say something; return the call."""
    said = Log()
    client.on("user.message", said)
    await peer.say("agent.created", agent_id="front-desk")
    await peer.say("call.started", agent_id="front-desk", call_id="c1", **STARTED)
    await told(peer, "user.message", message_id="u1", text="Hello?", turn_id=1, confidence=1)
    await said.until()
    return client.calls()[0]


async def told(peer: Foreign, event: str, **fields: Any) -> None:
    await peer.say(event, agent_id="front-desk", call_id="c1", **fields)


@pytest.mark.parametrize(
    ("event", "fields", "reason"),
    [
        ("turn.continued", {"turn_id": 1}, "turn_continued"),
        ("bot.interrupted", {"message_id": "ours", "reason": "user_spoke"}, "interrupted"),
        ("reply.rejected", {"message_id": "ours", "reason": "message_obsolete"}, "obsolete"),
        ("call.ended", {"reason": "hangup", "direction": "inbound"}, "call_ended"),
    ],
)
async def test_the_server_says_what_ends_it(event: str, fields: dict[str, Any], reason: str):
    async with foreign() as (peer, client):
        call = await heard(peer, client)
        seen = Log()
        client.on(event, seen)
        async with call.reply_stream() as reply:
            reply.write("Sure, ")
            start = await peer.hear("bot.reply.stream")
            assert (start["action"], start["in_reply_to"]) == ("start", "u1")
            given = {k: reply.message_id if v == "ours" else v for k, v in fields.items()}
            filler = {"in_reply_to": "u1", "expected_reply_to": "u2"}
            await told(peer, event, **(filler if event == "reply.rejected" else {}), **given)
            await seen.until()
            assert (reply.aborted, reply.reason) == (True, reason)
            reply.write("too late")
        assert reply.ignored == 1
        assert (await peer.hear("bot.reply.stream"))["action"] == "chunk"
        assert (await peer.hear("bot.reply.stream"))["action"] == "end"
        assert await peer.nothing_but_pongs() == []


async def test_another_message_that_is_interrupted_leaves_it_alone():
    async with foreign() as (peer, client):
        call = await heard(peer, client)
        seen = Log()
        client.on("bot.interrupted", seen)
        reply = call.reply_stream()
        reply.write("Sure")
        await told(peer, "bot.interrupted", message_id="other", reason="user_spoke")
        await seen.until()
        assert not reply.aborted


async def test_cancelling_and_clearing_end_what_is_written_here():
    async with foreign() as (peer, client):
        call = await heard(peer, client)
        one, two, three = (call.reply_stream() for _ in range(3))
        call.cancel(one.message_id)
        assert (await peer.hear("bot.cancel"))["message_id"] == one.message_id
        assert [reply.reason for reply in (one, two, three)] == ["cancelled", None, None]
        call.clear()
        await peer.hear("bot.clear")
        assert [reply.reason for reply in (two, three)] == ["cancelled"] * 2


async def test_a_lost_connection_ends_it_and_nothing_of_it_is_sent_to_the_next():
    async with foreign() as (peer, client):
        call = await heard(peer, client)
        lost = Log()
        client.on("disconnected", lost)
        reply = call.reply_stream()
        reply.write("Sure")
        await peer.hear("bot.reply.stream")
        await peer.socket.close()
        await lost.until()
        assert reply.reason == "connection_lost"
        reply.write("too late")
        reply.end()
        assert call.status == "ended"
        assert call.reply_stream().reason == "call_ended"


async def test_the_turn_it_answers_can_be_named():
    async with foreign() as (peer, client):
        call = await heard(peer, client)
        turn = events.TurnEnd(turn_id=1, message_id="u7", text="x", probability=1, latency_ms=0)
        assert call.reply_stream(turn).in_reply_to == "u7"
        assert call.reply_stream("u8").in_reply_to == "u8"
        assert call.reply_stream().in_reply_to == "u1"


# --- spoken -------------------------------------------------------------------------------------


async def test_a_stream_is_spoken_and_remembered(server: EmbeddedServer, client: Pinecall):
    agent = client.agent("front-desk", prompt="x")
    await client.registered()
    spoken = Log()
    agent.on("bot.finished", spoken)
    async with calling(server, client, agent) as call:
        async with call.reply_stream() as reply:
            assert await reply.pipe(tokens("One two. ", "Three."))
        finished = (await spoken.until())[0]
        assert finished.message_id == reply.message_id
        assert call.messages[-1] == {"role": "assistant", "content": "One two. Three."}
        assert call.current_bot_text == ""
