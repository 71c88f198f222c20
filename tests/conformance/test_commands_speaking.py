"""Speaking: `bot.reply`, `bot.reply.stream`, `bot.cancel`, `bot.clear` (commands.md §6)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conformance.answered import answered, history, reply
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer

LONG = "one two three four five six seven eight nine ten"


async def stream(peer: Peer, call: str, id: str, action: str, **fields: Any) -> None:
    await peer.send("bot.reply.stream", call_id=call, message_id=id, action=action, **fields)


def of(peer: Peer, id: str) -> list[str]:
    """Return the names of the frames of one message, without its words."""
    named = [f["event"] for f in peer.seen if f.get("message_id") == id]
    return [name for name in named if name != "bot.word"]


# --- bot.reply ----------------------------------------------------------------------------------


@holds("commands", "6.1")
async def test_a_reply_is_spoken_word_by_word_confirmed_and_finished_under_its_own_id():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "msg_a1b2c3d4e5f6", "Hello there")
        await owner.until("bot.finished", message_id="msg_a1b2c3d4e5f6")
        await caller.until("bot.finished")
    mine = [frame for frame in owner.seen if frame.get("message_id") == "msg_a1b2c3d4e5f6"]
    assert [frame["event"] for frame in mine] == [
        "bot.speaking",
        "bot.word",
        "bot.word",
        "message.confirmed",
        "bot.finished",
    ]
    assert mine[0]["text"] == "Hello there"
    assert [(f["word"], f["word_index"]) for f in mine[1:3]] == [("Hello", 0), ("there", 1)]
    assert mine[3]["text"] == "Hello there"
    assert mine[4]["duration_ms"] > 0
    assert all(f["call_id"] == caller.call_id and f["agent_id"] == "desk" for f in mine)


@holds("commands", "6.1")
async def test_what_is_said_enters_the_history_as_the_assistants_only_when_it_is_to():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", "Not kept")
        await reply(owner, caller.call_id, "m2", "Kept", add_to_history=True)
        await owner.until("bot.finished", message_id="m2")
        assert await history(owner, caller.call_id) == [("assistant", "Kept")]


@holds("commands", "6.1")
async def test_replies_that_come_while_one_is_spoken_are_spoken_in_order():
    async with answered() as (owner, caller):
        for id in ("m1", "m2", "m3"):
            await reply(owner, caller.call_id, id, "Hi")
        await owner.until("bot.finished", message_id="m3")
    begun = [f["message_id"] for f in owner.seen if f["event"] == "bot.speaking"]
    assert begun == ["m1", "m2", "m3"]
    assert of(owner, "m2") == ["bot.speaking", "message.confirmed", "bot.finished"]


@holds("commands", "6.1")
async def test_a_reply_to_the_current_message_is_spoken_and_a_stale_one_is_rejected_unspoken():
    async with answered({0: "hello"}) as (owner, caller):
        caller.say(0)
        turn = await owner.until("turn.end")
        await reply(owner, caller.call_id, "m1", "Late", in_reply_to="msg_000000000000")
        rejected = await owner.until("reply.rejected")
        assert rejected["message_id"] == "m1"
        assert rejected["in_reply_to"] == "msg_000000000000"
        assert rejected["expected_reply_to"] == turn["message_id"]
        assert rejected["reason"] == "message_obsolete"
        await reply(owner, caller.call_id, "m2", "Hi", in_reply_to=turn["message_id"])
        await owner.until("bot.finished", message_id="m2")
        await reply(owner, caller.call_id, "m3", "Always", in_reply_to="")
        await owner.until("bot.finished", message_id="m3")
    assert of(owner, "m1") == ["reply.rejected"]


# --- bot.reply.stream ---------------------------------------------------------------------------


@holds("commands", "6.2")
async def test_a_stream_is_one_message_of_all_its_chunks_appended_as_they_are():
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        for token in ("Su", "re. ", "O", "k", "ay."):
            await stream(owner, caller.call_id, "m1", "chunk", token=token)
        await stream(owner, caller.call_id, "m1", "end")
        await owner.until("bot.finished", message_id="m1")
        assert of(owner, "m1") == ["bot.speaking", "message.confirmed", "bot.finished"]
        words = [f["word"] for f in owner.seen if f["event"] == "bot.word"]
        assert words == ["Sure.", "Okay."]
        confirmed = next(f for f in owner.seen if f["event"] == "message.confirmed")
        assert confirmed["text"].split() == words


@holds("commands", "6.2")
async def test_a_stream_is_cut_at_sentences_and_heard_before_it_ends():
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        await stream(owner, caller.call_id, "m1", "chunk", token="This is one sentence. And")
        speaking_ = await owner.until("bot.speaking", message_id="m1")
        await caller.hears(sound=True)
        assert speaking_["text"] == ""
        first = [f["word"] for f in owner.seen if f["event"] == "bot.word"]
        assert "And" not in first
        await stream(owner, caller.call_id, "m1", "chunk", token=" more")
        await stream(owner, caller.call_id, "m1", "end")
        confirmed = await owner.until("message.confirmed", message_id="m1")
        assert confirmed["text"].split() == ["This", "is", "one", "sentence.", "And", "more"]


@holds("commands", "6.2")
@pytest.mark.parametrize("written", ["One moment. ", "One moment."])
async def test_a_sentence_of_a_stream_is_heard_while_the_application_looks_for_the_next(
    written: str,
):
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        await stream(owner, caller.call_id, "m1", "chunk", token=written)
        await owner.until("bot.word", word="moment.")
        await stream(owner, caller.call_id, "m1", "chunk", token="Found it")
        await stream(owner, caller.call_id, "m1", "end")
        confirmed = await owner.until("message.confirmed", message_id="m1")
        assert confirmed["text"].split() == ["One", "moment.", "Found", "it"]
        assert of(owner, "m1").count("bot.speaking") == 1


@holds("commands", "6.2")
async def test_a_stream_without_a_chunk_speaks_nothing_and_finishes():
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        await stream(owner, caller.call_id, "m1", "end")
        finished = await owner.until("bot.finished", message_id="m1")
        assert finished["duration_ms"] == 0
        assert "message.confirmed" not in of(owner, "m1")
        await reply(owner, caller.call_id, "m2", "Next")
        await owner.until("bot.finished", message_id="m2")


@holds("commands", "6.2")
async def test_a_stream_that_was_cancelled_is_not_spoken_whatever_still_comes_of_it():
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        await stream(owner, caller.call_id, "m1", "chunk", token="one two three four five six! ")
        await owner.until("bot.word", message_id="m1")
        await owner.send("bot.cancel", call_id=caller.call_id, message_id="m1")
        await owner.until("bot.interrupted", message_id="m1")
        begun = len(owner.seen)
        await stream(owner, caller.call_id, "m1", "chunk", token="seven eight. ")
        await stream(owner, caller.call_id, "m1", "end")
        await reply(owner, caller.call_id, "m2", "Next")
        await owner.until("bot.finished", message_id="m2")
    after = [f["event"] for f in owner.seen[begun:] if f.get("message_id") == "m1"]
    assert set(after) <= {"message.confirmed"}


@holds("commands", "6.2")
async def test_a_stream_that_answers_an_older_message_is_rejected_when_it_starts():
    async with answered({0: "hello"}) as (owner, caller):
        caller.say(0)
        turn = await owner.until("turn.end")
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="msg_000000000000")
        await stream(owner, caller.call_id, "m1", "chunk", token="Late. ")
        await stream(owner, caller.call_id, "m1", "end")
        rejected = await owner.until("reply.rejected", message_id="m1")
        assert rejected["expected_reply_to"] == turn["message_id"]
        await stream(owner, caller.call_id, "m2", "start", in_reply_to=turn["message_id"])
        await stream(owner, caller.call_id, "m2", "chunk", token="Hi")
        await stream(owner, caller.call_id, "m2", "end")
        await owner.until("bot.finished", message_id="m2")
    assert of(owner, "m1") == ["reply.rejected"]


@holds("commands", "6.2")
async def test_the_end_of_a_stream_whose_call_is_over_is_no_error():
    async with answered() as (owner, caller):
        await stream(owner, caller.call_id, "m1", "start", in_reply_to="")
        await stream(owner, caller.call_id, "m1", "chunk", token=LONG)
        await caller.hang_up()
        await owner.until("call.ended")
        await stream(owner, caller.call_id, "m1", "end")
        assert await owner.settled() == []


# --- bot.cancel, bot.clear ----------------------------------------------------------------------


@holds("commands", "6.3")
async def test_cancel_with_an_id_stops_that_message_and_the_rest_goes_on():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", LONG)
        await reply(owner, caller.call_id, "m2", "Next")
        await owner.until("bot.word", message_id="m1", word_index=1)
        await owner.send("bot.cancel", call_id=caller.call_id, message_id="m1")
        cut = await owner.until("bot.interrupted", message_id="m1")
        assert cut["reason"] == "cancelled"
        assert cut["words_spoken"] >= 1
        assert cut["played_ms"] > 0
        await owner.until("bot.finished", message_id="m2")
    assert "bot.finished" not in of(owner, "m1")


@holds("commands", "6.3")
async def test_cancel_without_an_id_stops_the_current_message_alone():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", LONG)
        await reply(owner, caller.call_id, "m2", "Next")
        await owner.until("bot.word", message_id="m1")
        await owner.send("bot.cancel", call_id=caller.call_id)
        assert (await owner.until("bot.interrupted"))["message_id"] == "m1"
        await owner.until("bot.finished", message_id="m2")


@holds("commands", "6.3")
async def test_cancel_of_a_message_that_waits_drops_it_and_leaves_the_current_one():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", "one two three")
        await reply(owner, caller.call_id, "m2", "Never said")
        await owner.send("bot.cancel", call_id=caller.call_id, message_id="m2")
        await owner.until("bot.finished", message_id="m1")
        await reply(owner, caller.call_id, "m3", "Last")
        await owner.until("bot.finished", message_id="m3")
    assert "bot.speaking" not in of(owner, "m2")


@holds("commands", "6.3")
async def test_clear_drops_what_plays_and_all_that_waits():
    async with answered() as (owner, caller):
        await reply(owner, caller.call_id, "m1", LONG)
        await reply(owner, caller.call_id, "m2", "Never said")
        await owner.until("bot.word", message_id="m1")
        await owner.send("bot.clear", call_id=caller.call_id)
        assert (await owner.until("bot.interrupted", message_id="m1"))["reason"] == "cancelled"
        await caller.hears(sound=False)
        await reply(owner, caller.call_id, "m3", "Anew")
        await owner.until("bot.finished", message_id="m3")
    assert "bot.speaking" not in of(owner, "m2")


@holds("commands", "6.3")
async def test_cancel_and_clear_when_nothing_is_said_change_nothing():
    async with answered() as (owner, caller):
        await owner.send("bot.cancel", call_id=caller.call_id)
        await owner.send("bot.cancel", call_id=caller.call_id, message_id="m0")
        await owner.send("bot.clear", call_id=caller.call_id)
        assert [f for f in await owner.settled() if f["event"] == "error"] == []
        await reply(owner, caller.call_id, "m1", "Hi")
        await owner.until("bot.finished", message_id="m1")
