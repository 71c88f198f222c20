"""open-questions.md: choices of ours that no other page of this suite shows."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import httpx
import pytest
import websockets

from tests.conformance.desk import (
    OURS,
    SCRIPT,
    desk,
    hears_always,
    names,
    of,
    place,
    registered,
    told,
    whole,
    with_number,
)
from tests.conformance.microphone import calling
from tests.conformance.paragraphs import holds
from tests.server.peer import PATIENCE_S, bearer, connected, embedded

TELLS_PROMPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "{prompt}"}]}


@holds("open-questions", "B")
async def test_what_happened_while_nobody_was_there_is_not_told_later():
    async with embedded(engines=hears_always("")) as server:
        async with connected(server) as first:
            await registered(first, llm=SCRIPT, preparing=False)
            call = calling(server)
            caller = await call.__aenter__()
            await first.until("call.started")
        await caller.act("inject_text", text="hello")
        await caller.until("message.confirmed", text="You said hello.")
        await caller.until("bot.finished")
        async with connected(server) as second:
            await registered(second, llm=SCRIPT, preparing=False)
            frames = await whole(caller, second)
        await call.__aexit__(None, None, None)
    assert names(frames) == ["call.started", "call.ended"]


@holds("open-questions", "B")
async def test_what_is_not_for_the_history_is_confirmed_all_the_same():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        fields = {"message_id": "m1", "text": "One moment.", "in_reply_to": ""}
        await owner.send("bot.reply", call_id=caller.call_id, **fields)
        await owner.until("message.confirmed", message_id="m1", text="One moment.")
        frames = await whole(caller, owner)
    assert frames[-1]["messages"] == []


@holds("open-questions", "B")
async def test_cancelling_without_an_id_drops_the_current_message_and_no_other():
    async with desk() as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        stream = {"call_id": caller.call_id, "message_id": "m1"}
        await owner.send("bot.reply.stream", **stream, action="start", in_reply_to="")
        text = "one two three four five six. Mo"
        await owner.send("bot.reply.stream", **stream, action="chunk", token=text)
        waits = stream | {"message_id": "m2"}
        await owner.send("bot.reply.stream", **waits, action="start", in_reply_to="")
        await owner.until("bot.word", message_id="m1")
        await owner.send("bot.cancel", call_id=caller.call_id)
        await owner.until("bot.interrupted", message_id="m1", reason="cancelled")
        await owner.send("bot.reply.stream", **waits, action="chunk", token="Hi.")
        await owner.send("bot.reply.stream", **waits, action="end")
        await owner.until("bot.finished", message_id="m2")


@holds("open-questions", "B")
@holds("events", "7.6")
async def test_cancelling_drops_a_reply_of_the_model_that_is_still_awaited():
    slow = {"provider": "script", "rules": [{"say": "Too late.", "first_token_ms": 5_000}]}
    async with desk(llm=slow) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        await caller.act("inject_text", text="hello")
        await owner.until("turn.end")
        await owner.send("bot.cancel", call_id=caller.call_id)
        aborted = await owner.until("message.aborted")
        assert (aborted["agent_id"], aborted["reason"]) == ("desk", "cancelled")
        assert aborted["message_id"]
        frames = await whole(caller, owner)
    assert not of(frames, "bot.speaking")
    assert len(of(frames, "message.aborted")) == 1


@holds("open-questions", "B")
async def test_of_a_bridge_the_callers_side_can_be_listened_to_at_16_khz():
    async with desk(hears_always("hello")) as (server, owner):
        await owner.agent("judge", llm=SCRIPT, preparing=False)
        await owner.send(
            "call.bridge",
            agent_id="judge",
            target="desk",
            greeting="one two three four five six seven",
            media={"live": True},
            detect_turn_end=False,
        )
        ours = await owner.until("call.started", agent_id="judge")
        theirs = of(owner.seen, "call.started", agent_id="desk") or [
            await owner.until("call.started", agent_id="desk")
        ]
        id = ours["call_id"]
        url = f"ws{server.url[4:]}/live/{id}/ws?token=pk_one"
        async with websockets.connect(url) as listener, asyncio.timeout(PATIENCE_S):
            hello = json.loads(await listener.recv())
            sound = [await listener.recv() for _ in range(8)]
            await owner.send("call.hangup", call_id=id)
            async for _ in listener:
                pass
        await told(owner, id)
        await told(owner, theirs[0]["call_id"])
    assert (hello["sampleRate"], hello["sessionId"]) == (16_000, id)
    assert any(any(frame) for frame in sound)
    assert (ours["direction"], theirs[0]["direction"]) == ("outbound", "inbound")
    assert id != theirs[0]["call_id"]


@holds("open-questions", "C")
async def test_a_variable_that_nobody_knows_is_empty_and_the_built_in_ones_are_there():
    prompt = "Be {{mood}}kind on {{date}}."
    async with desk(llm=TELLS_PROMPT, prompt=prompt, raw_prompt=True) as (_, owner):
        await owner.send("llm.chat", agent_id="desk", session_id="s-1", text="x")
        done = await owner.until("llm.chat.done")
    assert re.fullmatch(r"Be kind on \S.*\.", done["text"])
    assert "{{" not in done["text"]


@holds("open-questions", "C")
async def test_knowledge_that_is_not_there_is_done_without():
    async with desk(knowledge_base=["kb_nowhere"]) as (_, owner):
        await owner.send("llm.chat", agent_id="desk", session_id="s-1", text="x")
        done = await owner.until("llm.chat.done")
    assert done["text"] == "You said x."
    assert not of(owner.seen, "error")


@holds("open-questions", "C")
async def test_a_call_may_be_configured_as_often_as_one_likes():
    async with desk() as (server, owner), calling(server) as caller:
        id = (await owner.until("call.started"))["call_id"]
        for n in range(200):
            await owner.send("session.configure", session_id=id, prompt=f"Prompt {n}.")
        frames = await whole(caller, owner)
    assert len(of(frames, "session.configured")) == 200
    assert not of(owner.seen, "error")


@holds("open-questions", "C")
async def test_messages_of_tools_that_nobody_asked_for_are_kept_and_not_shown_to_the_model():
    orphan = {"role": "tool", "tool_call_id": "gone", "content": "{}"}
    kept = [{"role": "user", "content": "hello"}, orphan]
    async with desk() as (_, owner):
        await owner.send("llm.chat", agent_id="desk", session_id="s-1", text="x")
        await owner.until("llm.chat.done")
        await owner.send("history.set", call_id="s-1", request_id="a", messages=kept)
        assert (await owner.until("history.updated"))["count"] == 2
        await owner.send("history.get", call_id="s-1", request_id="b")
        assert (await owner.until("history.data"))["messages"] == kept
        await owner.send("llm.chat", agent_id="desk", session_id="s-1", text="y")
        assert (await owner.until("llm.chat.done"))["text"] == "You said y."


@holds("open-questions", "D")
@pytest.mark.parametrize("kind", ["webrtc", "chat"])
async def test_a_token_is_safe_in_an_address_as_it_stands(kind: str):
    async with desk() as (server, _), httpx.AsyncClient(base_url=server.url) as http:
        for _ in range(20):
            params = {"agent_id": "desk"}
            answer = await http.get(f"/{kind}/token", params=params, headers=bearer())
            assert re.fullmatch(r"[A-Za-z0-9_-]{30,}", answer.json()["token"])


@holds("open-questions", "D")
async def test_an_agents_card_is_for_every_page_and_a_token_for_its_own():
    origin = "https://shop.example"
    async with desk(allowed_origins=[origin]) as (server, _):
        async with httpx.AsyncClient(base_url=server.url, headers={"Origin": origin}) as http:
            card = await http.get("/api/sdk/agent-info/desk")
            token = await http.get("/chat/token", params={"agent_id": "desk"})
            refused = await http.get("/chat/token", params={"agent_id": "nobody"})
    assert card.headers["access-control-allow-origin"] == "*"
    assert token.headers["access-control-allow-origin"] == origin
    assert isinstance(refused.json()["detail"], str)


@holds("open-questions", "D")
async def test_a_key_of_another_organisation_finds_nobody_to_kick():
    async with desk() as (server, owner):
        async with httpx.AsyncClient(base_url=server.url, headers=bearer("pk_two")) as http:
            assert (await http.delete("/api/sdk/agents/desk")).status_code == 404
        assert not await owner.settled()


@holds("open-questions", "A")
async def test_a_number_that_is_refused_stops_nothing_that_comes_after_it():
    async with desk() as (server, owner), connected(server) as other:
        await with_number(owner)
        await other.agent("other")
        for ref in ("+13186330900", OURS, "+13186330901"):
            await other.send("channel.add", agent_id="other", type="phone", ref=ref)
        await other.until("channel.added", ref="+13186330901")
    answers = [(f["event"], f.get("ref", f.get("phone"))) for f in other.seen[-3:]]
    assert answers == [
        ("channel.added", "+13186330900"),
        ("error", OURS),
        ("channel.added", "+13186330901"),
    ]


@holds("open-questions", "G")
async def test_a_second_turn_is_counted_and_how_late_its_words_were_is_told():
    async with desk(llm=None) as (server, owner), calling(server) as caller:
        await caller.until("call.started")
        for text in ("one", "two"):
            await caller.act("inject_text", text=text)
            await owner.until("turn.end", text=text)
            end = {"message_id": text, "text": "Yes.", "in_reply_to": ""}
            await owner.send("bot.reply", call_id=caller.call_id, **end)
            await owner.until("bot.finished", message_id=text)
        frames = await whole(caller, owner)
    assert [f["turn_id"] for f in of(frames, "user.message")] == [1, 2]
    assert all(f["lag_ms"] >= 0 for f in of(frames, "user.message"))
    assert place(frames, "turn.end", turn_id=1) < place(frames, "turn.end", turn_id=2)
