"""Layers, the payload's keys and what a change reaches: config.md §1, §2, §10 and §14."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.microphone import calling, waiting
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ToldModel, ask, serving
from tests.server.peer import Peer, bearer, connected, embedded

LLM = "openai/gpt-5-mini"
OURS, THEIRS = "+13186330963", "+14155550100"
TOOL = {"type": "function", "function": {"name": "a", "parameters": {"type": "object"}}}
OTHER = {"type": "function", "function": {"name": "b", "parameters": {"type": "object"}}}

EVERY_KEY: dict[str, Any] = {
    "voice": {"provider": "elevenlabs", "voice_id": "x", "stability": 0},
    "language": "en-GB",
    "flash": False,
    "stt": {"provider": "deepgram", "model": "nova-3", "smart_format": False},
    "interruption": {"min_duration_ms": 0},
    "llm": {"provider": "script", "rules": []},
    "prompt": "",
    "vars": {"company": "Acme"},
    "greeting": {"en": "Hi", "es": "Hola"},
    "greetingInChat": False,
    "memory": {"remember": ["names"], "contactKey": ["userId"], "enabled": False},
    "timezone": "Europe/Madrid",
    "preparing": {"timeout_ms": 0},
    "raw_prompt": True,
    "tools": [TOOL],
    "skills": [{"name": "s", "description": "", "tools": [], "activation": "manual"}],
    "session_limits": {"max_duration_seconds": 0},
    "config": {"analysis": {"send_audio_metrics": False}, "speaker_filter": {"enabled": True}},
    "knowledge_base": ["kb_1", "kb_2"],
    "mode": {"any": ["thing"]},
    "media": {"live": False, "recording": False, "maxDurationSeconds": 60},
}


async def shown(server: Any, agent: str = "desk") -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
        answer = await http.get(f"/api/sdk/agents/{agent}/config")
    body: dict[str, Any] = answer.json()
    return body


async def settle(peer: Peer, event: str, **fields: Any) -> None:
    """Send a command and take its answers."""
    await peer.send(event, **fields)
    answers = [frame["event"] for frame in await peer.settled()]
    assert "error" not in answers, peer.seen


# --- the payload ----------------------------------------------------------------------------------


@holds("config", "2", "10", "9")
async def test_every_key_is_taken_and_kept_as_it_came_falsy_values_too():
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent("desk", **EVERY_KEY))["event"] == "agent.created"
        assert (await shown(server))["config"] == EVERY_KEY
        await settle(peer, "channel.add", agent_id="desk", type="webrtc", **EVERY_KEY)
        assert (await shown(server))["channels"][0]["config"] == EVERY_KEY


@holds("config", "2")
async def test_what_is_a_clients_alone_or_nobodys_is_no_part_of_the_configuration():
    local = {"phoneNumber": "+13186330963", "whatsapp": {}, "history": {}, "analysis": {}, "x": 1}
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent("desk", prompt="Hi", **local))["event"] == "agent.created"
        found = await shown(server)
    assert (found["config"], found["channels"]) == ({"prompt": "Hi"}, [])


@holds("config", "2", "1")
async def test_a_patch_changes_what_it_names_and_leaves_the_rest():
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", prompt="Old", language="es", flash=True)
        await settle(peer, "agent.configure", agent_id="desk", prompt="New", flash=False)
        assert (await shown(server))["config"] == {
            "prompt": "New",
            "language": "es",
            "flash": False,
        }
        await settle(peer, "agent.configure", agent_id="desk")
        assert (await shown(server))["config"]["prompt"] == "New"


@holds("config", "2")
async def test_the_raw_spellings_of_a_call_update_are_understood():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, prompt="{{x}}", preparing=False)
        await ask(peer, "hello")
        update = {"rawPrompt": True, "promptVars": {"x": "raw"}, "sessionLimits": {}}
        await settle(peer, "session.configure", session_id="chat-1", **update)
        await ask(peer, "hello")
    assert model.prompt == "raw"


@holds("config", "10", "1")
async def test_a_key_at_the_top_wins_over_the_same_one_nested_in_config():
    notices: list[str] = []
    nested = {"stt": {"provider": "gladia"}, "tts": {"provider": "rime", "voice_id": "luna"}}
    async with embedded(notice=notices.append) as server, connected(server) as peer:
        await peer.agent("one", config=nested)
        await peer.agent("two", config=nested, voice="xai/ara", stt="soniox/realtime")
        await peer.settled()
    assert {one.partition(" → ")[0] for one in notices} == {
        "voice rime/luna",
        "stt gladia",
        "voice xai/ara",
        "stt soniox/realtime",
    }


# --- layers ---------------------------------------------------------------------------------------


@holds("config", "1")
async def test_the_call_wins_over_its_channel_and_the_channel_over_the_agent():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        agent = {"prompt": "agent", "raw_prompt": True, "vars": {"x": "1"}, "preparing": False}
        await peer.agent("desk", llm=LLM, **agent)
        await settle(peer, "channel.add", agent_id="desk", type="phone", ref=OURS, prompt="number")
        async with calling(server, to=OURS) as end:
            call = (await end.until("call.started"))["call_id"]
            await end.act("inject_text", text="hello")
            await end.until("bot.finished")
            assert model.prompt == "number"
            await settle(peer, "session.configure", session_id=call, prompt="call {{x}}")
            await end.act("inject_text", text="hello")
            await end.reached(lambda: len(end.of("bot.finished")) == 2)
            assert model.prompt == "call 1"
        await peer.until("call.ended")
        async with calling(server) as end:
            await end.act("inject_text", text="hello")
            await end.until("bot.finished")
            assert model.prompt == "agent"
        await peer.until("call.ended")


@holds("config", "1")
async def test_a_dialled_calls_own_configuration_wins_over_the_numbers():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, prompt="agent", raw_prompt=True, preparing=False)
        await settle(peer, "channel.add", agent_id="desk", type="phone", ref=OURS, prompt="number")
        for config, prompt in (({}, "number"), ({"config": {"prompt": "dialled"}}, "dialled")):
            async with waiting(server, THEIRS) as end:
                await end.until("answer.ready")
                dial = {"agent_id": "desk", "to": THEIRS, "from": OURS}
                await peer.send("call.dial", **dial, **config)
                await end.until("call.ringing")
                await end.act("accept")
                await end.until("call.started")
                await end.act("inject_text", text="hello")
                await end.until("bot.finished")
                assert model.prompt == prompt
            await peer.until("call.ended")


@holds("config", "1", "12.3", "12.4")
async def test_what_a_page_changes_wins_over_all_but_what_it_may_not_changes_nothing():
    model = ToldModel()
    notices: list[str] = []
    async with serving(model, notice=notices.append) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, prompt="Be kind.", raw_prompt=True, preparing=False)
        async with calling(server) as end:
            await end.until("call.started")
            refused = {"prompt": "Be rude.", "llm": None, "tools": [TOOL], "skills": []}
            refused |= {"raw_prompt": False, "knowledge_base": "kb", "interruption": False}
            refused |= {"turnDetection": "none", "greetingInChat": True}
            await end.act("configure", voice="polly/lucia", flash=True, **refused)
            await end.act("inject_text", text="hello")
            await end.until("bot.finished")
        await peer.until("call.ended")
        assert not end.of("error")
        assert (model.prompt, model.tools) == ("Be kind.", {})
        assert (await shown(server))["config"]["prompt"] == "Be kind."


# --- what a change reaches ------------------------------------------------------------------------


@holds("config", "14")
@pytest.mark.parametrize("voice", [True, False], ids=["voice", "chat"])
async def test_a_new_default_is_for_sessions_to_come(voice: bool):
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        old = {"prompt": "old {{x}}", "vars": {"x": "1"}, "tools": [TOOL], "raw_prompt": True}
        new = {"prompt": "new {{x}}", "vars": {"x": "2"}, "tools": [OTHER]}
        await peer.agent("desk", llm=LLM, preparing=False, **old)
        if voice:
            async with calling(server) as end:
                await end.until("call.started")
                await settle(peer, "agent.configure", agent_id="desk", **new)
                await end.act("inject_text", text="hello")
                await end.until("bot.finished")
            await peer.until("call.ended")
        else:
            await ask(peer, "hello")
            await settle(peer, "agent.configure", agent_id="desk", **new)
            await ask(peer, "hello")
        assert (model.prompt, set(model.tools)) == ("old 1", {"a"})
        await ask(peer, "hello", "chat-2")
        assert (model.prompt, set(model.tools)) == ("new 2", {"b"})


@holds("config", "14")
async def test_a_change_of_one_session_is_its_own_from_the_next_turn_on():
    model = ToldModel()
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm=LLM, prompt="old", tools=[TOOL], raw_prompt=True)
        for session in ("chat-1", "chat-2"):
            await ask(peer, "hello", session)
        skill = {"name": "s", "description": "", "instructions": "Skilled.", "tools": []}
        change = {"prompt": "new", "tools": [OTHER], "llm": "mistral/large"}
        change |= {"skills": [skill | {"activation": "always"}]}
        await settle(peer, "session.configure", session_id="chat-1", **change)
        await ask(peer, "hello")
        assert (model.prompt, set(model.tools)) == ("new\n\n## Skill: s\nSkilled.", {"b"})
        assert model.asked_for[-1] == "mistral/large"
        await ask(peer, "hello", "chat-2")
        assert (model.prompt, set(model.tools)) == ("old", {"a"})


@holds("config", "14", "12.5")
async def test_origins_change_with_a_new_registration_alone():
    async with (
        embedded() as server,
        connected(server) as peer,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        page = {"params": {"agent_id": "desk"}, "headers": {"Origin": "https://new.example"}}
        await peer.agent("desk", allowed_origins=["https://old.example"])
        origins = ["https://new.example"]
        await settle(peer, "agent.configure", agent_id="desk", allowed_origins=origins)
        assert (await http.get("/chat/token", **page)).status_code == 403
        await peer.agent("desk", allowed_origins=origins)
        assert (await http.get("/chat/token", **page)).status_code == 200


@holds("config", "14")
async def test_a_voice_of_the_same_provider_keeps_model_and_language():
    voice = {"provider": "elevenlabs", "voice_id": "a", "model": "m", "language": "es", "speed": 2}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", voice=voice)
        await settle(peer, "agent.configure", agent_id="desk", voice="elevenlabs/sarah")
        kept = {"provider": "elevenlabs", "voice_id": "sarah", "model": "m", "language": "es"}
        assert (await shown(server))["config"]["voice"] == kept
        new = {"provider": "cartesia", "voice_id": "b"}
        await settle(peer, "agent.configure", agent_id="desk", voice=new)
        assert (await shown(server))["config"]["voice"] == new
