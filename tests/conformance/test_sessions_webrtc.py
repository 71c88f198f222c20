"""A page's call over WebRTC and its data channel: sessions.md §2 and §3."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise

import aiortc
import pytest

from pinecall_cli.protocol.webrtc import TOLD
from tests.conformance.paragraphs import holds
from tests.fakes.engines import tone
from tests.server.browser import Browser, browsing, quick, speaking
from tests.server.peer import PATIENCE_S, connected
from tests.server.test_chat import LOOKUP, SCRIPT

pytestmark = pytest.mark.usefixtures("network")
STORY = "once upon a time there was a lamp that nobody wanted to buy at all"
TELLS = {"provider": "script", "rules": [{"say": STORY}]}
GREETING = "good day to you"


@holds("sessions", "2")
async def test_a_page_is_heard_and_hears_the_agent():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, language="en")
        async with browsing(server) as page:
            page.say(tone(800))
            await page.until("user.message", text="hello there")
            await page.until("bot.finished")
            await page.hears(audible=False)
        started = await owner.until("call.started")
        assert (started["from"], started["to"]) == ("webrtc", "webrtc")
        assert (started["transport"], started["direction"]) == ("webrtc", "inbound")
        ended = await owner.until("call.ended")
        assert ended["reason"] == "disconnected"
        assert [m["content"] for m in ended["messages"]] == ["hello there", "You said: hello there"]
        # 60 ms a character, of which the page heard no more and hardly less.
        assert sum(page.heard) * 20 == pytest.approx(60 * len("You said: hello there"), abs=100)
        assert {later - earlier for earlier, later in pairwise(page.stamps)} == {960}


@holds("sessions", "3", "3.2", "3.4")
async def test_a_page_is_told_the_facts_of_the_agents_socket_without_the_agent():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting=GREETING)
        async with browsing(server, metadata={"page": "/lamps"}) as page:
            await page.until("bot.finished")
            page.say(tone(800))
            answer = await page.until("bot.speaking", text="")
            await page.until("bot.finished", message_id=answer["message_id"])
        await owner.until("call.ended")
        facts = [f for f in owner.seen if f["event"] in TOLD]
        for fact in facts:
            del fact["agent_id"]
        assert page.seen == facts
        words = [f for f in page.seen if f["event"] == "bot.word"]
        assert [w["word"] for w in words][:4] == GREETING.split()
        assert [w["word_index"] for w in words][:4] == [0, 1, 2, 3]


@holds("sessions", "3.2")
async def test_tool_calls_and_their_results_are_shown_on_the_page():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, tools=[LOOKUP])
        async with browsing(server) as page:
            page.send("inject_text", text="where is order 42?")
            call = await owner.until("llm.tool_call")
            (wish,) = call["tool_calls"]
            result = {"tool_call_id": wish["id"], "result": {"status": "shipped"}}
            ids = {"call_id": call["call_id"], "msg_id": call["msg_id"]}
            await owner.send("llm.tool_result", results=[result], **ids)
            assert (await page.until("llm.tool_call"))["tool_calls"] == [wish]
            shown = await page.until("llm.tool_result")
            assert (shown["tool_call_id"], shown["result"]) == (wish["id"], {"status": "shipped"})
            assert (await page.until("message.confirmed"))["text"] == "shipped."


@holds("sessions", "2")
async def test_a_greeting_that_the_application_says_at_once_waits_for_the_page():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        page = Browser(server)
        answer = await page.post(await page.token(), await page.offer())
        started = await owner.until("call.started")
        await owner.send(
            "bot.reply",
            **{"agent_id": "desk", "call_id": started["call_id"], "message_id": "msg_hi"},
            **{"text": GREETING, "in_reply_to": ""},
        )
        assert "bot.speaking" not in [f["event"] for f in await owner.settled()]
        told = answer.json()
        await page.pc.setRemoteDescription(aiortc.RTCSessionDescription(told["sdp"], "answer"))
        await page.until("bot.finished", message_id="msg_hi")
        await page.hears(audible=False)
        await page.close()
        assert sum(page.heard) * 20 == pytest.approx(60 * len(GREETING), abs=60)


@holds("sessions", "3.1")
async def test_a_muted_page_is_not_heard_until_it_unmutes():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            page.send("mute")
            page.say(tone(800))
            page.send("inject_text", text="typed")
            await page.until("bot.finished")  # by then a voice would have been heard as well
            assert "speech.started" not in [f["event"] for f in page.seen]
            page.send("unmute")
            page.say(tone(800))
            await page.until("user.message", text="hello there")
        await owner.until("call.ended")


@holds("sessions", "3.1", "3.5")
async def test_text_and_context_of_the_page_reach_the_model():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True)
        async with browsing(server) as page:
            page.send("set_context", key="page", value="/pricing")
            page.send("inject_text", text="prompt")
            assert (await page.until("user.message"))["text"] == "prompt"
            assert "/pricing" in (await page.until("message.confirmed"))["text"]


@holds("sessions", "3.1", "3.3")
@holds("config", "12.4")
async def test_a_page_changes_the_language_and_nothing_it_may_not():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True)
        async with browsing(server) as page:
            page.send("configure", language="es", prompt="Be rude.", llm="openai/gpt-5")
            assert (await page.until("call.updated"))["language"] == "es"
            page.send("inject_text", text="prompt")
            assert (await page.until("message.confirmed"))["text"] == "Be kind."
        assert (await owner.until("call.updated"))["language"] == "es"


@holds("sessions", "3.1")
@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("no json", "UNKNOWN_ACTION"),
        ("", "UNKNOWN_ACTION"),
        ('{"action":"fly"}', "UNKNOWN_ACTION"),
        ('{"action":"accept"}', "UNKNOWN_ACTION"),
        ('{"action":"dtmf","digits":"1"}', "NOT_PHONE"),
        ('{"action":"inject_text","text":" "}', "BAD_TEXT"),
        (json.dumps({"action": "inject_text", "text": "x" * 16_001}), "BAD_TEXT"),
        ('{"action":"set_context","key":"","value":1}', "BAD_KEY"),
        ("[" * 5_000, "UNKNOWN_ACTION"),
        (b"\xff\xfe", "UNKNOWN_ACTION"),
    ],
)
async def test_nonsense_on_the_data_channel_is_answered_and_ends_nothing(
    message: str | bytes, code: str
):
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            page.channel.send(message)
            await page.until("error", code=code)
            page.send("inject_text", text="still there?")
            await page.until("bot.speaking")


@holds("sessions", "2")
async def test_an_agent_that_hangs_up_lets_the_page_go():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            started = await owner.until("call.started")
            await owner.send("call.hangup", agent_id="desk", call_id=started["call_id"])
            assert (await page.until("call.ended"))["reason"] == "hangup"
            async with asyncio.timeout(PATIENCE_S):
                await page.closed.wait()


@holds("sessions", "3.1")
async def test_a_page_that_stops_pinging_is_taken_to_be_gone():
    async with speaking(**quick(page_quiet_s=1.5)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            page.pinging = False
            assert (await owner.until("call.ended"))["reason"] == "disconnected"
