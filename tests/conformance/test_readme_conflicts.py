"""Two who want one name: who is asked, who is refused, who is displaced (README §9)."""

from __future__ import annotations

import asyncio

import pytest

from pinecall_cli.server.app import Limits
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, connected, embedded

WINDOW_S = 45


async def wants(peer: Peer, holder: Peer, *, answers: str | None = "pong") -> dict[str, object]:
    """Have `peer` ask for the agent `a` of `holder`, who answers the probe or does not."""
    await peer.send("agent.create", agent_id="A")
    await holder.until("ping")
    if answers is not None:
        await holder.send(answers)
    return await peer.receive()


@holds("README", "8.3", "9")
@holds("open-questions", "A")
async def test_a_holder_that_answers_keeps_its_name_and_the_newcomer_is_refused_for_good():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        refusal = await wants(two, one)
        assert (refusal["event"], refusal["code"]) == ("error", "AGENT_CONFLICT_FATAL")
        assert refusal["agent_id"] == "A", "as it was sent"
        assert refusal["error"] == "agent 'a' is held by a live process"
        await one.send("agent.configure", agent_id="a", prompt="mine")
        await one.until("agent.configured")
        assert "agent.displaced" not in [frame["event"] for frame in one.seen]
        assert (await two.agent("b"))["event"] == "agent.created", "its connection is good"


@holds("README", "5", "9")
@pytest.mark.parametrize("answer", ["ping", "nonsense"])
async def test_any_frame_is_a_sign_of_life(answer: str):
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        assert (await wants(two, one, answers=answer))["code"] == "AGENT_CONFLICT_FATAL"


@holds("README", "5", "8.3", "9")
async def test_a_holder_heard_in_the_last_45_seconds_that_does_not_answer_is_not_displaced_yet():
    async with (
        embedded(limits=Limits(patience_s=0.05)) as server,
        connected(server, client={"name": "some-sdk", "pid": 1}) as one,
        connected(server, client={"name": "some-sdk", "pid": 2}) as two,
    ):
        await one.agent("a")
        refusal = await wants(two, one, answers=None)
        assert (refusal["event"], refusal["code"]) == ("error", "AGENT_CONFLICT")
        assert refusal["agent_id"] == "A"
        assert str(refusal["error"]).startswith("AGENT_CONFLICT: agent 'a'")
        assert refusal["holder_alive"] is True
        assert 0 < refusal["retry_after_s"] <= WINDOW_S
        await one.send("agent.configure", agent_id="a", prompt="mine")
        await one.until("agent.configured")


@holds("README", "5", "9")
async def test_a_holder_that_has_been_silent_too_long_and_does_not_answer_loses_its_name():
    limits = Limits(quiet_s=0.3, patience_s=1.0)
    async with (
        embedded(limits=limits) as server,
        connected(server) as one,
        connected(server) as two,
    ):
        await one.agent("a")
        await one.until("ping")
        await two.send("agent.create", agent_id="a")
        while (frame := await two.receive())["event"] == "ping":
            await two.send("pong")
        assert (frame["event"], frame["agent_id"]) == ("agent.created", "a")


@holds("README", "9")
@holds("flows", "10")
async def test_a_process_that_comes_back_before_its_old_socket_is_known_to_be_gone_is_let_in():
    me = {"name": "some-sdk", "version": "1.0", "pid": 4711}
    async with (
        embedded(limits=Limits(patience_s=0.05)) as server,
        connected(server, client=me) as old,
        connected(server, client=me) as new,
    ):
        await old.agent("a")
        created = await wants(new, old, answers=None)
        assert (created["event"], created["agent_id"]) == ("agent.created", "a")
        assert (await old.until("agent.displaced"))["agent_id"] == "a"
        code, reason = await old.closed()
        assert code == 4001
        assert "Displaced" in reason


@holds("README", "9")
async def test_a_refused_client_that_tries_again_gets_the_name_once_it_is_free():
    async with embedded() as server, connected(server) as two:
        async with connected(server) as one:
            await one.agent("a")
            assert (await wants(two, one))["code"] == "AGENT_CONFLICT_FATAL"
        assert (await two.agent("a", prompt="the current one"))["event"] == "agent.created"


@holds("README", "9")
async def test_a_holder_that_leaves_while_it_is_asked_is_waited_for_no_longer():
    async with embedded(limits=Limits(patience_s=3600)) as server, connected(server) as two:
        async with connected(server) as one:
            await one.agent("a")
            await two.send("agent.create", agent_id="a")
            await one.until("ping")
        assert (await two.receive())["event"] == "agent.created"


@holds("README", "9")
async def test_other_frames_are_answered_while_a_holder_is_asked():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        await two.send("agent.create", agent_id="a")
        await one.until("ping")
        assert (await two.agent("b"))["agent_id"] == "b"
        await one.send("pong")
        assert (await two.until("error"))["code"] == "AGENT_CONFLICT_FATAL"


@holds("README", "9")
async def test_of_two_newcomers_one_has_the_name_in_the_end():
    async with embedded() as server, connected(server) as two, connected(server) as three:
        async with connected(server) as one:
            await one.agent("a")
            await two.send("agent.create", agent_id="a")
            await three.send("agent.create", agent_id="a")
            await one.until("ping")
        told: asyncio.Queue[str] = asyncio.Queue()
        living = [asyncio.create_task(live(peer, told)) for peer in (two, three)]
        outcomes = [await told.get(), await told.get()]
        for one_life in living:
            one_life.cancel()
        assert sorted(outcomes) == ["AGENT_CONFLICT_FATAL", "agent.created"]


async def live(peer: Peer, told: asyncio.Queue[str]) -> None:
    """Answer every ping, and pass on what the registration came to."""
    while True:
        frame = await peer.receive()
        if frame["event"] == "ping":
            await peer.send("pong")
        elif frame["event"] in ("error", "agent.created"):
            told.put_nowait(frame.get("code", frame["event"]))
