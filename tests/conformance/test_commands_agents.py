"""`agent.create`, `agent.configure`, `agent.resume` (commands.md §3)."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.answered import OURS, SCRIPT
from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.server.peer import Peer, bearer, connected, embedded

LOOKUP = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look up an order",
        "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
    },
}
WHOLE: dict[str, Any] = {
    "voice": "elevenlabs/sarah",
    "language": "en",
    "flash": False,
    "stt": "deepgram/flux",
    "interruption": True,
    "llm": "openai/gpt-5.4-nano",
    "prompt": "You are the receptionist of {{company}}.",
    "vars": {"company": "Acme"},
    "greeting": "Hi! How can I help?",
    "greetingInChat": True,
    "memory": {"remember": ["names"], "contactKey": "userId"},
    "timezone": "Europe/Madrid",
    "preparing": {"timeout_ms": 2500},
    "raw_prompt": True,
    "tools": [LOOKUP],
    "skills": [{"name": "booking", "description": "…", "tools": [], "activation": "model"}],
    "session_limits": {"max_duration_seconds": 900},
    "config": {"analysis": {"send_audio_metrics": True}},
    "knowledge_base": "kb_1",
    "mode": "anything",
    "media": {"live": True, "maxDurationSeconds": 60},
}


async def asked(peer: Peer, text: str, session: str = "chat-1", agent: str = "desk") -> str:
    """Write to an agent, and return its answer."""
    await peer.send("llm.chat", agent_id=agent, session_id=session, text=text)
    done = await peer.until("llm.chat.done", session_id=session)
    return str(done["text"])


# --- agent.create -------------------------------------------------------------------------------


@holds("commands", "3.1")
async def test_every_key_of_the_payload_is_taken_in_as_it_is():
    async with embedded() as server, connected(server) as peer:
        created = await peer.agent("front-desk", **WHOLE, allowed_origins=["https://*.acme.com"])
        assert (created["event"], created["agent_id"]) == ("agent.created", "front-desk")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            told = (await http.get("/api/sdk/agents/front-desk/config")).json()
    assert told["config"] == WHOLE
    assert told["allowed_origins"] == ["https://*.acme.com"]
    assert told["channels"] == []


@holds("commands", "3.1")
async def test_an_id_alone_makes_an_agent():
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent("a"))["event"] == "agent.created"


@holds("commands", "3.1")
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shop.acme.com", True),
        ("https://a.b.acme.com", True),
        ("https://acme.com", False),
        ("http://shop.acme.com", False),
        ("https://evil-acme.com", False),
        (None, False),
    ],
)
async def test_pages_of_the_allowed_origins_may_have_tokens(origin: str | None, allowed: bool):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", allowed_origins=["https://*.acme.com"])
        headers = {} if origin is None else {"Origin": origin}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
            answer = await http.get("/webrtc/token", params={"agent_id": "a"})
        assert (answer.status_code == 200) is allowed


@holds("commands", "3.1")
async def test_created_anew_without_origins_an_agent_has_none():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", allowed_origins=["https://acme.com"])
        await peer.agent("a")
        headers = {"Origin": "https://acme.com"}
        async with httpx.AsyncClient(base_url=server.url, headers=headers) as http:
            answer = await http.get("/webrtc/token", params={"agent_id": "a"})
        assert answer.status_code != 200


@holds("commands", "3.1")
async def test_the_order_of_the_keys_does_not_matter():
    async with embedded() as server, connected(server) as peer:
        backwards = dict(reversed([*WHOLE.items(), ("event", "agent.create"), ("agent_id", "a")]))
        await peer.send(**backwards)
        assert (await peer.receive())["event"] == "agent.created"


@holds("commands", "3.1")
async def test_the_greeting_is_spoken_only_when_there_is_one():
    async with speaking() as server, connected(server) as owner:
        await owner.agent("desk", greeting="Hi")
        async with calling(server) as caller:
            assert (await caller.until("bot.speaking"))["text"] == "Hi"
            await caller.until("bot.finished")
        await owner.until("call.ended")
        await owner.agent("desk")
        async with calling(server) as caller:
            call = (await owner.until("call.started"))["call_id"]
            said = {"call_id": call, "message_id": "m1", "text": "Mine", "in_reply_to": ""}
            await owner.send("bot.reply", **said)
            assert (await caller.until("bot.speaking"))["text"] == "Mine"


# --- agent.configure ----------------------------------------------------------------------------


@holds("commands", "3.2")
async def test_configure_is_acknowledged_changes_what_it_names_and_keeps_the_rest():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Old {{who}}.", vars={"who": "Ana"})
        await peer.send("agent.configure", agent_id="desk", prompt="New {{who}}.", raw_prompt=True)
        answer = await peer.receive()
        assert (answer["event"], answer["agent_id"]) == ("agent.configured", "desk")
        assert await asked(peer, "your prompt") == "New Ana."


@holds("commands", "3.2")
async def test_configure_without_a_key_of_the_payload_changes_nothing_and_is_acknowledged():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Mine.", raw_prompt=True)
        await peer.send("agent.configure", agent_id="desk")
        assert (await peer.receive())["event"] == "agent.configured"
        assert await asked(peer, "your prompt") == "Mine."


@holds("commands", "3.2")
async def test_configure_is_for_sessions_to_come():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Old.", raw_prompt=True)
        await asked(peer, "hello")
        await peer.send("agent.configure", agent_id="desk", prompt="New.")
        await peer.until("agent.configured")
        assert await asked(peer, "your prompt", "chat-2") == "New."


@holds("commands", "3.2")
async def test_skills_are_replaced_as_a_whole():
    skill = {"name": "booking", "description": "Tables", "tools": [], "activation": "manual"}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, skills=[{**skill, "name": "old"}])
        await peer.send("agent.configure", agent_id="desk", skills=[skill])
        await peer.until("agent.configured")
        await asked(peer, "hello")
        await peer.send("skill.load", call_id="chat-1", skill="booking")
        await peer.until("skill.loaded", skill="booking")
        await peer.send("skill.load", call_id="chat-1", skill="old")
        assert "skill.loaded" not in [frame["event"] for frame in await peer.settled()]


@holds("commands", "3.2")
async def test_origins_are_not_changed_by_configure():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("a", allowed_origins=["https://acme.com"])
        await peer.send("agent.configure", agent_id="a", allowed_origins=["https://evil.com"])
        await peer.receive()
        statuses = {}
        for origin in ("https://acme.com", "https://evil.com"):
            async with httpx.AsyncClient(base_url=server.url, headers={"Origin": origin}) as http:
                answer = await http.get("/webrtc/token", params={"agent_id": "a"})
            statuses[origin] = answer.status_code == 200
        assert statuses == {"https://acme.com": True, "https://evil.com": False}


@holds("commands", "3.2")
@pytest.mark.parametrize("patch", [{"stt": "deepgram/nova-2"}, {"voice": 5}, {"tools": "none"}])
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(patch: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Mine.", raw_prompt=True)
        await peer.send("agent.configure", agent_id="desk", prompt="Theirs.", **patch)
        error = await peer.receive()
        assert (error["event"], error["agent_id"]) == ("error", "desk")
        assert await asked(peer, "your prompt") == "Mine."


@holds("commands", "3.2")
@holds("open-questions", "A")
async def test_configure_of_an_agent_that_is_not_there_is_told_so():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("a")
        for name in ("a", "nobody"):
            await two.send("agent.configure", agent_id=name, prompt="x")
            error = await two.receive()
            assert (error["code"], error["agent_id"]) == ("AGENT_NOT_FOUND", name)


# --- agent.resume -------------------------------------------------------------------------------


@holds("commands", "3.3")
async def test_resume_claims_a_slug_whose_configuration_the_server_still_has():
    async with embedded() as server, connected(server) as sender:
        async with connected(server) as owner:
            await owner.agent("desk", llm=SCRIPT, prompt="Kept.", raw_prompt=True)
            await asked(sender, "hello")
        async with connected(server) as back:
            await back.send("agent.resume", agent_id="desk")
            resumed = await back.receive()
            assert (resumed["event"], resumed["agent_id"]) == ("agent.resumed", "desk")
            await back.until("llm.chat.started", call_id="chat-1")
            assert await asked(sender, "your prompt", "chat-2") == "Kept."


@holds("commands", "3.3")
async def test_resume_of_what_the_server_does_not_have_is_refused():
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.resume", agent_id="nobody")
        error = await peer.receive()
        assert (error["event"], error["agent_id"]) == ("error", "nobody")
        assert error["code"] == "AGENT_NOT_FOUND"


@holds("commands", "3.3")
async def test_resume_of_ones_own_agent_is_answered_and_changes_nothing():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, prompt="Mine.", raw_prompt=True)
        await peer.send("channel.add", agent_id="desk", type="phone", ref=OURS)
        await peer.until("channel.added")
        await peer.send("agent.resume", agent_id="desk")
        assert (await peer.receive())["event"] == "agent.resumed"
        assert await asked(peer, "your prompt") == "Mine."
        await peer.send("channel.remove", agent_id="desk", ref=OURS)
        await peer.until("channel.removed")


@holds("commands", "4.2", "4.3")
@pytest.mark.parametrize("id", ["123456789012345", "1234567", "1234567890123456"])
async def test_a_whatsapp_channel_is_found_by_its_id_however_many_digits_it_has(id: str):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT)
        await peer.send("channel.add", agent_id="desk", type="whatsapp", ref=id, accessToken="t")
        await peer.until("channel.added")
        await peer.send("channel.configure", agent_id="desk", ref=id, prompt="Short.")
        assert (await peer.until("channel.configured"))["ref"] == id
        await peer.send("channel.remove", agent_id="desk", ref=id)
        assert (await peer.until("channel.removed"))["ref"] == id


@holds("commands", "3.3")
async def test_resume_does_not_take_an_agent_from_a_live_holder():
    async with embedded() as server, connected(server) as one, connected(server) as two:
        await one.agent("desk", llm=SCRIPT)
        await two.send("agent.resume", agent_id="desk")
        ping = await one.receive()
        assert ping["event"] == "ping"
        await one.send("pong")
        assert (await two.receive())["code"] == "AGENT_CONFLICT_FATAL"
