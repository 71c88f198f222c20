"""How many voice calls are held, whoever has them made and however they come."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pinecall_cli.server.agents.places import Places
from pinecall_cli.server.agents.registry import Refused
from tests.sdk.jumping import BACKEND
from tests.server.dialled import OURS, THEIRS, Office
from tests.server.test_registry import Line

SCRIPT = {"provider": "script", "rules": [{"say": "You said {text}."}]}
DIAL: dict[str, Any] = {"agent_id": "desk", "from": OURS}
BUSY, LISTENS = "+15005550001", "+15005550006"


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


async def calls_over() -> None:
    """Wait until every call's task has ended, and what is to be done then is done."""
    tasks = {one for one in asyncio.all_tasks() if one.get_name().startswith(("call ", "bridge "))}
    if tasks:
        await asyncio.wait(tasks)
    await asyncio.sleep(0)  # one may have ended in this very turn of the loop


def codes(frames: list[dict[str, Any]]) -> list[str]:
    return [frame["code"] for frame in frames]


def test_a_place_is_free_again_exactly_once():
    places = Places(calls=1, per_connection=1)
    leave = places.take()
    leave()
    places.take()
    leave()
    with pytest.raises(Refused, match="1 calls are held"):
        places.take()


def test_a_call_between_two_agents_needs_two_places_and_counts_once_for_who_has_it_made():
    one, two = Line().connection, Line().connection
    places = Places(calls=3, per_connection=1)
    places.take(one, sides=2)
    with pytest.raises(Refused) as refused:
        places.take(one)
    assert refused.value.code == "TOO_MANY_CALLS"
    with pytest.raises(Refused) as refused:
        places.take(two, sides=2)
    assert refused.value.code == "SERVER_AT_CAPACITY"
    places.take(two)


async def test_a_burst_of_dialling_gets_no_more_calls_than_one_at_a_time():
    async with Office(calls_per_connection=2) as office:
        owner = office.owner(llm=SCRIPT)
        for _ in range(5):
            owner.send("call.dial", **DIAL, to=LISTENS)
        assert codes(owner.of("call.error")) == ["TOO_MANY_CALLS"] * 3
        other = office.peer()
        other.send("call.dial", **DIAL, to=LISTENS)
        assert not other.of("call.error"), "each connection is counted for itself"


async def test_a_burst_of_bridging_gets_no_more_calls_than_one_at_a_time():
    async with Office(calls_per_connection=1) as office:
        office.owner("desk", llm=SCRIPT)
        judge = office.owner("judge", None, llm=SCRIPT)
        for _ in range(3):
            judge.send("call.bridge", agent_id="judge", target="desk")
        assert codes(judge.of("call.error")) == ["TOO_MANY_CALLS"] * 2


async def test_dialled_calls_count_among_all_that_a_server_can_hold():
    async with Office(voice_calls=1) as office:
        owner, other = office.owner(llm=SCRIPT), office.peer()
        owner.send("call.dial", **DIAL, to=LISTENS)
        other.send("call.dial", **DIAL, to=LISTENS)
        assert codes(other.of("call.error")) == ["SERVER_AT_CAPACITY"]
        await owner.ended()
        await calls_over()
        other.send("call.dial", **DIAL, to=LISTENS)
        assert (await other.until("call.dialing"))["to"] == LISTENS


async def test_both_sides_of_a_bridge_count():
    async with Office(voice_calls=1) as office:
        office.owner("desk", llm=SCRIPT)
        judge = office.owner("judge", None, llm=SCRIPT)
        judge.send("call.bridge", agent_id="judge", target="desk")
        assert codes(judge.of("call.error")) == ["SERVER_AT_CAPACITY"]


async def test_an_agent_that_is_dialled_is_busy_when_the_server_is_full():
    async with Office(voice_calls=1) as office:
        owner = office.owner(llm=SCRIPT)
        other = office.owner("other", THEIRS, llm=SCRIPT)
        owner.send("call.dial", **DIAL, to=THEIRS)
        assert (await owner.ended())["reason"] == "busy"
        assert not other.of("call.started")


async def test_calls_that_come_to_nothing_leave_their_places():
    async with Office(voice_calls=2) as office:
        owner = office.owner(llm=SCRIPT)
        other = office.owner("other", THEIRS, ringing=True, llm=SCRIPT)
        for _ in range(3):
            owner.send("call.dial", **DIAL, to=BUSY)
            await calls_over()
            owner.send("call.dial", **DIAL, to=THEIRS)
            ringing = await other.until("call.ringing")
            other.send("call.reject", agent_id="other", call_id=ringing["call_id"], reason="busy")
            await calls_over()
            other.frames.clear()
        owner.frames.clear()
        owner.send("call.dial", **DIAL, to=THEIRS)
        ringing = await other.until("call.ringing")
        other.send("call.accept", agent_id="other", call_id=ringing["call_id"])
        started = await owner.until("call.started")
        owner.send("call.hangup", call_id=started["call_id"])
        await calls_over()
        assert not owner.of("call.error")
        office.server.places.take(sides=2)
