"""`call.dial` and `call.bridge`: calls that agents make (commands.md §9.2, §9.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from pinecall_cli.server.app import Limits
from pinecall_cli.server.embedded import EmbeddedServer
from tests.conformance.answered import OURS, SCRIPT, THEIRS
from tests.conformance.microphone import speaking
from tests.conformance.paragraphs import holds
from tests.server.dialled import said
from tests.server.peer import Peer, connected

QUICK = Limits(ring_s=0.05, ring_timeout_s=0.3)
BUSY, SILENT, REJECTS, BROKEN = (f"+1500555000{n}" for n in (1, 2, 3, 4))
LISTENS, VOICEMAIL = "+15005550006", "+15005550007"


@asynccontextmanager
async def office(**agent: Any) -> AsyncIterator[tuple[EmbeddedServer, Peer]]:
    """Register `desk` with a number; yields the server, and the agent's owner."""
    async with speaking(limits=QUICK) as server, connected(server) as owner:
        await owner.agent("desk", **agent)
        await owner.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await owner.until("channel.added")
        yield server, owner


async def dial(peer: Peer, to: str, **fields: Any) -> None:
    await peer.send("call.dial", **({"agent_id": "desk", "to": to, "from": OURS} | fields))


def of_calls(peer: Peer) -> list[str]:
    """Return the names of the frames of calls, but for words."""
    told = [frame["event"] for frame in peer.seen if "call_id" in frame]
    return [name for name in told if name != "bot.word"]


# --- call.dial ----------------------------------------------------------------------------------


@holds("commands", "9.2")
async def test_a_call_is_dialled_then_answered_then_greeted():
    metadata = {"orderId": "42", "nested": {"camelCase": [1]}}
    async with office(greeting="Never said") as (_, owner):
        await dial(owner, LISTENS, greeting="Hi, Acme", metadata=metadata)
        dialing = await owner.until("call.dialing")
        started = await owner.until("call.started")
        speaking_ = await owner.until("bot.speaking")
        await owner.send("call.hangup", call_id=started["call_id"])
        ended = await owner.until("call.ended")
    for frame in (dialing, started, ended):
        assert frame["agent_id"] == "desk"
        assert frame["call_id"] == dialing["call_id"]
        assert (frame["from"], frame["to"]) == (OURS, LISTENS)
    for frame in (started, ended):
        assert frame["direction"] == "outbound"
        assert frame["metadata"] == metadata
    assert started["transport"] == "phone"
    assert speaking_["text"] == "Hi, Acme"
    assert of_calls(owner)[:3] == ["call.dialing", "call.started", "bot.speaking"]


@holds("commands", "9.2")
async def test_without_a_greeting_the_server_says_nothing():
    async with office(greeting="Never said", llm=SCRIPT) as (_, owner):
        await dial(owner, LISTENS)
        started = await owner.until("call.started")
        await owner.send("call.hangup", call_id=started["call_id"])
        await owner.until("call.ended")
    assert of_calls(owner) == ["call.dialing", "call.started", "call.ended"]


@holds("commands", "9.2")
@pytest.mark.parametrize("typed", ["+1 500 555-0006", "1 (500) 555 0006"])
async def test_the_number_is_told_as_it_was_typed(typed: str):
    async with office() as (_, owner):
        await dial(owner, typed, **{"from": "1 318 633 0963"})
        assert (await owner.until("call.dialing"))["to"] == typed
        assert (await owner.until("call.started"))["to"] == typed


@holds("commands", "9.2")
@pytest.mark.parametrize(
    ("to", "reason"),
    [(BUSY, "busy"), (SILENT, "no-answer"), (REJECTS, "rejected"), (BROKEN, "failed")],
)
async def test_a_call_that_is_not_answered_ends_with_the_reason(to: str, reason: str):
    async with office() as (_, owner):
        await dial(owner, to, metadata={"order": 7})
        ended = await owner.until("call.ended")
    assert (ended["reason"], ended["direction"], ended["to"]) == (reason, "outbound", to)
    assert ended["agent_id"] == "desk"
    assert of_calls(owner) == ["call.dialing", "call.ended"]


@holds("commands", "9.2")
async def test_a_call_that_is_given_up_while_it_rings_was_canceled():
    async with speaking(limits=Limits(ring_timeout_s=60)) as server, connected(server) as owner:
        await owner.agent("desk")
        await owner.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await dial(owner, THEIRS)
        call = (await owner.until("call.dialing"))["call_id"]
        await owner.send("call.hangup", call_id=call)
        ended = await owner.until("call.ended")
    assert (ended["reason"], ended["direction"]) == ("canceled", "outbound")


@holds("commands", "9.2")
@pytest.mark.parametrize(
    "fields",
    [
        {"agent_id": "nobody"},
        {"to": "soon"},
        {"to": ""},
        {"from": "me"},
        {"from": "+15550001111"},
        {"config": {"stt": "deepgram/nova-2"}},
    ],
    ids=str,
)
async def test_what_cannot_be_dialled_is_a_call_error_at_once(fields: dict[str, Any]):
    async with office() as (server, owner), connected(server) as other:
        await other.agent("other")
        await other.send("channel.add", agent_id="other", type="phone", ref="+15550001111")
        await other.until("channel.added")
        await dial(owner, **({"to": LISTENS} | fields))
        (error,) = await owner.settled()
    assert error["event"] == "call.error"
    assert error["agent_id"] == fields.get("agent_id", "desk")
    assert error["error"]


@holds("commands", "9.2")
@pytest.mark.parametrize("key", ["session_limits", "sessionLimits"])
async def test_a_calls_own_configuration_is_read_as_its_user_spelled_it(key: str):
    config = {key: {"max_duration_seconds": 0.3}, "language": "es"}
    async with office() as (_, owner):
        await dial(owner, LISTENS, config=config)
        assert (await owner.until("call.started"))["language"] == "es"
        assert (await owner.until("call.ended"))["reason"] == "max_duration"


@holds("commands", "9.2")
async def test_the_variables_of_a_calls_own_configuration_are_in_its_greeting():
    async with office() as (_, owner):
        config = {"promptVars": {"name": "Ana"}}
        await dial(owner, LISTENS, greeting="Hi {{name}}", config=config)
        assert (await owner.until("bot.speaking"))["text"] == "Hi Ana"


@holds("commands", "9.2")
@holds("open-questions", "B")
async def test_with_detect_turn_end_the_callee_speaks_first_and_the_greeting_follows():
    async with office() as (server, owner), connected(server) as other:
        await other.agent("other", greeting="Hello there")
        await other.send("channel.add", agent_id="other", type="phone", ref=THEIRS)
        await other.until("channel.added")
        server.server.engines.recogniser.transcribe = said("hello")  # type: ignore[attr-defined]
        await dial(owner, THEIRS, greeting="Acme", detect_turn_end=True)
        turn = await owner.until("turn.end")
        assert turn["source"] == "bot"
        assert (await owner.until("bot.speaking"))["text"] == "Acme"
    told = of_calls(owner)
    assert told.index("turn.end") < told.index("bot.speaking")


@holds("commands", "9.2")
async def test_a_colleague_may_dial_for_an_agent_and_gets_copies_of_its_beginning_and_end():
    async with office() as (server, owner), connected(server) as sender:
        await dial(sender, LISTENS, greeting="Hi")
        call = (await sender.until("call.started"))["call_id"]
        await owner.until("bot.finished", call_id=call)
        await sender.send("call.hangup", call_id=call)
        await sender.until("call.ended")
        await owner.until("call.ended")
    assert of_calls(sender) == ["call.dialing", "call.started", "call.ended"]
    assert "bot.speaking" in of_calls(owner)


@holds("commands", "9.2")
async def test_a_colleague_is_told_what_went_wrong_and_a_stranger_may_not_dial():
    async with (
        office() as (server, owner),
        connected(server) as sender,
        connected(server, "pk_two") as stranger,
    ):
        await dial(sender, "soon")
        assert (await sender.receive())["event"] == "call.error"
        await dial(stranger, LISTENS)
        assert (await stranger.receive())["event"] == "call.error"
        assert await owner.settled() == []


# --- call.bridge --------------------------------------------------------------------------------


@asynccontextmanager
async def bridge(**fields: Any) -> AsyncIterator[tuple[EmbeddedServer, Peer, Peer]]:
    """Have `judge` call `desk`; yields the server, and the owners of both."""
    async with speaking() as server, connected(server) as judge, connected(server) as desk:
        server.server.engines.recogniser.transcribe = said("hello")  # type: ignore[attr-defined]
        await desk.agent("desk", greeting="Desk")
        await judge.agent("judge", greeting="Never said")
        frame = {"agent_id": "judge", "target": "desk", "detect_turn_end": True}
        await judge.send("call.bridge", **(frame | fields))
        yield server, judge, desk


@holds("commands", "9.3")
@holds("open-questions", "B")
async def test_a_bridge_is_an_outbound_call_of_one_agent_and_an_inbound_one_of_the_other():
    async with bridge(metadata={"spec": 1}) as (_, judge, desk):
        out, in_ = await judge.until("call.started"), await desk.until("call.started")
        await judge.send("call.hangup", call_id=out["call_id"])
        ended = [await peer.until("call.ended") for peer in (judge, desk)]
    assert (out["agent_id"], out["direction"]) == ("judge", "outbound")
    assert (in_["agent_id"], in_["direction"]) == ("desk", "inbound")
    assert out["call_id"] != in_["call_id"]
    assert out["metadata"] == {"spec": 1}
    assert [(f["call_id"], f["reason"]) for f in ended] == [
        (out["call_id"], "hangup"),
        (in_["call_id"], "hangup"),
    ]


@holds("commands", "9.3")
async def test_the_calling_agent_hears_the_other_out_and_is_told_its_turns_as_a_bots():
    async with bridge(greeting="Judge") as (_, judge, _desk):
        turn = await judge.until("turn.end")
        assert turn["source"] == "bot"
        assert (await judge.until("bot.speaking"))["text"] == "Judge"
    told = of_calls(judge)
    assert told.index("turn.end") < told.index("bot.speaking")


@holds("commands", "9.3")
async def test_what_one_agent_says_the_other_hears():
    async with bridge(greeting="Judge", detect_turn_end=False) as (_, judge, desk):
        assert (await judge.until("bot.speaking"))["text"] == "Judge"
        message = await desk.until("user.message")
        assert message["text"] == "hello"


@holds("commands", "9.3")
async def test_a_bridge_may_be_listened_to_and_is_configured_for_itself():
    config = {"language": "es", "sessionLimits": {"max_duration_seconds": 0.5}}
    async with bridge(media={"live": True, "recording": False}, config=config) as (_, judge, desk):
        assert (await judge.until("call.started"))["language"] == "es"
        assert (await judge.until("call.ended"))["reason"] == "max_duration"
        await desk.until("call.ended")


@holds("commands", "9.3")
@pytest.mark.parametrize(
    "fields",
    [{"target": "nobody"}, {"target": "judge"}, {"agent_id": "desk"}, {"target": "theirs"}],
    ids=str,
)
async def test_a_bridge_that_cannot_be_is_a_call_error(fields: dict[str, str]):
    async with speaking() as server, connected(server, "pk_two") as stranger:
        await stranger.agent("theirs")
        async with connected(server) as judge, connected(server) as desk:
            await desk.agent("desk")
            await judge.agent("judge")
            frame = {"agent_id": "judge", "target": "desk", "detect_turn_end": True}
            await judge.send("call.bridge", **(frame | fields))
            (error,) = await judge.settled()
            assert error["event"] == "call.error"
            assert error["agent_id"] == fields.get("agent_id", "judge")
            assert await desk.settled() == []


@holds("commands", "9.3")
async def test_a_bridge_without_detect_turn_end_waits_for_the_other_as_one_with_it():
    async with speaking() as server, connected(server) as peer:
        server.server.engines.recogniser.transcribe = said("hello")  # type: ignore[attr-defined]
        await peer.agent("desk", greeting="Desk")
        await peer.agent("judge")
        await peer.send("call.bridge", agent_id="judge", target="desk", greeting="Judge")
        await peer.until("turn.end", agent_id="judge")
        await peer.until("bot.speaking", agent_id="judge", text="Judge")
    begun = [f for f in peer.seen if f["event"] == "bot.speaking" and f["agent_id"] == "judge"]
    assert len(begun) == 1
