"""Agents that call numbers, and terminals that answer them, against a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from pinecall_cli.agent.define import Agent
from pinecall_cli.errors import CallFailedError, NotAuthorisedError, UsageError
from pinecall_cli.protocol import events
from pinecall_cli.protocol.frames import Received
from pinecall_cli.sdk.client import Pinecall
from pinecall_cli.sdk.dials import DialError
from pinecall_cli.sdk.handset import Handset
from pinecall_cli.sdk.mic import MicCall
from pinecall_cli.sdk.rest import Rest
from pinecall_cli.sdk.ringing import RingingCall
from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.settings import Secret
from tests.fakes.engines import Engines

OURS, THEIRS = "+13186330963", "+14155550123"
QUICK = Limits(ring_s=0.05, ring_timeout_s=0.3, accept_s=0.2)
PATIENCE_S = 20.0


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    made = EmbeddedServer(
        engines=Engines(), keys=["pk_one", "pk_two"], run_dir=tmp_path, limits=QUICK
    )
    async with made:
        yield made


@asynccontextmanager
async def desk(
    server: EmbeddedServer, *numbers: str, name: str = "desk"
) -> AsyncIterator[tuple[Pinecall, Agent]]:
    """Run an agent on the server."""
    async with Pinecall(server.key, server.url) as client:
        agent = Agent(name, llm="script", phone_numbers=list(numbers))
        client.add(agent)
        await client.registered()
        yield client, agent


async def handset(server: EmbeddedServer, **options: bool) -> Handset:
    return await Handset.wait(server.url, Secret(server.key), THEIRS, **options)


async def silent(call: MicCall) -> tuple[events.CallEnded, list[Received], int]:
    """Hold a call without a word; return its end, what came, and how many frames."""
    heard: list[Received] = []
    frames: list[bytes] = []

    async def nothing() -> AsyncIterator[bytes]:
        while True:
            yield bytes(320)
            await asyncio.sleep(0.02)

    async with asyncio.timeout(PATIENCE_S):
        ended = await call.hold(nothing, play=frames.append, hear=heard.append)
    return ended, heard, len(frames)


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("+15005550001", "busy"),
        ("+15005550002", "no-answer"),
        ("+15005550003", "rejected"),
        ("+15005550004", "failed"),
        (THEIRS, "no-answer"),
    ],
)
async def test_a_dial_that_nobody_takes_says_why(server: EmbeddedServer, number: str, reason: str):
    async with desk(server, OURS) as (_, agent):
        with pytest.raises(DialError) as failed:
            await agent.dial(number)
    assert (failed.value.reason, failed.value.code, failed.value.exit_code) == (reason, reason, 1)


async def test_a_dial_gives_the_call_once_somebody_has_answered(server: EmbeddedServer):
    async with desk(server, OURS) as (client, agent):
        call = await agent.dial(
            "+1 500 555 0006", greeting="Hi.", metadata={"order": 7}, config={"promptVars": {}}
        )
        assert (call.direction, call.from_, call.to) == ("outbound", OURS, "+1 500 555 0006")
        assert call.metadata == {"order": 7}
        assert client.calls() == (call,)
        assert await call.hangup() == "hangup"


async def test_two_dials_at_once_each_get_their_own_answer(server: EmbeddedServer):
    async with desk(server, OURS) as (_, agent):
        busy, answered = agent.dial("+15005550001"), agent.dial("+15005550006")
        with pytest.raises(DialError, match="busy"):
            await busy
        call = await answered
        assert call.to == "+15005550006"


async def test_a_refused_dial_says_what_the_server_says(server: EmbeddedServer):
    async with desk(server, OURS) as (_, agent), desk(server, "+15550001111", name="other"):
        with pytest.raises(DialError, match="'other'") as failed:
            await agent.dial("+15005550006", from_="+15550001111")
        assert failed.value.reason == "failed"


@pytest.mark.parametrize("numbers", [(), (OURS, THEIRS)])
async def test_without_exactly_one_number_the_caller_has_to_be_named(
    server: EmbeddedServer, numbers: tuple[str, ...]
):
    async with desk(server, *numbers) as (_, agent):
        with pytest.raises(UsageError, match="desk"):
            agent.dial("+15005550001")
        with pytest.raises(DialError):
            await agent.dial("+15005550001", from_=OURS)


async def test_an_agent_that_is_not_registered_cannot_dial():
    with pytest.raises(UsageError, match="not registered"):
        Agent("loner", llm="script").dial("+15005550001")


# --- terminals --------------------------------------------------------------------------------


async def test_a_terminal_rings_takes_the_call_and_hears_it_to_its_end(server: EmbeddedServer):
    async with desk(server, OURS) as (_, agent), await handset(server) as phone:
        dialled = agent.dial(THEIRS, greeting="Hello.")
        ringing = await phone.next()
        assert isinstance(ringing, events.CallRinging)
        assert (ringing.from_, ringing.to, ringing.agent_id) == (OURS, THEIRS, "desk")
        held = asyncio.ensure_future(silent(await phone.accept()))
        call = await dialled
        assert call.id == ringing.call_id
        said = asyncio.get_running_loop().create_future()
        call.on("bot.finished", lambda event: said.done() or said.set_result(None))
        async with asyncio.timeout(PATIENCE_S):
            await said
        await call.hangup()
        ended, heard, frames = await held
    names = [type(one.frame).__struct_config__.tag for one in heard]
    assert (names[0], names[-1]) == ("call.started", "call.ended")
    assert "bot.word" in names
    assert ended.reason == "hangup"
    assert frames > 5


async def test_a_terminal_that_hangs_up_ends_the_call(server: EmbeddedServer):
    async with desk(server, OURS) as (_, agent), await handset(server) as phone:
        dialled = agent.dial(THEIRS)
        await phone.next()
        taken = await phone.accept()
        held = asyncio.ensure_future(silent(taken))
        await dialled
        await taken.hangup()
        assert (await held)[0].reason == "hangup"


async def test_a_terminal_that_vanishes_ends_the_call(server: EmbeddedServer):
    async with desk(server, OURS) as (client, agent):
        async with await handset(server) as phone:
            dialled = agent.dial(THEIRS)
            await phone.next()
            await phone.accept()
            call = await dialled
            ended = asyncio.get_running_loop().create_future()
            client.on("call.ended", lambda call, reason: ended.set_result(reason))
        async with asyncio.timeout(PATIENCE_S):
            assert await ended == "disconnected"
        assert call.reason == "disconnected"


@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_a_terminal_turns_a_call_away_and_waits_for_the_next(
    server: EmbeddedServer, reason: str
):
    async with desk(server, OURS) as (_, agent), await handset(server) as phone:
        for _ in range(2):
            dialled = agent.dial(THEIRS)
            assert isinstance(await phone.next(), events.CallRinging)
            await phone.reject(reason)
            with pytest.raises(DialError) as failed:
                await dialled
            assert failed.value.reason == reason


async def test_of_two_terminals_the_slower_is_told_and_waits_on(server: EmbeddedServer):
    async with (
        desk(server, OURS) as (_, agent),
        await handset(server) as first,
        await handset(server) as second,
    ):
        dialled = agent.dial(THEIRS)
        await first.next()
        await second.next()
        held = asyncio.ensure_future(silent(await first.accept()))
        call = await dialled
        lost = await second.next()
        assert isinstance(lost, events.CallEnded)
        assert lost.reason == "answered_elsewhere"
        await call.hangup()
        await held
        again = agent.dial(THEIRS)
        assert isinstance(await second.next(), events.CallRinging)
        await second.reject()
        with pytest.raises(DialError):
            await again


async def test_a_terminal_that_lets_it_ring_is_told_when_it_stops(server: EmbeddedServer):
    async with desk(server, OURS) as (_, agent), await handset(server) as phone:
        with pytest.raises(DialError, match="no-answer"):
            await agent.dial(THEIRS)
        assert isinstance(await phone.next(), events.CallRinging)
        stopped = await phone.next()
        assert isinstance(stopped, events.CallEnded)
        assert stopped.reason == "no-answer"


async def test_a_fallback_terminal_leaves_test_numbers_alone(server: EmbeddedServer):
    wait = Handset.wait(server.url, Secret(server.key), "+15005550001", fallback=True)
    async with desk(server, OURS) as (_, agent), await wait:
        with pytest.raises(DialError, match="busy"):
            await agent.dial("+15005550001")


async def test_a_terminal_of_another_organisation_does_not_ring(server: EmbeddedServer):
    wait = Handset.wait(server.url, Secret(server.keys[1]), THEIRS)
    async with desk(server, OURS) as (_, agent), await wait:
        with pytest.raises(DialError, match="no-answer"):
            await agent.dial(THEIRS)


async def test_a_terminal_without_a_key_is_refused(server: EmbeddedServer):
    with pytest.raises(NotAuthorisedError):
        await Handset.wait(server.url, Secret("pk_wrong"), THEIRS)


async def test_a_terminal_at_no_number_is_refused(server: EmbeddedServer):
    with pytest.raises(CallFailedError, match="no telephone number"):
        await Handset.wait(server.url, Secret(server.key), "soon")


# --- calls that ring at an agent --------------------------------------------------------------


@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_a_caller_hears_that_the_agent_turned_the_call_away(
    server: EmbeddedServer, reason: Literal["busy", "rejected"]
):
    async with (
        Pinecall(server.key, server.url) as client,
        Rest(server.url, Secret(server.key)) as rest,
    ):
        agent = Agent("desk", llm="script")
        client.add(agent)
        await client.registered()
        await client.channel_add("desk", {"type": "phone", "ref": OURS, "ringing": True})

        def turn_away(event: events.CallRinging, ringing: RingingCall) -> None:
            assert ringing.id == event.call_id
            ringing.reject(reason)
            ringing.accept()  # the first answer counts

        client.on("call.ringing", turn_away)
        token = await rest.token("webrtc", "desk")
        async with await MicCall.dial(token.server, token.token, to=OURS) as call:
            with pytest.raises(CallFailedError) as refused:
                await silent(call)
        assert refused.value.code == reason


async def test_an_agent_takes_a_call_that_rings(server: EmbeddedServer):
    async with (
        Pinecall(server.key, server.url) as client,
        Rest(server.url, Secret(server.key)) as rest,
    ):
        agent = Agent("desk", llm="script")
        client.add(agent)
        await client.registered()
        await agent.add_phone_number(OURS, ringing=True)
        agent.on("call.ringing", lambda event, ringing: ringing.accept())
        agent.on("call.started", lambda call: call.hangup())
        token = await rest.token("webrtc", "desk")
        async with await MicCall.dial(token.server, token.token, to=OURS) as call:
            ended, _, _ = await silent(call)
        assert ended.reason == "hangup"


async def test_a_caller_who_is_not_turned_away_is_connected_in_time(server: EmbeddedServer):
    async with (
        Pinecall(server.key, server.url) as client,
        Rest(server.url, Secret(server.key)) as rest,
    ):
        client.add(Agent("desk", llm="script"))
        await client.registered()
        await client.channel_add("desk", {"type": "phone", "ref": OURS, "ringing": True})
        token = await rest.token("webrtc", "desk")
        async with await MicCall.dial(token.server, token.token, to=OURS) as call:
            held = asyncio.ensure_future(silent(call))
            client.on("call.started", lambda call: call.hangup())
            ended, heard, _ = await held
        names = [type(one.frame).__struct_config__.tag for one in heard]
        assert names[:2] == ["call.ringing", "call.started"]
        assert ended.reason == "hangup"
