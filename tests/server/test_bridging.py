"""Agents that call agents (protocol: commands.md §9.3, open-questions 32 and 33)."""

from __future__ import annotations

from typing import Any

import pytest

from pinecall_cli.audio.pcm import level_dbfs
from pinecall_cli.server.voice.session import VoiceSession
from tests.fakes.engines import Engines
from tests.sdk.jumping import BACKEND
from tests.server.dialled import OURS, Office, Peer, said

SCRIPT = {"provider": "script", "rules": [{"say": "You said {text}."}]}


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


def bridged(office: Office, **fields: Any) -> tuple[Peer, Peer]:
    """Have `judge` call `desk`; return the owners of both."""
    desk = office.owner("desk", greeting="Desk here.", llm=SCRIPT)
    judge = office.owner("judge", None, greeting="Never said.", llm=SCRIPT)
    judge.send("call.bridge", agent_id="judge", target="desk", **fields)
    return judge, desk


def hearing(text: str) -> Engines:
    engines = Engines()
    engines.recogniser.transcribe = said(text)  # type: ignore[method-assign]
    return engines


async def test_both_agents_have_a_call_of_their_own_and_talk():
    async with Office(engines=hearing("hello")) as office:
        judge, desk = bridged(office, greeting="Judge here.", metadata={"spec": 1})
        out, in_ = await judge.until("call.started"), await desk.until("call.started")
        await judge.until("bot.speaking", text="Judge here.")
        await desk.until("turn.end")
        await desk.until("bot.speaking", text="")
        judge.send("call.hangup", call_id=out["call_id"])
        ended = await judge.ended(out["call_id"])
        assert (await desk.ended(in_["call_id"]))["reason"] == "hangup"
    assert (out["direction"], out["from"], out["to"]) == ("outbound", "judge", "desk")
    assert (in_["direction"], in_["from"], in_["to"]) == ("inbound", "judge", "desk")
    assert out["transport"] == in_["transport"] == "webrtc"
    assert out["call_id"] != in_["call_id"]
    assert (out["metadata"], in_["metadata"]) == ({"spec": 1}, {})
    assert ended["direction"] == "outbound"
    assert "Never said." not in str(judge.frames)


async def test_the_caller_lets_the_other_side_finish_and_hears_of_its_turns_as_a_bots():
    async with Office(engines=hearing("desk here")) as office:
        judge, _ = bridged(office, greeting="Judge here.")
        turn = await judge.until("turn.end")
        await judge.until("bot.speaking", text="Judge here.")
        assert turn["source"] == "bot"
        names = judge.names()
        assert names.index("turn.end") < names.index("bot.speaking")


async def test_the_caller_speaks_at_once_if_it_is_not_to_wait():
    async with Office() as office:
        judge, desk = bridged(office, greeting="Judge here.", detect_turn_end=False)
        await judge.until("bot.speaking", text="Judge here.")
        await desk.until("speech.started")
        assert "turn.end" not in judge.names()


async def test_the_target_hanging_up_ends_both_calls():
    async with Office() as office:
        judge, desk = bridged(office)
        started = await desk.until("call.started")
        desk.send("call.hangup", call_id=started["call_id"])
        assert (await judge.ended())["reason"] == "hangup"


async def test_the_callers_side_is_what_can_be_listened_to_in_wide_sound():
    async with Office() as office:
        judge, _ = bridged(office, media={"live": True}, config={"language": "en"})
        started = await judge.until("call.started")
        session = office.server.registry.session(office.orgs[0], started["call_id"])
        assert isinstance(session, VoiceSession)
        assert session.config["media"] == {"live": True}
        await judge.until("speech.started")
        heard = session.hearing.audio(0, session.hearing.position)
        assert level_dbfs(heard) > -40


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"target": "nobody"}, "AGENT_NOT_FOUND"),
        ({"target": "judge"}, "SAME_AGENT"),
        ({"target": "desk", "agent_id": "desk"}, "AGENT_NOT_FOUND"),
        ({"target": "theirs"}, "AGENT_NOT_FOUND"),
        ({"target": "desk", "config": {"stt": "deepgram/nova-2"}}, None),
    ],
)
async def test_a_bridge_that_cannot_be_is_refused_as_a_call_error(
    fields: dict[str, Any], code: str | None
):
    async with Office() as office:
        office.owner("desk")
        office.owner("theirs", None, org=1)
        judge = office.owner("judge", None)
        judge.send("call.bridge", **({"agent_id": "judge"} | fields))
        error = await judge.until("call.error")
        assert error["agent_id"] == fields.get("agent_id", "judge")
        assert code is None or error["code"] == code
        assert "call.started" not in judge.names()


async def test_a_bridge_needs_no_number_and_takes_none():
    async with Office() as office:
        judge, desk = bridged(office)
        await judge.until("call.started")
        assert OURS not in str([*judge.of("call.started"), *desk.of("call.started")])


async def test_calls_that_agents_make_are_counted_bridges_and_all():
    async with Office(calls_per_connection=1) as office:
        judge, _ = bridged(office)
        await judge.until("call.started")
        judge.send("call.bridge", agent_id="judge", target="desk")
        assert (await judge.until("call.error"))["code"] == "TOO_MANY_CALLS"
