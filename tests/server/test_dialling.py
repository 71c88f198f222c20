"""Calls that agents make: who is rung, who hears of it, what is said first, how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pinecall_cli.caller.steps import Caller, Hangup, Press, Say, Wait
from pinecall_cli.server.phone.numbers import Number, Plays, ReachesAgent, Refuses
from pinecall_cli.server.voice.speaking import SILENCE
from tests.fakes.engines import Engines, utterance
from tests.sdk.jumping import BACKEND
from tests.server.dialled import OURS, THEIRS, Office, Peer, said

SCRIPT = {"provider": "script", "rules": [{"say": "You said {text}."}]}
DIAL: dict[str, Any] = {"agent_id": "desk", "from": OURS}


@pytest.fixture
def anyio_backend() -> Any:
    return BACKEND


def dialled(office: Office, to: str, *, by: Peer | None = None, **fields: Any) -> Peer:
    """Have the agent call a number; return the agent's owner."""
    owner = office.owner(llm=SCRIPT)
    (by or owner).send("call.dial", **(DIAL | {"to": to} | fields))
    return owner


# --- numbers that nobody has to set up --------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "reason", "after_s"),
    [
        ("+15005550001", "busy", 0),
        ("+15005550002", "no-answer", 20),
        ("+15005550003", "rejected", 2),
        ("+15005550004", "failed", 0),
        ("+15005550005", "no-answer", 20),
    ],
)
async def test_a_test_number_fails_as_it_says(number: str, reason: str, after_s: float):
    async with Office() as office:
        begun = asyncio.get_running_loop().time()
        owner = dialled(office, number, metadata={"order": 7})
        ended = await owner.ended()
        assert owner.names() == ["call.dialing", "call.ended"]
        assert asyncio.get_running_loop().time() - begun == pytest.approx(after_s, abs=0.01)
    assert ended["reason"] == reason
    assert (ended["direction"], ended["from"], ended["to"]) == ("outbound", OURS, number)
    assert ended["duration_seconds"] == 0
    assert ended["metadata"] == {"order": 7}


async def test_a_number_that_listens_hears_the_greeting_and_hangs_up_when_it_is_quiet():
    async with Office() as office:
        owner = dialled(office, "+15005550006", greeting="Hi, {{name}}.", config=VARS)
        started = await owner.until("call.started")
        ended = await owner.ended()
        assert owner.at[owner.frames.index(started)] == pytest.approx(2.0, abs=0.01)
    assert (started["direction"], started["transport"]) == ("outbound", "phone")
    assert [f["text"] for f in owner.of("bot.speaking")] == ["Hi, Ana."]
    assert ended["reason"] == "hangup"
    assert ended["messages"] == [{"role": "assistant", "content": "Hi, Ana."}]
    assert 4 < ended["duration_seconds"] < 6


VARS = {"promptVars": {"name": "Ana"}}


async def test_a_voicemail_speaks_beeps_and_takes_a_message():
    engines = Engines()
    async with Office(engines=engines) as office:
        owner = dialled(office, "+15005550007", greeting="This is Acme.", detect_turn_end=True)
        engines.recogniser.transcribe = said("please leave a message")  # type: ignore[method-assign]
        ended = await owner.ended()
    assert any("voicemail" in text for text in engines.synthesiser.said)
    assert [f["source"] for f in owner.of("turn.end")] == ["bot"]
    names = owner.names()
    assert names.index("turn.end") < names.index("bot.speaking")
    assert [f["text"] for f in owner.of("bot.speaking")] == ["This is Acme."]
    assert ended["messages"] == [
        {"role": "user", "content": "please leave a message"},
        {"role": "assistant", "content": "This is Acme."},
    ]


async def test_an_echo_repeats_what_the_agent_says():
    engines = Engines()
    engines.recogniser.transcribe = said("hello")  # type: ignore[method-assign]
    async with Office(engines=engines) as office:
        owner = office.owner(llm={"provider": "script", "rules": [{"on": "again", "say": "x"}]})
        owner.send("call.dial", **DIAL, to="+15005550008", greeting="Hello there.")
        message = await owner.until("user.message")
        owner.send("call.hangup", call_id=message["call_id"])
        assert (await owner.ended())["reason"] == "hangup"


async def test_an_echo_gives_up_when_nothing_more_comes():
    async with Office() as office:
        owner = dialled(office, "+15005550008")
        ended = await owner.ended()
    assert ended["reason"] == "hangup"
    assert ended["duration_seconds"] == pytest.approx(10, abs=0.1)


# --- numbers from a file ----------------------------------------------------------------------


async def test_a_virtual_caller_picks_up_talks_presses_and_hangs_up():
    caller = Caller((Wait("greeting"), Say("Ana here"), Wait("reply"), Press("1#"), Hangup()))
    engines = Engines()
    engines.recogniser.transcribe = said("Ana here")  # type: ignore[method-assign]
    async with Office(numbers={THEIRS: Number(Plays(caller), 500)}, engines=engines) as office:
        owner = dialled(office, THEIRS, greeting="Acme.")
        started = await owner.until("call.started")
        ended = await owner.ended()
        assert owner.at[owner.frames.index(started)] == pytest.approx(0.5, abs=0.01)
    assert [f["digits"] for f in owner.of("call.dtmf_received")] == ["1", "1#"]
    assert [m["content"] for m in ended["messages"]] == ["Acme.", "Ana here", "You said Ana here."]


async def test_a_number_of_the_file_rings_as_long_as_it_says():
    async with Office(numbers={THEIRS: Number(Refuses("busy"), 1500)}) as office:
        owner = dialled(office, THEIRS)
        assert (await owner.ended())["reason"] == "busy"
        assert asyncio.get_running_loop().time() == pytest.approx(1.5, abs=0.01)


async def test_a_number_of_the_file_goes_before_a_test_number():
    async with Office(numbers={"+15005550006": Number(Refuses("failed"))}) as office:
        assert (await dialled(office, "+15005550006").ended())["reason"] == "failed"


# --- telephones -------------------------------------------------------------------------------


async def test_a_telephone_rings_picks_up_and_hears_everything_of_the_call():
    async with Office() as office:
        phone = office.phone()
        owner = dialled(office, THEIRS, greeting="Hello.")
        await owner.until("bot.finished")
        owner.send("call.hangup", call_id=phone.rung[0])
        await owner.ended()
        assert owner.names()[:3] == ["call.dialing", "call.started", "bot.speaking"]
    assert any(frame != SILENCE for frame in phone.heard)
    assert phone.events[0]["event"] == "call.started"
    assert phone.events[-1]["event"] == "call.ended"
    assert phone.hung_up == 1


async def test_of_several_telephones_the_first_to_accept_has_the_call():
    async with Office() as office:
        slow, quick = office.phone(after_s=3), office.phone(after_s=1)
        busy = office.phone(answer="busy", after_s=0.5)
        owner = dialled(office, THEIRS)
        await owner.until("call.started")
        assert (slow.session, busy.session) == (None, None)
        assert quick.session is not None
        assert slow.silenced == ["answered_elsewhere"]
        await asyncio.sleep(5)
        assert slow.session is None


@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_a_call_that_no_telephone_wants_ends_as_the_last_one_says(reason: str):
    async with Office() as office:
        office.phone(answer="busy", after_s=0.5)
        office.phone(answer=reason, after_s=1)
        assert (await dialled(office, THEIRS).ended())["reason"] == reason


async def test_a_telephone_that_nobody_answers_stops_ringing():
    async with Office(ring_timeout_s=7) as office:
        phone = office.phone(answer=None)
        owner = dialled(office, THEIRS)
        assert (await owner.ended())["reason"] == "no-answer"
        assert asyncio.get_running_loop().time() == pytest.approx(7, abs=0.01)
        assert phone.silenced == ["no-answer"]


async def test_whoever_dials_says_how_long_it_may_ring():
    async with Office() as office:
        office.phone(answer=None)
        assert (await dialled(office, THEIRS, ring_timeout=3).ended())["reason"] == "no-answer"
        assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.01)


async def test_a_telephone_that_is_plugged_in_meanwhile_rings_too():
    async with Office() as office:
        owner = dialled(office, THEIRS)
        await asyncio.sleep(1)
        phone = office.phone()
        await owner.until("call.started")
        assert phone.session is not None


async def test_a_telephone_that_leaves_while_it_rings_does_not_end_the_call_for_others():
    async with Office(ring_timeout_s=5) as office:
        phone = office.phone(answer=None)
        owner = dialled(office, THEIRS)
        await asyncio.sleep(1)
        phone.unplug()
        office.phone(after_s=1)
        await owner.until("call.started")


async def test_a_fallback_telephone_rings_for_what_nobody_else_answers():
    async with Office() as office:
        phone = office.phone("+15005550001", fallback=True)
        assert (await dialled(office, "+15005550001").ended())["reason"] == "busy"
        assert phone.rung == []
    async with Office() as office:
        phone = office.phone(fallback=True)
        await dialled(office, THEIRS).until("call.started")
        assert phone.session is not None


async def test_a_telephone_at_a_test_number_goes_before_it():
    async with Office() as office:
        phone = office.phone("+15005550001")
        await dialled(office, "+15005550001").until("call.started")
        assert phone.session is not None


async def test_a_telephone_of_another_organisation_does_not_ring():
    async with Office(ring_timeout_s=2) as office:
        phone = office.phone()
        phone.org = office.orgs[1]
        assert (await dialled(office, THEIRS).ended())["reason"] == "no-answer"
        assert phone.rung == []


async def test_telephones_hear_the_keys_of_the_agent_and_of_each_other_nothing():
    async with Office() as office:
        phone = office.phone()
        owner = dialled(office, THEIRS)
        call = (await owner.until("call.started"))["call_id"]
        owner.send("call.dtmf", call_id=call, digits="12#")
        assert (await owner.until("call.dtmf_sent"))["digits"] == "12#"
        await asyncio.sleep(1)
        assert any(frame != SILENCE for frame in phone.heard)
        owner.send("call.dtmf", call_id=call, digits="1x")
        assert (await owner.until("error"))["code"] == "INVALID_DIGITS"


# --- giving up --------------------------------------------------------------------------------


async def test_a_call_that_is_given_up_while_it_rings_was_canceled():
    async with Office() as office:
        phone = office.phone(answer=None)
        owner = dialled(office, THEIRS)
        call = (await owner.until("call.dialing"))["call_id"]
        await asyncio.sleep(1)
        owner.send("call.hangup", call_id=call)
        assert (await owner.ended())["reason"] == "canceled"
        assert phone.silenced == ["canceled"]
        assert owner.names() == ["call.dialing", "call.ended"]


async def test_a_server_that_stops_ends_what_rings():
    office = Office()
    office.phone(answer=None)
    owner = dialled(office, THEIRS)
    await owner.until("call.dialing")
    async with office:
        pass
    assert (await owner.ended())["reason"] == "server_shutdown"


async def test_a_call_that_rings_can_be_told_things_before_it_is_answered():
    async with Office() as office:
        office.phone()
        owner = dialled(office, THEIRS, greeting="Hi {{name}}.")
        call = (await owner.until("call.dialing"))["call_id"]
        owner.send("history.set_vars", call_id=call, vars={"name": "Bo"})
        owner.send("call.dtmf", call_id=call, digits="1")
        assert (await owner.until("error"))["code"] == "NOT_ANSWERED"
        assert (await owner.until("bot.speaking"))["text"] == "Hi Bo."


# --- who dials --------------------------------------------------------------------------------


async def test_somebody_else_who_dials_gets_copies_of_how_it_begins_and_ends():
    async with Office() as office:
        office.phone()
        sender = office.peer()
        owner = dialled(office, THEIRS, by=sender, greeting="Hello.")
        call = (await owner.until("bot.finished"))["call_id"]
        sender.send("call.hangup", call_id=call)
        await owner.ended()
        assert sender.names() == ["call.dialing", "call.started", "call.ended"]
        assert "bot.speaking" in owner.names()


async def test_somebody_else_who_follows_gets_every_frame_as_the_owner_does():
    async with Office() as office:
        office.phone()
        sender = office.peer()
        owner = dialled(office, THEIRS, by=sender, greeting="Hello.", follow=True)
        call = (await owner.until("bot.finished"))["call_id"]
        sender.send("call.hangup", call_id=call)
        await owner.ended()
        of_the_call = [f for f in owner.frames if f.get("call_id") == call]
        assert sender.frames == of_the_call


async def test_the_owner_who_dials_gets_every_frame_once():
    async with Office() as office:
        owner = dialled(office, "+15005550006", greeting="Hi.", follow=True)
        await owner.ended()
        seqs = [frame["seq"] for frame in owner.frames]
        assert len(seqs) == len(set(seqs))


async def test_somebody_else_may_hang_up_and_no_more():
    async with Office() as office:
        office.phone()
        sender = office.peer()
        owner = dialled(office, THEIRS, by=sender)
        call = (await owner.until("call.started"))["call_id"]
        sender.send("bot.reply", call_id=call, message_id="m", text="x", in_reply_to="")
        assert (await sender.until("error"))["code"] == "CALL_NOT_FOUND"
        stranger = office.peer()
        stranger.send("call.hangup", call_id=call)
        assert (await stranger.until("error"))["code"] == "CALL_NOT_FOUND"


async def test_a_call_ends_with_the_connection_of_somebody_else_who_dialled():
    async with Office() as office:
        office.phone()
        sender = office.peer()
        owner = dialled(office, THEIRS, by=sender)
        await owner.until("call.started")
        sender.leave()
        assert (await owner.ended())["reason"] == "hangup"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"agent_id": "nobody"}, "AGENT_NOT_FOUND"),
        ({"to": "911"}, "INVALID_NUMBER"),
        ({"to": "+1415abc5555"}, "INVALID_NUMBER"),
        ({"from": "me"}, "INVALID_NUMBER"),
        ({"from": "+15550001111"}, "NUMBER_NOT_OWNED"),
        ({"config": {"sessionLimits": {"max_duration_seconds": -1}}}, "INVALID_SESSION_LIMITS"),
    ],
)
async def test_what_cannot_be_dialled_is_refused_before_anything_rings(
    fields: dict[str, Any], code: str
):
    async with Office() as office:
        other = office.owner("other", "+15550001111")
        owner = office.owner()
        owner.send("call.dial", **(DIAL | {"to": "+15005550001"} | fields))
        refused = await owner.until("call.error")
        assert refused["code"] == code
        assert "call.dialing" not in owner.names()
        assert other.names() == []


async def test_one_connection_has_a_hundred_calls_at_most():
    async with Office(calls_per_connection=2) as office:
        owner = office.owner()
        for _ in range(3):
            owner.send("call.dial", **DIAL, to=THEIRS)
        assert (await owner.until("call.error"))["code"] == "TOO_MANY_CALLS"
        await owner.until("call.dialing")
        assert len(owner.of("call.dialing")) == 2


# --- what is said first -----------------------------------------------------------------------


async def test_an_outbound_call_does_not_speak_the_agents_own_greeting():
    async with Office() as office:
        owner = office.owner(greeting="Welcome.", llm=SCRIPT)
        owner.send("call.dial", **DIAL, to="+15005550006")
        await owner.ended()
        assert owner.of("bot.speaking") == []


async def test_a_call_is_configured_for_itself():
    async with Office() as office:
        owner = office.owner(llm=SCRIPT)
        limits = {"sessionLimits": {"max_duration_seconds": 3}}
        owner.send("call.dial", **DIAL, to="+15005550006", config=limits)
        ended = await owner.ended()
        assert ended["reason"] == "max_duration"
        assert ended["duration_seconds"] == pytest.approx(3, abs=0.05)


async def test_with_detect_turn_end_they_speak_first():
    async with Office(engines=Engines({0: "hello?"})) as office:
        office.phone(says=SILENCE * 20 + utterance(0, 600))
        owner = dialled(office, THEIRS, greeting="This is Acme.", detect_turn_end=True)
        speaking = await owner.until("bot.speaking")
        (turn,) = owner.of("turn.end")
        assert (turn["source"], turn["text"]) == ("bot", "hello?")
        assert speaking["text"] == "This is Acme."
        await owner.until("bot.finished")
        assert owner.of("llm.before") == []
        await asyncio.sleep(3)
        assert len(owner.of("bot.speaking")) == 1


async def test_with_detect_turn_end_silence_is_greeted_after_eight_seconds():
    async with Office() as office:
        office.phone(after_s=1)
        owner = dialled(office, THEIRS, greeting="Anybody?", detect_turn_end=True)
        started, speaking = [await owner.until(n) for n in ("call.started", "bot.speaking")]
        waited = speaking["ts"] - started["ts"]
        at = [owner.at[owner.frames.index(frame)] for frame in (started, speaking)]
        assert at[1] - at[0] == pytest.approx(8, abs=0.1)
        assert waited < 8  # the wall clock did not jump


async def test_somebody_who_goes_on_after_a_pause_is_greeted_once_they_have_finished():
    says = SILENCE * 10 + utterance(0, 500) + SILENCE * 60 + utterance(1, 900)
    async with Office(engines=Engines({0: "you have reached", 1: "our office"})) as office:
        office.phone(says=says)
        owner = dialled(
            office, THEIRS, greeting="This is Acme about your order.", detect_turn_end=True
        )
        call = (await owner.until("call.started"))["call_id"]
        await asyncio.sleep(8)
        owner.send("call.hangup", call_id=call)
        ended = await owner.ended()
    assert ended["messages"] == [
        {"role": "user", "content": "you have reached our office"},
        {"role": "assistant", "content": "This is Acme about your order."},
    ]


# --- from agent to agent ----------------------------------------------------------------------


async def test_an_agent_that_owns_the_number_takes_the_call_and_both_talk():
    engines = Engines()
    engines.recogniser.transcribe = said("hello")  # type: ignore[method-assign]
    async with Office(engines=engines) as office:
        other = office.owner("other", THEIRS, greeting="Other here.", llm=SCRIPT)
        owner = dialled(office, THEIRS, greeting="Desk here.", detect_turn_end=True)
        inbound = await other.until("call.started")
        outbound = await owner.until("call.started")
        assert (inbound["direction"], inbound["from"], inbound["to"]) == ("inbound", OURS, THEIRS)
        assert inbound["call_id"] != outbound["call_id"]
        await owner.until("bot.speaking")
        await other.until("user.message")
        owner.send("call.dtmf", call_id=outbound["call_id"], digits="42")
        await other.until("call.dtmf_received", digits="42")
        other.send("call.dtmf", call_id=inbound["call_id"], digits="7")
        await owner.until("call.dtmf_received", digits="7")
        other.send("call.hangup", call_id=inbound["call_id"])
        assert (await other.ended())["reason"] == "hangup"
        assert (await owner.ended())["reason"] == "hangup"


async def test_either_of_two_agents_may_hang_up():
    async with Office() as office:
        other = office.owner("other", THEIRS)
        owner = dialled(office, THEIRS)
        await other.until("call.started")
        owner.send("call.hangup", call_id=(await owner.until("call.started"))["call_id"])
        assert (await owner.ended())["reason"] == "hangup"
        assert (await other.ended())["reason"] == "hangup"


async def test_a_number_of_the_file_reaches_an_agent_by_name():
    numbers = {THEIRS: Number(ReachesAgent("other"), 0)}
    async with Office(numbers=numbers) as office:
        other = office.owner("other", None)
        dialled(office, THEIRS)
        await other.until("call.started")
    async with Office(numbers=numbers) as office:
        assert (await dialled(office, THEIRS).ended())["reason"] == "failed"


async def test_an_agent_that_calls_itself_is_busy():
    async with Office() as office:
        assert (await dialled(office, OURS).ended())["reason"] == "busy"


@pytest.mark.parametrize("reason", ["busy", "rejected"])
async def test_an_agent_may_turn_a_call_away(reason: str):
    async with Office() as office:
        other = office.owner("other", THEIRS, ringing=True)
        owner = dialled(office, THEIRS)
        ringing = await other.until("call.ringing")
        about = {"agent_id": "other", "call_id": ringing["call_id"]}
        other.send("call.reject", **about, reason=reason)
        assert (await owner.ended())["reason"] == reason
        assert other.names() == ["call.ringing", "call.rejected"]


@pytest.mark.parametrize(("accepts", "after_s"), [(True, 1.0), (False, 5.0)])
async def test_an_agent_that_rings_takes_the_call_or_has_it_after_five_seconds(
    accepts: bool, after_s: float
):
    async with Office() as office:
        other = office.owner("other", THEIRS, ringing=True)
        owner = dialled(office, THEIRS)
        ringing = await other.until("call.ringing")
        await asyncio.sleep(1)
        if accepts:
            other.send("call.accept", agent_id="other", call_id=ringing["call_id"])
        await other.until("call.started", call_id=ringing["call_id"])
        assert asyncio.get_running_loop().time() == pytest.approx(after_s, abs=0.1)
        await owner.until("call.started")


async def test_an_agent_hears_that_a_call_it_has_not_taken_is_gone():
    async with Office() as office:
        other = office.owner("other", THEIRS, ringing=True)
        owner = dialled(office, THEIRS)
        await other.until("call.ringing")
        owner.send("call.hangup", call_id=(await owner.until("call.dialing"))["call_id"])
        assert (await other.ended())["reason"] == "canceled"
        assert (await owner.ended())["reason"] == "canceled"


# --- forwarding -------------------------------------------------------------------------------


async def test_a_call_is_forwarded_after_a_message_and_goes_on_without_the_agent():
    async with Office() as office:
        first, second = office.phone(), office.phone("+14155550199", says=utterance(0, 900))
        owner = dialled(office, THEIRS)
        call = (await owner.until("call.started"))["call_id"]
        owner.send("call.forward", call_id=call, to="+1 415 555-0199", message="One moment.")
        assert (await owner.until("bot.speaking"))["text"] == "One moment."
        forwarded = await owner.until("call.forwarded")
        assert forwarded["to"] == "+14155550199"
        names = owner.names()
        assert names.index("bot.finished") < names.index("call.forwarded")
        first.heard.clear()
        first.says.extend(utterance(1, 900))
        await asyncio.sleep(2)
        assert any(frame != SILENCE for frame in first.heard)
        assert any(frame != SILENCE for frame in second.heard)
        owner.send("bot.reply", call_id=call, message_id="m", text="Still here?", in_reply_to="")
        assert (await owner.until("error"))["code"] == "CALL_FORWARDED"
        assert second.session is not None
        second.session.end("hangup")
        await owner.ended()
    assert "user.message" not in owner.names()
    assert (first.hung_up, second.hung_up) == (1, 1)


async def test_a_call_that_cannot_be_forwarded_stays_with_the_agent():
    async with Office() as office:
        office.phone()
        owner = dialled(office, THEIRS)
        call = (await owner.until("call.started"))["call_id"]
        owner.send("call.forward", call_id=call, to="+15005550001")
        assert (await owner.until("error", code="FORWARD_FAILED"))["error"].endswith("busy")
        owner.send("call.forward", call_id=call, to="soon")
        await owner.until("error", code="INVALID_NUMBER")
        owner.send("bot.reply", call_id=call, message_id="m", text="Sorry.", in_reply_to="")
        await owner.until("bot.finished")


async def test_a_call_that_fails_by_a_fault_of_the_servers_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    async with Office() as office:

        async def broken(dialled: Any) -> Any:
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(office.server.switchboard, "call", broken)
        assert (await dialled(office, THEIRS).ended())["reason"] == "failed"
    assert "ZeroDivisionError" in caplog.text
