"""flows.md §2, §4 with an early end of turn: an application that begins to answer at once."""

from __future__ import annotations

from typing import Any

from tests.conformance.desk import STORY, desk, hearing, names, of, place, whole
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer

HALF_SURE = 0.6


async def stream(owner: Peer, call_id: str, id: str, action: str, **fields: Any) -> None:
    """Send one frame of a reply stream."""
    await owner.send("bot.reply.stream", call_id=call_id, message_id=id, action=action, **fields)


@holds("flows", "2", "4")
@holds("events", "6")
async def test_a_reply_to_an_announced_end_is_spoken_and_stays_good_when_the_end_comes():
    async with desk(hearing("hello", verdict=HALF_SURE), llm=None) as (server, owner):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            caller.say(0, 300)
            eager = await owner.until("eager.turn")
            await stream(owner, id, "r1", "start", in_reply_to=eager["message_id"])
            await stream(owner, id, "r1", "chunk", token="Hi.")
            await stream(owner, id, "r1", "end")
            await caller.until("bot.finished", message_id="r1")
            await caller.until("turn.end")
            frames = await whole(caller, owner)
    assert len(of(frames, "turn.end")) == 1
    assert not of(frames, "turn.continued")
    assert not of(frames, "reply.rejected")
    said = [f["content"] for f in frames[-1]["messages"]]
    assert said == ["hello", "Hi."]


@holds("flows", "4")
@holds("events", "6")
async def test_what_is_said_after_an_early_reply_was_heard_is_a_turn_of_its_own():
    async with desk(hearing("hello", "again", verdict=HALF_SURE), llm=None) as (server, owner):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            caller.say(0, 300)
            eager = await owner.until("eager.turn")
            answer = {"message_id": "r1", "text": "Hi.", "in_reply_to": eager["message_id"]}
            await owner.send("bot.reply", call_id=id, **answer)
            await caller.until("bot.finished", message_id="r1")
            await caller.until("turn.end", turn_id=1)
            caller.say(1, 300)
            await caller.until("turn.end", text="again")
            frames = await whole(caller, owner)
    assert [f["turn_id"] for f in of(frames, "turn.end")] == [1, 2]
    assert not of(frames, "turn.continued")


@holds("flows", "4")
@holds("events", "6", "8")
async def test_a_reply_to_an_announced_end_is_void_when_the_caller_goes_on():
    engines = hearing("hello", "about boats", verdict=HALF_SURE)
    async with desk(engines, llm=None) as (server, owner):
        async with calling(server) as caller:
            id = (await owner.until("call.started"))["call_id"]
            caller.say(0, 300)
            eager = await owner.until("eager.turn")
            caller.say(1, 500)
            await stream(owner, id, "r1", "start", in_reply_to=eager["message_id"])
            await stream(owner, id, "r1", "chunk", token=f"{STORY}. Mor")
            await owner.until("turn.continued")
            await stream(owner, id, "r1", "chunk", token="e. Even m")
            await stream(owner, id, "r1", "end")
            end = await owner.until("turn.end")
            assert (end["turn_id"], end["text"]) == (1, "hello about boats")
            answer = {"message_id": "r2", "text": "Boats.", "in_reply_to": end["message_id"]}
            await owner.send("bot.reply", call_id=id, **answer)
            await owner.until("bot.finished", message_id="r2")
            frames = await whole(caller, owner)
    cut = of(frames, "bot.interrupted", message_id="r1")
    assert [frame["reason"] for frame in cut] == ["continuation"]
    assert place(frames, "turn.continued") < place(frames, "bot.speaking", message_id="r2")
    assert "Even" not in " ".join(word["word"] for word in of(frames, "bot.word"))
    said = [f["content"] for f in frames[-1]["messages"]]
    assert said == ["hello about boats", "Boats."]


@holds("flows", "4")
async def test_a_turn_that_nobody_answers_gives_the_floor_back():
    async with desk(hearing("hello", "again"), llm=None) as (server, owner):
        async with calling(server) as caller:
            await owner.until("call.started")
            await caller.act("inject_text", text="hello")
            await owner.until("turn.end", turn_id=1)
            await caller.act("inject_text", text="again")
            await owner.until("turn.end", text="hello again")
            frames = await whole(caller, owner)
    # Nothing was said in between: it is one turn, and it goes on.
    assert names(frames).count("turn.continued") == 1
    assert [f["turn_id"] for f in of(frames, "turn.end")] == [1, 1]
