"""What the call log's entries say, type by type: sessions.md §6."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import websockets

from tests.conformance.microphone import calling, speaking, waiting
from tests.conformance.paragraphs import holds
from tests.server.log_reader import attached, until
from tests.server.peer import PATIENCE_S, bearer, connected

OURS, THEIRS = "+13186330963", "+14155550100"
LONG = " ".join(["word"] * 30)
SCRIPT: dict[str, Any] = {
    "provider": "script",
    "rules": [
        {"on": "order", "call": {"lookup": {"id": "7"}}, "say": "It is {result.status}."},
        {"on": "story", "say": LONG},
        {"say": "You said {text}."},
    ],
}
SKILL = {"name": "booking", "description": "", "tools": [], "activation": "manual"}
LATENCIES = {"vad", "asr", "eou", "llm_ttft", "tts_ttfb", "e2e"}

DATA: dict[str, tuple[set[str], set[str]]] = {
    "call.ringing": ({"direction", "from", "to"}, set()),
    "call.started": ({"direction", "from", "to", "channel"}, {"metadata"}),
    "call.ended": ({"reason", "duration"}, set()),
    "call.summary": ({"metrics", "reason"}, {"cost", "recording_url"}),
    "user.speaking": ({"active"}, set()),
    "user.message": ({"id", "text", "final"}, {"language"}),
    "bot.speaking": ({"id", "text"}, {"words"}),
    "bot.word": ({"id", "w"}, set()),
    "bot.finished": ({"id"}, set()),
    "bot.interrupted": ({"id"}, {"at_word"}),
    "bot.corrected": ({"supersedes", "id", "text"}, set()),
    "turn.start": ({"turn", "role"}, set()),
    "turn.end": ({"turn", "latency"}, set()),
    "tool.call": ({"id", "name", "args"}, set()),
    "tool.result": ({"id", "name", "result", "ms"}, {"error"}),
    "skill.loaded": ({"skill", "by"}, set()),
    "skill.unloaded": ({"skill", "by"}, set()),
    "handoff.active": ({"by"}, set()),
    "handoff.released": ({"by"}, set()),
    "supervisor.said": ({"text", "by"}, set()),
    "supervisor.whispered": ({"text", "by"}, set()),
    "log.caught_up": ({"seq"}, set()),
}
"""Of each type that a call of this server has: the keys of its data, and those it may have."""
LIVE_ALONE = {"user.speaking", "bot.word"}


async def eventful(server: Any, peer: Any) -> tuple[str, list[dict[str, Any]]]:
    """Hold a call in which everything happens; return its id and its log as it was told live."""
    async with waiting(server, THEIRS, sample_rate=16_000, encoding="pcm_s16le") as end:
        await end.until("answer.ready")
        dial = {"agent_id": "desk", "to": THEIRS, "from": OURS, "greeting": "It is us."}
        await peer.send("call.dial", **dial, metadata={"plan": "gold"})
        call = (await end.until("call.ringing"))["call_id"]
        async with attached(server, call=call) as log:
            reading = asyncio.create_task(whole(log))
            await end.act("accept")
            await end.until("bot.finished")
            end.say(1, 600)
            asked = await peer.until("llm.tool_call")
            found = {"tool_call_id": asked["tool_calls"][0]["id"], "result": {"status": "sent"}}
            ids = {"agent_id": "desk", "call_id": call}
            await peer.send("llm.tool_result", **ids, msg_id=asked["msg_id"], results=[found])
            await end.until("message.confirmed", text="It is sent.")
            for event in ("skill.load", "skill.unload"):
                await peer.send(event, **ids, skill="booking")
            for action in ("say", "whisper", "pause", "resume"):
                await log.send(json.dumps({"action": action, "text": "One moment."}))
            await end.until("message.confirmed", text="One moment.")
            await end.act("inject_text", text="a story")
            await end.until("bot.word", word="word")
            await end.act("inject_text", text="no, stop")
            await end.until("bot.interrupted")
            await end.act("hangup")
            entries = await reading
    await peer.until("call.ended")
    return call, entries


async def whole(log: websockets.ClientConnection) -> list[dict[str, Any]]:
    """Return what comes until the log is closed."""
    async with asyncio.timeout(PATIENCE_S):
        return [json.loads(message) async for message in log]


@holds("sessions", "6")
async def test_each_entry_has_the_envelope_and_the_data_of_its_type():
    async with speaking({1: "my order"}) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, preparing=False, skills=[SKILL])
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await peer.until("channel.added")
        call, entries = await eventful(server, peer)
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            stored = (await http.get(f"/v1/calls/{call}/events")).json()["entries"]
        async with attached(server, agent="desk") as log:
            of_agent = await until(log, "log.caught_up")
    for entry in entries:
        type = entry["type"]
        must, may = DATA[type]
        assert entry.keys() == {"seq", "ts", "call", "agent", "type", "ephemeral", "data"}
        assert must <= entry["data"].keys() <= must | may, entry
        assert (entry["call"], entry["agent"]) == (call, "desk")
        interim = type == "user.message" and not entry["data"]["final"]
        assert entry["ephemeral"] is (type in LIVE_ALONE or interim), entry
    types = [entry["type"] for entry in entries]
    assert set(DATA) - set(types) <= {"bot.corrected"}
    assert types[0] == "call.ringing"
    assert types[-2:] == ["call.ended", "call.summary"]
    latencies = [e["data"]["latency"] for e in entries if e["type"] == "turn.end"]
    assert any(latency.keys() >= LATENCIES for latency in latencies)
    metrics = entries[-1]["data"]["metrics"]
    assert metrics.keys() == {"e2e", "asr", "llm_ttft", "tts_ttfb"}
    assert metrics["e2e"].keys() == {"p50", "p90", "p95", "max", "n"}
    lasting = [e["seq"] for e in entries if not e["ephemeral"] and e["type"] != "log.caught_up"]
    assert lasting == sorted(set(lasting))
    # The same, read later: nothing that was for the moment, and of an agent's log the call inside.
    assert [entry["seq"] for entry in stored] == lasting
    assert not any(entry["ephemeral"] for entry in stored)
    (spoken,) = [e for e in stored if e["data"].get("text") == "It is us."]
    assert [word["w"] for word in spoken["data"]["words"]] == ["It", "is", "us."]
    assert spoken["data"]["words"][0].keys() == {"w", "t0", "t1"}
    assert {entry["call"] for entry in of_agent} == {None}
    assert {entry["data"]["call"] for entry in of_agent[:-1]} == {call}


@holds("sessions", "6")
async def test_markers_repeat_the_last_number_and_a_cursor_past_the_end_misses_nothing():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, preparing=False)
        await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="hello")
        await peer.until("llm.chat.done")
        async with attached(server, call="chat-1") as log:
            *entries, marker = await until(log, "log.caught_up")
        assert marker["seq"] == marker["data"]["seq"] == entries[-1]["seq"]
        async with attached(server, call="chat-1", after=marker["seq"]) as log:
            (only,) = await until(log, "log.caught_up")
            assert only["seq"] == marker["seq"]
            await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="again")
            assert (await until(log, "user.message"))[-1]["data"]["text"] == "again"


@holds("sessions", "3.3")
async def test_a_change_of_language_is_told_before_the_next_turns_barrier():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, language="en")
        async with calling(server) as end:
            await end.until("call.started")
            await end.act("configure", language="es")
            await end.act("inject_text", text="hola")
            await end.until("bot.finished")
        await peer.until("call.ended")
    names = [frame["event"] for frame in peer.seen]
    assert names.index("call.updated") < names.index("llm.before")
    assert next(f for f in peer.seen if f["event"] == "call.updated")["language"] == "es"
