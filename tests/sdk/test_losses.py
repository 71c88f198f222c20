"""A connection that breaks in the middle of things: each ends or goes on, and nothing twice.

The server is a script on a real socket that takes one connection after the other; the last tests
break the embedded server's, at every frame of a conversation.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from pinecall_cli.agent.tools import tool
from pinecall_cli.errors import PinecallError, ServerUnreachableError
from pinecall_cli.sdk.answers import RequestRejectedError, RequestTimeoutError
from pinecall_cli.sdk.call import Call
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.faults import Faults
from tests.fakes.engines import Engines
from tests.sdk.listening import PATIENCE_S, Frames, Log, chat
from tests.sdk.test_foreign_server import Foreign

NUMBER, OTHER = "+14155550100", "+14155550199"
CALL = {"agent_id": "desk", "call_id": "c1"}
STARTED = {"from": OTHER, "to": NUMBER, "direction": "inbound", "transport": "phone"}


class Lines:
    """A server that a test speaks for, connection after connection."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Foreign] = asyncio.Queue()

    async def next(self, *, register: bool = True) -> Foreign:
        """Return the next connection, with the agent registered on it."""
        async with asyncio.timeout(PATIENCE_S):
            peer = await self.peers.get()
        await peer.hear("connect")
        await peer.say("connected", org_id="org_1")
        await peer.hear("agent.create")
        if register:
            await peer.say("agent.created", agent_id="desk")
        return peer


@asynccontextmanager
async def desk(**options: Any) -> AsyncIterator[tuple[Lines, Foreign, Pinecall]]:
    """Register an agent; it comes back at once when a connection is lost."""
    lines = Lines()

    async def handler(socket: ServerConnection) -> None:
        lines.peers.put_nowait(Foreign(socket))
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0) as listening:
        port = next(iter(listening.sockets)).getsockname()[1]
        client = Pinecall("pk_1", f"http://127.0.0.1:{port}")
        client.agent("desk", llm="openai/gpt-5", phone_numbers=[NUMBER], **options)
        peer = await lines.next()
        await client.registered()
        try:
            yield lines, peer, client
        finally:
            await client.disconnect()


async def in_call(peer: Foreign, client: Pinecall) -> Call:
    """Begin a call."""
    started = Log()
    client.on("call.started", started)
    await peer.say("call.started", **CALL, **STARTED)
    await started.until()
    return client.calls()[0]


async def lose(peer: Foreign, client: Pinecall) -> None:
    """Break the connection, and return when the client has seen it."""
    lost = Log()
    client.on("disconnected", lost)
    await peer.socket.close()
    await lost.until()
    client.off("disconnected", lost)


async def heard_until_quiet(peer: Foreign) -> list[str]:
    """Return every frame that was sent on a connection, channels aside."""
    return [name for name in await peer.nothing_but_pongs() if name != "channel.add"]


# --- in the middle of … -------------------------------------------------------------------------


async def test_of_a_tool_its_result_waits_for_the_connection_and_goes_out_once() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        """Take a while."""
        begun.set()
        await go_on.wait()
        return "done"

    async with desk(tools=[slow]) as (lines, peer, client):
        await in_call(peer, client)
        wanted = {"id": "t1", "type": "function"}
        wanted |= {"function": {"name": "slow", "arguments": "{}"}}  # type: ignore[dict-item]
        await peer.say("llm.tool_call", **CALL, msg_id="m1", tool_calls=[wanted])
        await begun.wait()
        await lose(peer, client)
        go_on.set()
        again = await lines.next()
        result = await again.hear("llm.tool_result")
        assert result["results"] == [{"tool_call_id": "t1", "result": "done"}]
        await again.say("llm.tool_call", **CALL, msg_id="m1", tool_calls=[wanted])
        assert await heard_until_quiet(again) == []


async def test_of_requests_each_fails_at_once_and_is_not_repeated() -> None:
    async with desk() as (lines, peer, client):
        call = await in_call(peer, client)
        agent = client.get_agent("desk")
        assert agent is not None
        answers = [
            call.get_history(),
            call.set_prompt("x"),
            call.update(language="es"),
            call.hold(),
            call.forward(OTHER),
            agent.dial(OTHER),
            agent.bridge("other"),
            client.configure("desk", {"prompt": "y"}),
            client.create("desk"),
        ]
        speaking, ending = call.say("A long sentence"), call.hangup()
        await peer.hear("call.hangup")
        await lose(peer, client)
        for answer in answers:
            with pytest.raises((ServerUnreachableError, RequestRejectedError)):
                await answer
        assert (await speaking).interrupted
        assert await ending == "connection_lost"
        assert client._office.answers.waiting() == []
        again = await lines.next()
        assert await heard_until_quiet(again) == []


async def test_of_a_dial_what_is_told_of_it_later_touches_no_other() -> None:
    async with desk() as (lines, peer, client):
        agent = client.get_agent("desk")
        assert agent is not None
        first = agent.dial(OTHER)
        await peer.hear("call.dial")
        about = {"agent_id": "desk", "from": NUMBER, "to": OTHER}
        await peer.say("call.dialing", call_id="d1", **about)
        await peer.nothing_but_pongs()
        await lose(peer, client)
        with pytest.raises(ServerUnreachableError):
            await first
        again = await lines.next()
        second = agent.dial(OTHER)
        await again.hear("call.dial")
        await again.say("call.dialing", call_id="d2", **about)
        ended = {"reason": "no-answer", "direction": "outbound"}
        await again.say("call.ended", call_id="d1", **about, **ended)
        await again.say("call.started", call_id="d2", direction="outbound", **about)
        assert (await second).id == "d2"


async def test_of_two_dials_to_one_number_each_gets_its_own_end() -> None:
    async with desk() as (_, peer, client):
        agent = client.get_agent("desk")
        assert agent is not None
        first, second = agent.dial(OTHER), agent.dial(OTHER)
        about = {"agent_id": "desk", "from": NUMBER, "to": OTHER, "direction": "outbound"}
        for id in ("d1", "d2"):
            await peer.hear("call.dial")
            await peer.say("call.dialing", call_id=id, **about)
        await peer.say("call.started", call_id="d2", **about)
        await peer.say("call.ended", call_id="d1", reason="busy", **about)
        assert (await second).id == "d2"
        with pytest.raises(DialError, match="busy"):
            await first


async def test_of_a_reply_it_is_aborted_and_its_model_too() -> None:
    async with desk() as (lines, peer, client):
        call = await in_call(peer, client)
        begun, closed = asyncio.Event(), asyncio.Event()

        async def model() -> AsyncIterator[str]:
            try:
                yield "Sure, "
                begun.set()
                await asyncio.Event().wait()
            finally:
                closed.set()

        async with call.reply_stream("u1") as reply:
            piping = asyncio.ensure_future(reply.pipe(model()))
            await begun.wait()
            await lose(peer, client)
            assert await piping is False
        assert closed.is_set()
        assert reply.reason == "connection_lost"
        again = await lines.next()
        assert await heard_until_quiet(again) == []


# --- after the end of a call --------------------------------------------------------------------


async def test_a_call_that_is_over_answers_at_once_and_sends_nothing() -> None:
    async with desk() as (_, peer, client):
        call = await in_call(peer, client)
        over = Log()
        client.on("call.ended", over)
        await peer.say("call.ended", **CALL, reason="hangup", **STARTED)
        await over.until()
        said = await call.say("Anybody?")
        assert (said.interrupted, said.reason) == (True, "hangup")
        assert (await call.reply("Hello?")).interrupted
        assert await call.hangup() == "hangup"
        for answer in (call.hold(), call.get_history(), call.update(language="es")):
            with pytest.raises(RequestRejectedError, match="the call has ended: hangup"):
                await answer
        call.cancel()
        call.clear()
        async with call.reply_stream() as reply:
            reply.write("x")
        assert await heard_until_quiet(peer) == []


async def test_several_requests_of_a_kind_all_end_with_the_call() -> None:
    async with desk() as (_, peer, client):
        call = await in_call(peer, client)
        holds, ends = [call.hold() for _ in range(3)], [call.hangup() for _ in range(3)]
        await peer.say("call.ended", **CALL, reason="hangup", **STARTED)
        assert [await one for one in ends] == ["hangup"] * 3
        for hold in holds:
            with pytest.raises(RequestRejectedError):
                await hold


# --- what waits for the registration ------------------------------------------------------------


async def test_a_request_that_failed_while_it_waited_is_never_sent() -> None:
    async with desk() as (lines, peer, client):
        await lose(peer, client)
        again = await lines.next(register=False)
        agent = client.get_agent("desk")
        assert agent is not None
        failed = client.configure("desk", {"prompt": "first"})
        agent.send("x.noted", word="kept")
        await lose(again, client)
        with pytest.raises(ServerUnreachableError):
            await failed
        kept = client.configure("desk", {"prompt": "second"})
        third = await lines.next()
        assert (await third.hear("x.noted"))["word"] == "kept"
        assert (await third.hear("agent.configure"))["prompt"] == "second"
        await third.say("agent.configured", agent_id="desk")
        await kept
        assert await heard_until_quiet(third) == []


async def test_everything_is_there_again_after_a_loss_what_code_added_too() -> None:
    async with desk() as (lines, peer, client):
        agent = client.get_agent("desk")
        assert agent is not None
        client.route_callers([OTHER])
        added = agent.add_phone_number("+14155550101", language="es")
        await peer.say("channel.added", agent_id="desk", type="phone", ref="+14155550101")
        await added
        removed = agent.remove_phone(NUMBER)
        await peer.say("channel.removed", agent_id="desk", type="phone", ref=NUMBER)
        await removed
        whatsapp = agent.add_whatsapp("1055", "token", app_secret="secret")
        await peer.say("channel.added", agent_id="desk", type="whatsapp", ref="1055")
        await whatsapp
        agent.update(prompt="Changed.")
        await lose(peer, client)
        again = await lines.next(register=False)
        await again.say("agent.created", agent_id="desk")
        channels = [await again.hear("channel.add") for _ in range(2)]
        assert [(one["type"], one["ref"], one.get("language")) for one in channels] == [
            ("phone", "+14155550101", "es"),
            ("whatsapp", "1055", None),
        ]
        assert channels[1]["appSecret"] == "secret"
        assert (await again.hear("dev.config"))["callers"] == [OTHER]
        assert await heard_until_quiet(again) == []


# --- the embedded server, spoilt ----------------------------------------------------------------


async def conversation(client: Pinecall) -> list[BaseException | None]:
    """Do a bit of everything, and return how each of it ended; nothing may pend."""
    agent = client.agent("desk", llm="script", prompt="x", phone_number=NUMBER, tools=[double])
    outcomes: list[BaseException | None] = []

    async def note(work: Any) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await work
        except (PinecallError, TimeoutError) as problem:
            outcomes.append(problem)
        else:
            outcomes.append(None)

    await note(client.registered())
    await note(agent.add_phone_number(OTHER))
    await note(client.configure("desk", {"prompt": "y"}))
    await chat_or_loss(client)
    for call in client.calls():
        await note(call.set_prompt("z"))
        await note(call.get_history())
        await note(call.hangup())
    await note(agent.dial("+15005550001", from_=NUMBER))
    return outcomes


async def chat_or_loss(client: Pinecall) -> None:
    """Write to the agent, until it has answered or the connection is lost."""
    lost = Log()
    client.on("disconnected", lost)
    talk = asyncio.ensure_future(chat(client, "desk", 'tool double {"n": 2}'))
    cut = asyncio.ensure_future(lost.until())
    await asyncio.wait({talk, cut}, return_when=asyncio.FIRST_COMPLETED)
    for one in (talk, cut):
        one.cancel()
    for outcome in await asyncio.gather(talk, cut, return_exceptions=True):
        allowed = asyncio.CancelledError | ServerUnreachableError
        assert not isinstance(outcome, BaseException) or isinstance(outcome, allowed)


@tool
def double(n: int) -> int:
    """Double a number.

    Args:
        n: The number.
    """
    return 2 * n


@pytest.mark.parametrize("frames", range(1, 22, 2))
async def test_cut_off_after_any_frame_nothing_pends_and_all_is_registered_again(
    frames: int, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = EmbeddedServer(engines=Engines(), keys=["pk_1"], faults=Faults(drop_after=frames))
    async with spoilt:
        client = Pinecall("pk_1", spoilt.url)
        cut = Log()
        client.on("disconnected", cut)
        client.on("error", Log())

        async def until_cut() -> list[BaseException | None]:
            outcomes: list[BaseException | None] = []
            while not cut.entries:
                outcomes += await conversation(client)
            return outcomes

        doing = asyncio.ensure_future(until_cut())
        await cut.until()
        port = spoilt.port
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], port=port):
        outcomes = await doing
        assert not [one for one in outcomes if isinstance(one, TimeoutError | RequestTimeoutError)]
        await client.registered()
        assert client._office.answers.waiting() == []
        seen = Frames(client)
        await chat(client, "desk", 'tool double {"n": 4}')
        result = await seen.frame("llm.tool_result")
        assert result["result"] == 8
        await client.disconnect()
    assert "never retrieved" not in caplog.text


async def test_frames_that_come_late_twice_and_out_of_order_change_no_outcome() -> None:
    faults = Faults(delay_ms=2, duplicate=2, reorder=5)
    async with EmbeddedServer(engines=Engines(), keys=["pk_1"], faults=faults) as server:
        async with Pinecall("pk_1", server.url) as client:
            client.on("error", Log())
            outcomes = await conversation(client)
            *others, dialled = outcomes
            assert others == [None] * len(others)
            assert isinstance(dialled, DialError)
            assert dialled.reason == "busy"
            assert client._office.answers.waiting() == []
