"""events.md §7.7, §12, §14: meters, limits, takeover and the answers to ``history.*``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.conformance.desk import OURS, STORY, desk, hearing, names, of, one, place, told, whole
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer

METERED = {"analysis": {"send_audio_metrics": True}}


async def ask(owner: Peer, event: str, call_id: str, **fields: Any) -> dict[str, Any]:
    """Send a history command and return its answer."""
    await owner.send(event, call_id=call_id, request_id="rq_1_k3j2h1", **fields)
    return await owner.until("history.data" if event == "history.get" else "history.updated")


# -- meters ------------------------------------------------------------------------------------


@holds("events", "7.7")
@holds("open-questions", "E")
async def test_both_sides_are_metered_every_100_ms_where_that_is_asked_for():
    spoken = desk(hearing("hello"), greeting="one two three four five", config=METERED)
    async with spoken as (server, owner):
        async with calling(server) as caller:
            await caller.until("bot.speaking")
            caller.say(0, 500)
            await caller.until("bot.finished")
            frames = await whole(caller, owner)
    by_source = {source: of(frames, "audio.metrics", source=source) for source in ("user", "bot")}
    for metrics in by_source.values():
        assert len(metrics) >= 5
        for one_ in metrics:
            assert -60 <= one_["energy_db"] <= 0
            assert 0 <= one_["rms"] <= one_["peak"] <= 1
            assert isinstance(one_["is_speech"], bool)
            assert one_["timestamp"] == pytest.approx(one_["ts"], abs=60)
        assert {True, False} == {one_["is_speech"] for one_ in metrics}
        loud = [one_ for one_ in metrics if one_["is_speech"]]
        assert max(one_["rms"] for one_ in loud) > 0.1
        stamps = [one_["timestamp"] for one_ in metrics]
        for before, after in pairwise(stamps):
            assert after - before == pytest.approx(0.1, abs=0.001)
    assert any("vad_prob" in one_ for one_ in by_source["user"])


@holds("events", "7.7")
async def test_nothing_is_metered_unasked():
    async with desk(greeting="one two three") as (server, owner), calling(server) as caller:
        await caller.until("bot.finished")
        frames = await whole(caller, owner)
    assert not of(frames, "audio.metrics")


# -- limits ------------------------------------------------------------------------------------


@holds("events", "12")
async def test_a_silent_caller_is_warned_twice_and_then_hung_up_on():
    limits = {
        "max_duration_seconds": 0,
        "idle_timeout_seconds": 0.6,
        "idle_warning_seconds": 0.2,
        "idle_grace_seconds": 0.3,
    }
    async with desk(session_limits=limits) as (server, owner), calling(server) as caller:
        await caller.until("call.ended")
        frames = await told(owner, caller.call_id)
    first, second = of(frames, "session.idle_warning")
    assert (first["remaining_seconds"], second["remaining_seconds"]) == (0.2, 0.3)
    assert first["idle_timeout_seconds"] == second["idle_timeout_seconds"] == 0.6
    timeout = one(frames, "session.timeout")
    assert (timeout["reason"], timeout["agent_id"]) == ("idle_timeout", "desk")
    ended = one(frames, "call.ended")
    assert ended["reason"] == "idle_timeout"
    # 0.4 s to the first warning, 0.2 s to the second, 0.3 s of grace: on the audio clock.
    assert ended["duration_seconds"] == pytest.approx(0.9, abs=0.1)
    assert names(frames)[-2:] == ["session.timeout", "call.ended"]


@holds("events", "12")
async def test_what_the_agent_says_pauses_the_counting_of_silence():
    limits = {
        "idle_timeout_seconds": 0.4,
        "idle_warning_seconds": 0,
        "idle_grace_seconds": 0,
    }
    async with desk(greeting="one two three four", session_limits=limits) as (server, owner):
        async with calling(server) as caller:
            await caller.until("call.ended")
            frames = await told(owner, caller.call_id)
    finished = one(frames, "bot.finished")
    assert finished["duration_ms"] > 1_000
    assert place(frames, "bot.finished") < place(frames, "session.timeout")


@holds("events", "12")
async def test_only_the_caller_resets_the_counting_of_silence():
    limits = {"idle_timeout_seconds": 1, "idle_warning_seconds": 0.7, "idle_grace_seconds": 0}
    async with desk(hearing("hello"), llm=None, session_limits=limits) as (server, owner):
        async with calling(server) as caller:
            await caller.until("session.idle_warning")
            caller.say(0, 300)
            await caller.until("call.ended")
            frames = await told(owner, caller.call_id)
    warnings = of(frames, "session.idle_warning", remaining_seconds=0.7)
    assert len(warnings) == 2, "the counting began anew when the caller spoke"


# -- takeover and acknowledgements --------------------------------------------------------------


@holds("events", "12")
async def test_a_sessions_configuration_is_acknowledged_with_its_id():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await owner.send("session.configure", session_id=caller.call_id, language="es")
        configured = await owner.until("session.configured")
    assert (configured["agent_id"], configured["session_id"]) == ("desk", caller.call_id)


@holds("events", "12")
async def test_taking_over_is_told_with_the_session_or_the_contact():
    async with desk() as (_, owner):
        await owner.send("llm.chat", agent_id="desk", session_id="chat-1", text="hello")
        await owner.until("llm.chat.done")
        await owner.send("session.pause", agent_id="desk", session_id="chat-1")
        paused = await owner.until("session.paused")
        await owner.send("session.send", agent_id="desk", session_id="chat-1", text="A human.")
        sent = await owner.until("session.sent")
        await owner.send("session.resume", agent_id="desk", session_id="chat-1")
        resumed = await owner.until("session.resumed")
        for frame in (paused, sent, resumed):
            assert (frame["agent_id"], frame["session_id"]) == ("desk", "chat-1")
        await owner.send("session.pause", agent_id="desk", contact="+34600123456")
        contact = await owner.until("session.paused")
        assert contact["contact"] == "+34600123456"
        await owner.send("session.resume", agent_id="desk")
        assert (await owner.until("session.resumed"))["agent_id"] == "desk"


# -- history -----------------------------------------------------------------------------------


@holds("events", "14")
@pytest.mark.parametrize(
    ("event", "fields", "count"),
    [
        ("history.add", {"messages": [{"role": "user", "content": "x"}]}, 2),
        ("history.set", {"messages": []}, 0),
        ("history.clear", {}, 0),
        ("history.set_instructions", {"prompt": "Be kind."}, 1),
        ("history.set_vars", {"vars": {"NAME": "Ana"}}, 1),
        ("history.add_context", {"text": "It rains."}, 1),
    ],
)
async def test_a_change_of_the_history_is_acknowledged_with_its_length(
    event: str, fields: dict[str, Any], count: int
):
    async with desk(greeting="Hi.") as (server, owner), calling(server) as caller:
        await caller.until("bot.finished")
        updated = await ask(owner, event, caller.call_id, **fields)
    assert updated["request_id"] == "rq_1_k3j2h1"
    assert (updated["agent_id"], updated["call_id"]) == ("desk", caller.call_id)
    assert updated["count"] == count
    assert "error" not in updated


@holds("events", "14")
@holds("open-questions", "C")
async def test_the_history_is_told_without_the_system_prompt():
    async with desk(greeting="Hi.", prompt="Be kind.") as (server, owner):
        async with calling(server) as caller:
            await caller.until("bot.finished")
            data = await ask(owner, "history.get", caller.call_id)
    assert data["messages"] == [{"role": "assistant", "content": "Hi."}]
    assert data["request_id"] == "rq_1_k3j2h1"
    assert (data["agent_id"], data["call_id"]) == ("desk", caller.call_id)


@holds("events", "14")
@pytest.mark.parametrize("event", ["history.get", "history.clear"])
async def test_a_history_that_is_not_there_is_answered_with_an_error(event: str):
    async with desk() as (_, owner):
        answer = await ask(owner, event, "gone")
    assert (answer["call_id"], answer["request_id"]) == ("gone", "rq_1_k3j2h1")
    assert answer["error"]


@holds("events", "14", "2.2")
async def test_the_history_of_a_lines_call_is_answered_to_the_line():
    async with desk() as (server, owner):
        await owner.send("line.create", number=OURS, config={"extension_window_ms": 0})
        async with calling(server, to=OURS, from_="+14155550123") as caller:
            await caller.until("call.started")
            updated = await ask(owner, "history.add_context", caller.call_id, text="It rains.")
    assert updated["agent_id"] == f"line:{OURS}"


@holds("events", "7.1")
@holds("open-questions", "B")
async def test_a_whole_text_is_told_whole_and_a_stream_as_it_comes():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        id = caller.call_id
        await owner.send("bot.reply", call_id=id, message_id="m1", text="Hi you.", in_reply_to="")
        await owner.until("bot.speaking", message_id="m1", text="Hi you.")
        await owner.until("bot.finished", message_id="m1")
        stream = {"call_id": id, "message_id": "m2"}
        await owner.send("bot.reply.stream", **stream, action="start", in_reply_to="")
        await owner.send("bot.reply.stream", **stream, action="chunk", token="Let me look. Y")
        await owner.until("bot.speaking", message_id="m2", text="")
        await owner.send("bot.reply.stream", **stream, action="chunk", token="es.")
        await owner.send("bot.reply.stream", **stream, action="end")
        confirmed = await owner.until("message.confirmed", message_id="m2")
        assert confirmed["text"] == "Let me look. Yes."
        await owner.until("bot.finished", message_id="m2")


@holds("open-questions", "B")
async def test_texts_are_said_one_after_the_other():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        for id, text in (("m1", "One two."), ("m2", "Three."), ("m3", STORY[:3])):
            fields = {"message_id": id, "text": text, "in_reply_to": ""}
            await owner.send("bot.reply", call_id=caller.call_id, **fields)
        await owner.until("bot.finished", message_id="m3")
        frames = await whole(caller, owner)
    said = [(f["event"], f["message_id"]) for f in frames if f["event"].startswith("bot.")]
    ends = [one_ for one_ in said if one_[0] != "bot.word"]
    assert ends == [
        (event, id) for id in ("m1", "m2", "m3") for event in ("bot.speaking", "bot.finished")
    ]
