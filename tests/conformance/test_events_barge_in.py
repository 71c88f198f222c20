"""events.md §6, §7.4-§7.6: turns that are not over, and replies that are cut off."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conformance.desk import STORY, Frame, desk, hearing, names, of, one, place, whole
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds

Frames = list[Frame]

# -- a silence that is not the end -----------------------------------------------------------


async def hesitation() -> Frames:
    """Let the judge doubt the end of a turn; go on speaking in that silence."""
    async with desk(hearing("hello", "there", verdict=0.3), llm=None) as (server, owner):
        async with calling(server) as caller:
            for _ in range(5):  # once, on a machine that keeps pace with the call
                caller.say(0, 300)
                caller.rest(700)  # the judge is asked after 320 ms; a turn ends after 800 ms
                caller.say(1, 300)
                await owner.until("turn.end")
                if of(owner.seen, "turn.resumed"):
                    break
            return await whole(caller, owner)


@holds("events", "6")
async def test_a_doubted_silence_is_a_pause_and_speech_after_it_resumes_the_turn():
    frames = await hesitation()
    resumed = of(frames, "turn.resumed")[0]
    begun = frames[: frames.index(resumed)]
    pause, end = of(begun, "turn.pause")[-1], of(frames, "turn.end")[-1]
    assert (pause["turn_id"], resumed["turn_id"], end["turn_id"]) == (1, 1, 1)
    assert pause["probability"] == 0.3
    assert pause["latency_ms"] > 0
    assert resumed["timestamp"] == pytest.approx(resumed["ts"], abs=60)
    assert not {"turn.end", "turn.continued"} & set(names(begun[begun.index(pause) :]))
    assert end["text"].endswith("hello there")


async def announced(go_on: bool) -> Frames:
    """Let the judge be half sure, so that the end is announced; perhaps speak on."""
    async with desk(hearing("hello", "there", verdict=0.6), llm=None) as (server, owner):
        async with calling(server) as caller:
            caller.say(0, 300)
            await owner.until("eager.turn")
            if go_on:
                caller.say(1, 500)
                await owner.until("turn.continued")
            await owner.until("turn.end")
            return await whole(caller, owner)


@holds("events", "6", "8")
async def test_a_probable_end_is_announced_after_its_message_and_before_the_end():
    frames = await announced(go_on=False)
    (eager,) = of(frames, "eager.turn")
    (message,) = of(frames, "user.message")
    (end,) = of(frames, "turn.end")
    assert (eager["turn_id"], eager["text"], eager["probability"]) == (1, "hello", 0.6)
    assert eager["message_id"] == message["message_id"] == end["message_id"]
    assert 0 < eager["latency_ms"] < end["latency_ms"]
    order = [place(frames, n) for n in ("user.message", "eager.turn", "turn.end")]
    assert order == sorted(order)


@holds("events", "6", "7.5")
async def test_speech_after_an_announced_end_continues_the_turn_with_a_new_message():
    frames = await announced(go_on=True)
    (continued,) = of(frames, "turn.continued")
    eager, end = of(frames, "eager.turn")[0], of(frames, "turn.end")[-1]
    assert continued["turn_id"] == eager["turn_id"] == end["turn_id"] == 1
    assert continued["timestamp"] == pytest.approx(continued["ts"], abs=60)
    assert end["text"] == "hello there"
    assert end["message_id"] != eager["message_id"]
    assert frames.index(eager) < frames.index(continued) < frames.index(end)


# -- speech over a reply ---------------------------------------------------------------------


async def continuation() -> Frames:
    """Speak again when the reply has just begun."""
    async with desk(hearing("a story", "of order")) as (server, owner):
        async with calling(server) as caller:
            caller.say(0, 300)
            await caller.until("bot.word", word="two")
            caller.say(1, 700)
            await owner.until("turn.end", text="a story of order")
            await owner.until("bot.word")
            return await whole(caller, owner)


async def barge_in() -> Frames:
    """Speak again when more than 2 s of the reply have been heard."""
    async with desk(hearing("a story", "that is enough now")) as (server, owner):
        async with calling(server) as caller:
            await caller.act("inject_text", text="a story")
            await caller.until("bot.word", word="nine")  # its letters stand at 2.4 s
            caller.say(1, 700)
            await owner.until("turn.end", turn_id=2)
            await owner.until("bot.word")
            return await whole(caller, owner)


@pytest.fixture(scope="module")
def continued() -> Frames:
    """Return the frames of a call in which the caller went on within 2 s."""
    return asyncio.run(continuation())


@pytest.fixture(scope="module")
def interrupted() -> Frames:
    """Return the frames of a call in which the caller cut in later."""
    return asyncio.run(barge_in())


def cut_off(frames: Frames) -> tuple[dict[str, Any], Frames]:
    """Return how the first reply was interrupted, and all frames of its message."""
    (cut,) = of(frames, "bot.interrupted")[:1]
    return cut, [f for f in frames if f.get("message_id") == cut["message_id"]]


@holds("events", "7.5")
def test_speech_in_the_first_two_seconds_of_a_reply_continues_the_turn(continued: Frames):
    assert [f["turn_id"] for f in of(continued, "turn.end")] == [1, 1]
    assert of(continued, "turn.continued")[0]["turn_id"] == 1
    first, second = of(continued, "user.message")
    assert (first["text"], second["text"]) == ("a story", "a story of order")
    assert first["message_id"] != second["message_id"]
    assert {first["turn_id"], second["turn_id"]} == {1}


@holds("events", "7.4", "7.5")
def test_a_reply_that_was_continued_over_says_how_far_it_came(continued: Frames):
    cut, frames = cut_off(continued)
    assert cut["reason"] == "continuation"
    assert 0 < cut["played_ms"] < 2_000
    words = of(frames, "bot.word")
    assert cut["words_spoken"] == len(words)
    assert cut["last_word"] == words[-1]["word"]


@holds("events", "7.5", "7.6")
def test_nothing_of_a_reply_that_was_continued_over_enters_the_conversation(continued: Frames):
    _, frames = cut_off(continued)
    assert not of(frames, "message.confirmed")
    assert not of(frames, "bot.finished")
    messages = of(continued, "call.ended")[0]["messages"]
    assert messages[0] == {"role": "user", "content": "a story of order"}


@holds("events", "8")
def test_that_a_turn_goes_on_is_told_before_anything_of_the_new_reply(continued: Frames):
    _, fresh = of(continued, "bot.speaking")[:2]
    new = [n for n, f in enumerate(continued) if f.get("message_id") == fresh["message_id"]]
    assert place(continued, "turn.continued") < min(new)


@holds("events", "7.4", "7.5")
def test_speech_after_two_seconds_of_a_reply_cuts_in_with_a_turn_of_its_own(
    interrupted: Frames,
):
    cut, frames = cut_off(interrupted)
    assert cut["reason"] == "user_spoke"
    assert cut["played_ms"] >= 2_000
    assert cut["words_spoken"] == len(of(frames, "bot.word"))
    assert cut["last_word"] == of(frames, "bot.word")[-1]["word"]
    assert [f["turn_id"] for f in of(interrupted, "turn.end")] == [1, 2]
    assert not of(interrupted, "turn.continued")


@holds("events", "7.5", "7.6", "8")
@holds("open-questions", "B")
def test_of_an_interrupted_reply_the_words_that_were_heard_are_confirmed(interrupted: Frames):
    _, frames = cut_off(interrupted)
    heard = " ".join(word["word"] for word in of(frames, "bot.word"))
    (confirmed,) = of(frames, "message.confirmed")
    assert confirmed["text"] == heard
    assert names(frames, "bot.word", "turn.latency") == [
        "bot.speaking",
        "bot.interrupted",
        "message.confirmed",
    ]
    messages = of(interrupted, "call.ended")[0]["messages"]
    assert messages[1] == {"role": "assistant", "content": heard}


@holds("events", "7.2")
@holds("open-questions", "B")
def test_words_are_sent_as_they_are_played_and_not_as_they_are_made(interrupted: Frames):
    cut, frames = cut_off(interrupted)
    words = of(frames, "bot.word")
    # The sentence was synthesised whole; of its twenty words nobody was told but those heard.
    assert len(words) < len(STORY.split())
    for word in words:
        assert word["start_time"] * 1_000 < cut["played_ms"]


@holds("events", "6")
@holds("open-questions", "B")
def test_turns_are_counted_from_one_and_what_is_said_carries_its_turn(interrupted: Frames):
    second = [f for f in interrupted if f.get("turn_id") == 2]
    assert names(second)[0] == "speech.started"
    assert {f["turn_id"] for f in of(interrupted, "user.speaking")} <= {1, 2}


# -- replies that the application takes back --------------------------------------------------

SAID: Mapping[str, Any] = {"message_id": "m1", "text": "one two three four", "in_reply_to": ""}


@holds("events", "7.4")
async def test_a_cancelled_message_is_interrupted_as_cancelled():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await owner.send("bot.reply", call_id=caller.call_id, **SAID)
        await owner.until("bot.word", word="two")
        await owner.send("bot.cancel", call_id=caller.call_id, message_id="m1")
        cut = await owner.until("bot.interrupted")
        assert (cut["message_id"], cut["reason"]) == ("m1", "cancelled")
        assert cut["played_ms"] > 0
        confirmed = await owner.until("message.confirmed")
        heard = [word["word"] for word in of(owner.seen, "bot.word")]
        assert confirmed["text"] == " ".join(heard)
        assert (cut["words_spoken"], cut["last_word"]) == (len(heard), heard[-1])


@holds("events", "7.4")
@holds("open-questions", "B")
async def test_clearing_ends_what_is_said_and_what_waits_to_be():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await owner.send("bot.reply", call_id=caller.call_id, **SAID)
        await owner.send("bot.reply", call_id=caller.call_id, **(SAID | {"message_id": "m2"}))
        await owner.until("bot.word", message_id="m1")
        await owner.send("bot.clear", call_id=caller.call_id)
        await owner.until("bot.interrupted", message_id="m1", reason="cancelled")
        waiting = await owner.until("bot.interrupted", message_id="m2")
        assert (waiting["played_ms"], waiting["words_spoken"]) == (0, 0)
        assert "last_word" not in waiting
        frames = await whole(caller, owner)
    assert not of(frames, "bot.speaking", message_id="m2")
    assert not of(frames, "message.confirmed", message_id="m2")


@holds("events", "7.6")
async def test_a_reply_that_is_given_up_before_it_is_heard_is_aborted():
    slow = {"provider": "script", "rules": [{"say": "Too late.", "first_token_ms": 5_000}]}
    async with desk(hearing("", "wait"), llm=slow) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await caller.act("inject_text", text="hello")
        await caller.until("turn.end")
        caller.say(1, 500)
        await owner.until("turn.continued")
        frames = await whole(caller, owner)
    aborted = one(frames, "message.aborted", reason="continuation")
    assert aborted["message_id"]
    assert not of(frames, "bot.speaking")
    assert not of(frames, "bot.interrupted")


@holds("events", "7.6")
@holds("open-questions", "B")
async def test_a_reply_to_an_old_message_is_rejected_and_never_heard():
    async with desk(llm=None) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await caller.act("inject_text", text="hello")
        end = await owner.until("turn.end")
        await owner.send("bot.reply", call_id=caller.call_id, **(SAID | {"in_reply_to": "old"}))
        rejected = await owner.until("reply.rejected")
        assert rejected["message_id"] == "m1"
        assert rejected["in_reply_to"] == "old"
        assert rejected["expected_reply_to"] == end["message_id"]
        assert rejected["reason"] == "message_obsolete"
        frames = await whole(caller, owner)
    assert not of(frames, "bot.speaking")
