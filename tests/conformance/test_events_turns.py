"""events.md §5-§8: one ordinary turn of a voice call, played once and read from every side."""

from __future__ import annotations

import asyncio
import re

import pytest

from tests.conformance.desk import Frame, desk, hearing, names, of, one, place, whole
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds

Frames = list[Frame]


async def play() -> Frames:
    """Greet, hear one turn, answer it, and hang up; return the owner's frames."""
    async with desk(hearing("hello there"), greeting="Hi.") as (server, owner):
        async with calling(server) as caller:
            await caller.until("bot.finished")
            caller.say(0, 400)
            await caller.until("turn.end")
            said = await caller.until("message.confirmed", text="You said hello there.")
            await caller.until("bot.finished", message_id=said["message_id"])
            return await whole(caller, owner)


@pytest.fixture(scope="module")
def call() -> Frames:
    """Return every frame of one call, as the agent's owner got them."""
    return asyncio.run(play())


@holds("events", "5")
def test_the_callers_voice_begins_and_ends_with_its_turn_and_its_length(call: Frames):
    started, ended = one(call, "speech.started"), one(call, "speech.ended")
    assert started["turn_id"] == ended["turn_id"] == 1
    assert 0 < started["confidence"] <= 1
    assert 300 <= ended["duration_ms"] <= 500
    assert 0.3 <= ended["timestamp"] - started["timestamp"] <= 0.5


@holds("events", "5")
def test_what_is_being_said_is_shown_as_it_grows(call: Frames):
    shown = of(call, "user.speaking")
    assert shown
    for frame in shown:
        assert frame["text"] == "hello there"
        assert 0 < frame["confidence"] <= 1
        assert frame["turn_id"] == 1


@holds("events", "5")
def test_a_final_transcript_is_sent_once_with_an_id_of_its_own(call: Frames):
    message = one(call, "user.message")
    assert (message["text"], message["turn_id"]) == ("hello there", 1)
    assert re.fullmatch(r"msg_[a-z0-9]{12}", message["message_id"])
    assert 0 < message["confidence"] <= 1
    assert 0 <= message["lag_ms"] < 2_000
    assert "phone_number" not in message


@holds("events", "6")
def test_the_end_of_a_turn_names_the_message_and_how_sure_it_is(call: Frames):
    end, message = one(call, "turn.end"), one(call, "user.message")
    assert (end["turn_id"], end["text"]) == (1, "hello there")
    assert end["message_id"] == message["message_id"]
    assert 0.7 <= end["probability"] <= 1
    assert 0 < end["latency_ms"] < 3_000
    assert "source" not in end


@holds("events", "7.1")
@holds("open-questions", "B")
def test_what_the_agent_says_begins_with_its_text_when_that_is_known(call: Frames):
    greeting, reply = of(call, "bot.speaking")
    assert greeting["text"] == "Hi."
    assert reply["text"] in ("", "You said hello there.")
    assert greeting["message_id"] != reply["message_id"]


@holds("events", "7.2")
@holds("open-questions", "B")
def test_words_are_numbered_and_timed_from_the_start_of_their_message(call: Frames):
    _, reply = of(call, "bot.speaking")
    words = of(call, "bot.word", message_id=reply["message_id"])
    assert [word["word"] for word in words] == ["You", "said", "hello", "there."]
    assert [word["word_index"] for word in words] == [0, 1, 2, 3]
    assert words[0]["start_time"] == 0.0
    for word in words:
        assert word["start_time"] < word["end_time"]


@holds("events", "7.3")
def test_playing_ends_with_its_length(call: Frames):
    _, reply = of(call, "bot.speaking")
    (finished,) = of(call, "bot.finished", message_id=reply["message_id"])
    # 21 characters at 60 ms, and what rounding to whole frames costs.
    assert 1_200 <= finished["duration_ms"] <= 1_300


@holds("events", "7.6")
@holds("open-questions", "B")
def test_what_entered_the_conversation_is_confirmed_once_and_before_playing_ends(call: Frames):
    for speaking, text in zip(
        of(call, "bot.speaking"), ["Hi.", "You said hello there."], strict=True
    ):
        id = speaking["message_id"]
        (confirmed,) = of(call, "message.confirmed", message_id=id)
        assert confirmed["text"] == text
        assert place(call, "message.confirmed", message_id=id) < place(
            call, "bot.finished", message_id=id
        )


@holds("events", "7.8")
def test_the_latency_of_a_turn_is_the_sum_of_its_parts(call: Frames):
    latency, end = one(call, "turn.latency"), one(call, "turn.end")
    parts = ("vad", "asr", "eou", "tools", "llm_ttft", "tts_ttfb", "playout", "other")
    assert all(isinstance(latency[part], int) and latency[part] >= 0 for part in (*parts, "e2e"))
    assert sum(latency[part] for part in parts) == latency["e2e"]
    assert latency["vad"] + latency["asr"] + latency["eou"] == end["latency_ms"]
    assert latency["turn_id"] == 1
    _, reply = of(call, "bot.speaking")
    assert latency["message_id"] == reply["message_id"]


@holds("events", "8")
def test_a_turn_is_told_in_the_order_that_clients_count_on(call: Frames):
    assert call[0]["event"] == "call.started"
    assert call[-1]["event"] == "call.ended"
    _, reply = of(call, "bot.speaking")
    id = reply["message_id"]
    order = [
        place(call, "speech.started"),
        place(call, "user.speaking"),
        place(call, "user.message"),
        place(call, "turn.end"),
        place(call, "bot.speaking", message_id=id),
        place(call, "bot.word", message_id=id),
        place(call, "message.confirmed", message_id=id),
        place(call, "bot.finished", message_id=id),
    ]
    assert order == sorted(order)
    assert place(call, "speech.started") < place(call, "speech.ended")


@holds("events", "8")
def test_a_message_that_was_heard_whole_is_never_called_interrupted(call: Frames):
    assert not of(call, "bot.interrupted")
    assert len(of(call, "bot.finished")) == len(of(call, "bot.speaking")) == 2


@holds("events", "1", "2.1")
@holds("open-questions", "G")
def test_every_frame_of_a_call_carries_who_which_when_and_in_what_order(call: Frames):
    ids = {(frame["agent_id"], frame["call_id"], frame["session_id"]) for frame in call}
    (stamp,) = ids
    assert stamp[0] == "desk"
    assert stamp[1] == stamp[2]
    seqs = [frame["seq"] for frame in call]
    assert seqs == sorted(set(seqs))
    stamps = [frame["ts"] for frame in call]
    assert stamps == sorted(stamps)
    assert all(isinstance(ts, float) and ts > 1_700_000_000 for ts in stamps)
    assert not any("phone_number" in frame for frame in call)


@holds("events", "1")
def test_no_key_on_the_top_level_is_spelled_in_camel_case(call: Frames):
    assert all(re.fullmatch(r"[a-z0-9_]+", key) for frame in call for key in frame)


@holds("events", "4.1")
@holds("open-questions", "B")
def test_a_browser_call_starts_with_webrtc_on_both_sides(call: Frames):
    started = one(call, "call.started")
    assert (started["from"], started["to"]) == ("webrtc", "webrtc")
    assert (started["direction"], started["transport"]) == ("inbound", "webrtc")
    assert re.fullmatch(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", started["call_id"])


@holds("events", "4.2")
def test_a_call_ends_once_with_all_that_is_known_of_it(call: Frames):
    ended = one(call, "call.ended")
    assert ended["reason"] == "hangup"
    assert (ended["direction"], ended["from"], ended["to"]) == ("inbound", "webrtc", "webrtc")
    assert ended["ended_at"] >= ended["started_at"] > 1_700_000_000
    assert 1 < ended["duration_seconds"] < 30
    assert ended["messages"] == [
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": "You said hello there."},
    ]


@holds("events", "9.2")
def test_a_barrier_that_is_off_is_not_told(call: Frames):
    assert "llm.before" not in names(call)


@holds("events", "7.8")
async def test_an_applications_reply_is_timed_and_what_it_says_unasked_is_not():
    async with desk(llm=None) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        say = {"message_id": "m1", "text": "Hi.", "in_reply_to": ""}
        await owner.send("bot.reply", call_id=caller.call_id, **say)
        await owner.until("bot.finished", message_id="m1")
        await caller.act("inject_text", text="hello")
        asked = (await owner.until("turn.end"))["message_id"]
        answer = {"message_id": "m2", "text": "Yes.", "in_reply_to": asked}
        await owner.send("bot.reply", call_id=caller.call_id, **answer)
        await owner.until("bot.finished", message_id="m2")
        frames = await whole(caller, owner)
    latency = one(frames, "turn.latency")
    assert (latency["message_id"], latency["turn_id"]) == ("m2", 1)
    assert place(frames, "turn.latency") < place(frames, "bot.finished", message_id="m2")
