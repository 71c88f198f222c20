"""A page calls an agent over WebRTC: sound and messages both ways (protocol: sessions.md §2-3)."""

from __future__ import annotations

import asyncio
import threading

import aioice.ice
import aiortc
import pytest

from pinecall_cli.server.embedded import EmbeddedServer
from pinecall_cli.server.webrtc.peer import Peer
from tests.fakes.engines import tone
from tests.server.browser import Browser, browsing, quick, speaking
from tests.server.peer import PATIENCE_S, connected
from tests.server.test_chat import SCRIPT

pytestmark = pytest.mark.usefixtures("network")

STORY = "once upon a time there was a lamp that nobody wanted to buy at all"
TELLS = {"provider": "script", "rules": [{"say": STORY}]}
GREETING = "good day to you"
LOOK = {
    "type": "function",
    "function": {"name": "look", "description": "Look.", "parameters": {"type": "object"}},
}


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


async def test_a_page_hears_that_nothing_will_be_said():
    async with speaking() as server, connected(server) as owner:
        silent = {"provider": "script", "rules": [{"on": "psst", "say": ""}]}
        await owner.agent("desk", llm=silent)
        async with browsing(server) as page:
            for text in ("psst", "no rule answers this"):
                page.send("inject_text", text=text)
                await page.until("turn.end", text=text)
                finished = await page.until("bot.finished")
                assert finished["duration_ms"] == 0
        await owner.until("call.ended")
        assert "bot.finished" not in {frame["event"] for frame in owner.seen}


async def test_a_tool_s_result_that_is_too_long_for_a_page_is_left_out_and_not_its_end():
    rules = [{"on": "look", "call": {"look": {}}, "say": "Done."}]
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", llm={"provider": "script", "rules": rules}, tools=[LOOK])
        async with browsing(server) as page:
            page.send("inject_text", text="look")
            call = await owner.until("llm.tool_call")
            (asked,) = call["tool_calls"]
            await owner.send(
                "llm.tool_result",
                call_id=call["call_id"],
                msg_id=call["msg_id"],
                results=[{"tool_call_id": asked["id"], "result": "x" * 300_000}],
            )
            told = await page.until("llm.tool_result")
            assert told["tool_call_id"] == asked["id"]
            assert "result" not in told
            await page.until("bot.finished")
        await owner.until("call.ended")


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
