"""A page calls an agent over WebRTC: sound and messages both ways (protocol: sessions.md §2-3)."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import pairwise

import aioice.ice
import aiortc
import pytest

from pinecall_cli.protocol.webrtc import TOLD
from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.webrtc.peer import Peer
from tests.fakes.engines import tone
from tests.server.browser import Browser, browsing, quick, speaking
from tests.server.peer import PATIENCE_S, connected
from tests.server.test_chat import LOOKUP, SCRIPT

pytestmark = pytest.mark.usefixtures("network")

STORY = "once upon a time there was a lamp that nobody wanted to buy at all"
TELLS = {"provider": "script", "rules": [{"say": STORY}]}
GREETING = "good day to you"


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


async def test_text_and_context_of_the_page_reach_the_model():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True)
        async with browsing(server) as page:
            page.send("set_context", key="page", value="/pricing")
            page.send("inject_text", text="prompt")
            assert (await page.until("user.message"))["text"] == "prompt"
            assert "/pricing" in (await page.until("message.confirmed"))["text"]


async def test_a_page_changes_the_language_and_nothing_it_may_not():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="Be kind.", raw_prompt=True)
        async with browsing(server) as page:
            page.send("configure", language="es", prompt="Be rude.", llm="openai/gpt-5")
            assert (await page.until("call.updated"))["language"] == "es"
            page.send("inject_text", text="prompt")
            assert (await page.until("message.confirmed"))["text"] == "Be kind."
        assert (await owner.until("call.updated"))["language"] == "es"


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


async def test_the_voice_stops_within_100_ms_when_the_caller_cuts_in():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=TELLS)
        async with browsing(server) as page:
            page.say(tone(800))
            reply = await page.until("bot.speaking")
            await page.hears(frames=130)  # past the 2 s that are taken for the same turn
            page.say(tone(1200))
            cut = await page.until("bot.interrupted", message_id=reply["message_id"])
            assert cut["reason"] == "user_spoke"
            await page.hears(audible=False, frames=20)
            assert cut["played_ms"] > 2000
            assert sum(page.heard) * 20 - cut["played_ms"] <= 100
            assert cut["words_spoken"] < len(STORY.split())
        await owner.until("call.ended")


async def test_a_page_that_is_closed_ends_the_call():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server):
            pass
        assert (await owner.until("call.ended"))["reason"] == "disconnected"


async def test_a_page_that_hangs_up_is_told_that_the_call_is_over_and_nothing_private():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, prompt="secret")
        async with browsing(server, metadata={"plan": "gold"}) as page:
            page.send("inject_text", text="hello")
            await page.until("bot.finished")
            page.send("hangup")
            ended = await page.until("call.ended")
            assert ended.keys() == {
                *("event", "call_id", "reason", "duration_seconds", "seq", "ts")
            }
            assert ended["reason"] == "hangup"
            async with asyncio.timeout(PATIENCE_S):
                await page.closed.wait()
        assert (await owner.until("call.ended"))["reason"] == "hangup"


async def test_an_agent_that_hangs_up_lets_the_page_go():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            started = await owner.until("call.started")
            await owner.send("call.hangup", agent_id="desk", call_id=started["call_id"])
            assert (await page.until("call.ended"))["reason"] == "hangup"
            async with asyncio.timeout(PATIENCE_S):
                await page.closed.wait()


async def test_a_page_that_stops_pinging_is_taken_to_be_gone():
    async with speaking(**quick(page_quiet_s=1.5)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            page.pinging = False
            assert (await owner.until("call.ended"))["reason"] == "disconnected"


async def test_a_page_whose_network_is_cut_loses_consent_and_the_call_ends(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.1)
    monkeypatch.setattr(aioice.ice, "CONSENT_FAILURES", 2)
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            await page.vanish()
            assert (await owner.until("call.ended"))["reason"] == "disconnected"


async def test_a_page_that_never_connects_ends_its_call():
    async with speaking(**quick(page_connect_s=0.2)) as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting=GREETING)
        page = Browser(server)
        assert (await page.post(await page.token(), await page.offer())).status_code == 200
        assert (await owner.until("call.ended"))["reason"] == "disconnected"
        assert "bot.speaking" not in [f["event"] for f in owner.seen]
        await page.close()


async def test_closing_in_the_middle_of_connecting_is_no_error():
    page, peer, problems = Browser(None), Peer(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, told: problems.append(told))
    answer = aiortc.RTCSessionDescription(await peer.answer(await page.offer()), "answer")
    await page.pc.setRemoteDescription(answer)
    shaking = asyncio.Event()
    dtls = page.pc.getSenders()[0].transport
    dtls.on("statechange", lambda: shaking.set() if dtls.state == "connecting" else None)
    async with asyncio.timeout(PATIENCE_S):
        await shaking.wait()
    await peer.close()
    assert not problems
    await page.close()


async def test_a_lost_packet_costs_no_more_than_its_sound():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            drop_one_packet(page)
            page.say(tone(1500))
            await page.until("user.message", text="hello there")
            names = [f["event"] for f in page.seen]
            assert names.count("speech.started") == names.count("speech.ended") == 1
            ended = await page.until("speech.ended")
            assert ended["duration_ms"] == pytest.approx(1500, abs=120)


async def test_a_server_that_stops_tells_its_pages_and_ends_within_its_time():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT)
        async with browsing(server) as page:
            stopping = asyncio.create_task(asyncio.to_thread(server.stop))
            assert (await page.until("call.ended"))["reason"] == "server_shutdown"
            async with asyncio.timeout(PATIENCE_S):
                await page.closed.wait()
                await stopping
        assert (await owner.until("call.ended"))["reason"] == "server_shutdown"
    assert not [t for t in threading.enumerate() if t.name == "pinecall-server"]


async def test_calls_leave_no_task_and_no_thread_behind():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm=SCRIPT, greeting=GREETING)
        before = await tasks_of(server)
        for _ in range(3):
            async with browsing(server) as page:
                await page.until("bot.word")
            await owner.until("call.ended")
        async with browsing(server) as page:
            page.send("hangup")
            await page.until("call.ended")
        page = Browser(server)
        assert (await page.post(await page.token(), "v=0\r\n")).status_code == 422
        await page.close()
        async with asyncio.timeout(PATIENCE_S):
            while await tasks_of(server) != before:
                await owner.settled()
            while any("decoder" in thread.name for thread in threading.enumerate()):
                await owner.settled()


def drop_one_packet(page: Browser) -> None:
    """Let one packet of the next loud sound get lost on its way."""
    transport = page.pc.getSenders()[0].transport
    send, count = transport._send_rtp, 0

    async def lossy(data: bytes) -> None:
        nonlocal count
        audio = not 64 <= data[1] & 0x7F <= 95  # else it is a report: RFC 5761 §4
        count += audio and bool(page.microphone.to_say)
        if not (audio and count == 30):
            await send(data)

    transport._send_rtp = lossy


async def tasks_of(server: EmbeddedServer) -> list[str]:
    """Return what runs on the server's loop, by name of its code."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[str]] = loop.create_future()

    def look() -> None:
        names = sorted(str(task.get_coro()).split(" at ")[0] for task in asyncio.all_tasks())
        loop.call_soon_threadsafe(found.set_result, names)

    server.call_soon(look)
    return await found
