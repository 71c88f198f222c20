"""What `stt`, `voice` and `llm` may say, and what is derived from it: config.md §3 and §4."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.conformance.microphone import calling, speaking
from tests.conformance.paragraphs import holds
from tests.conformance.told_model import ToldModel, ask, serving
from tests.fakes.engines import Engines
from tests.server.peer import bearer, connected, embedded

SCRIPT: dict[str, Any] = {"provider": "script", "rules": [{"say": "You said {text}."}]}


async def registered(**payload: Any) -> list[dict[str, Any]]:
    """Return all that a server says to an agent of that configuration."""
    async with embedded() as server, connected(server) as peer:
        await peer.send("agent.create", agent_id="desk", **payload)
        return await peer.settled()


def events(frames: list[dict[str, Any]]) -> list[str]:
    return [str(frame.get("code") or frame["event"]) for frame in frames]


# --- stt ------------------------------------------------------------------------------------------


@holds("config", "3", "3.1")
@pytest.mark.parametrize(
    "stt",
    [
        *("deepgram", "deepgram/flux", "deepgram/flux-en", "deepgram/flux-multi", "deepgram-flux"),
        *("deepgram/nova-3", "deepgram:nova-3:es", "deepgram:nova-3", "gladia", "gladia/solaria"),
        *("transcribe", "cartesia/ink-whisper", "elevenlabs/scribe", "soniox/realtime"),
        *("soniox/stt-rt-v5", "assemblyai/universal", "xai/grok-stt"),
        {"provider": "deepgram", "language": "es", "keyterms": ["Pinecall"], "endpointing_ms": 300},
        {"provider": "deepgram-flux", "eot_threshold": 0.7, "min_confidence": None},
        {"provider": "soniox", "turn": "smart_turn", "endpoint_sensitivity": 0.3},
        {"provider": "transcribe", "language": "en-US"},
        {"provider": "elevenlabs", "commit_strategy": "vad"},
        {"language": "es"},
    ],
    ids=str,
)
async def test_a_recogniser_of_the_table_is_accepted(stt: Any):
    assert events(await registered(stt=stt)) == ["agent.created"]


@holds("config", "3.1")
@pytest.mark.parametrize(
    "stt",
    [
        *("deepgram/nova-2", "deepgram:nova-2:en", "nobody", "nobody/model", "gladia/none"),
        *({"provider": "deepgram", "model": "nova-2"}, {"provider": "nobody"}),
    ],
    ids=str,
)
async def test_a_recogniser_that_is_none_refuses_the_registration(stt: Any):
    first, last = await registered(stt=stt)
    assert (first["event"], first["agent_id"]) == ("error", "desk")
    assert (last["code"], last["agent_id"]) == ("REGISTRATION_ERROR", "desk")


@holds("config", "3.1")
async def test_a_recogniser_that_is_none_is_ignored_in_the_middle_of_a_call():
    async with speaking() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, preparing=False, prompt="Old.")
        async with calling(server) as end:
            call = (await end.until("call.started"))["call_id"]
            await peer.send("session.configure", session_id=call, stt="deepgram/nova-2")
            await end.act("configure", stt="nobody/nothing")
            await end.act("inject_text", text="hello")
            await end.until("message.confirmed", text="You said hello.")
            await end.act("configure", stt="deepgram:nova-3:es")
            await end.act("hangup")
            assert (await end.until("call.ended"))["reason"] == "hangup"
        await peer.until("call.ended")


@holds("config", "2", "3.1")
async def test_the_colon_form_is_expanded_wherever_it_comes_from():
    expanded = {"provider": "deepgram", "model": "nova-3", "language": "es"}
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, stt="deepgram:nova-3:es:more")
        await peer.send("channel.add", agent_id="desk", type="chat", stt="deepgram::es")
        await peer.until("channel.added")
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            shown = (await http.get("/api/sdk/agents/desk/config")).json()
    assert shown["config"]["stt"] == expanded
    assert shown["channels"][0]["config"]["stt"] == {"provider": "deepgram", "language": "es"}


# --- voice ----------------------------------------------------------------------------------------


@holds("config", "3.2")
@pytest.mark.parametrize(
    "voice",
    [
        *("elevenlabs/sarah", "elevenlabs:EXAVITQu4vr4xnSDxMaL", "sarah", "cartesia/blake"),
        *("polly/lucia", "rime/luna", "soniox/x", "xai/ara"),
        {"provider": "elevenlabs", "voice_id": "x", "stability": 0.5, "use_speaker_boost": True},
        {"provider": "cartesia", "voice_id": "x", "model": "sonic-3", "emotion": "calm"},
        {"provider": "polly", "voice_id": "Lucia", "engine": "neural", "rate": "slow"},
    ],
    ids=str,
)
async def test_a_voice_of_the_table_is_accepted(voice: Any):
    assert events(await registered(voice=voice)) == ["agent.created"]


@holds("config", "3.2")
async def test_a_voice_of_nobodys_refuses_the_registration():
    for voice in ("nobody/x", {"provider": "nobody", "voice_id": "x"}):
        assert events(await registered(voice=voice))[-1] == "REGISTRATION_ERROR"


# --- llm ------------------------------------------------------------------------------------------


@holds("config", "3.3")
@pytest.mark.parametrize(
    ("llm", "meant"),
    [
        ("openai/gpt-5", "openai/gpt-5"),
        ("openai:gpt-5", "openai/gpt-5"),
        ("gpt-5", "openai/gpt-5"),
        ("claude/opus", "anthropic/opus"),
        ("gemini/flash", "google/flash"),
        ("grok/4", "xai/4"),
        ("mistral/large", "mistral/large"),
        ("groq/x", "groq/x"),
        ("cerebras/x", "cerebras/x"),
        ("deepseek/x", "deepseek/x"),
        ("openrouter/qwen/qwen3-8b", "openrouter/qwen/qwen3-8b"),
        ("pinecall/gpt-realtime", "pinecall/gpt-realtime"),
        ({"provider": "openai", "model": "gpt-5", "temperature": 0.2}, "openai/gpt-5"),
        ({"llm": "openrouter/qwen/qwen3-8b", "max_tokens": 9}, "openrouter/qwen/qwen3-8b"),
    ],
    ids=str,
)
async def test_a_model_is_the_one_that_its_spelling_means(llm: Any, meant: str):
    notices: list[str] = []
    async with embedded(notice=notices.append) as server, connected(server) as peer:
        assert (await peer.agent("desk", llm=llm))["event"] == "agent.created"
        await ask(peer, "hello")
    (told,) = [one for one in notices if one.startswith("llm ")]
    assert told.startswith(f"llm {meant} → ")


@holds("config", "3.3")
@pytest.mark.parametrize("payload", [{}, {"llm": {"enabled": False, "model": "gpt-5"}}], ids=str)
async def test_without_a_model_the_application_answers(payload: dict[str, Any]):
    async with embedded() as server, connected(server) as peer:
        await peer.agent("desk", **payload)
        await peer.send("llm.chat", agent_id="desk", session_id="chat-1", text="hello")
        assert (await peer.until("turn.end"))["text"] == "hello"
        assert "chat.response" not in [frame["event"] for frame in await peer.settled()]


@holds("config", "3.3")
async def test_the_object_says_how_a_model_is_asked():
    model = ToldModel()
    llm = {"provider": "openai", "model": "gpt-5", "temperature": 0.2, "max_tokens": 99}
    async with serving(model) as server, connected(server) as peer:
        await peer.agent("desk", llm={**llm, "prompt": "Be brief."}, raw_prompt=True)
        await ask(peer, "hello")
    asked = model.requests[-1]
    assert (asked.temperature, asked.max_tokens, model.prompt) == (0.2, 99, "Be brief.")


@holds("config", "3.3")
@pytest.mark.parametrize(
    "llm",
    [
        "nobody/x",
        {"provider": "nobody", "model": "x"},
        {"provider": "openai", "model": "gpt-5", "temperature": 2.1},
    ],
    ids=str,
)
async def test_a_model_that_is_none_refuses_the_registration(llm: Any):
    assert events(await registered(llm=llm))[-1] == "REGISTRATION_ERROR"


# --- what is derived ------------------------------------------------------------------------------


@holds("config", "4")
async def test_turn_detection_is_nothing_an_agent_can_set():
    wish = {"turnDetection": {"mode": "none"}, "vad": "off", "turn_detection": "native"}
    async with embedded() as server, connected(server) as peer:
        assert (await peer.agent("desk", llm=SCRIPT, **wish))["event"] == "agent.created"
        async with httpx.AsyncClient(base_url=server.url, headers=bearer()) as http:
            shown = (await http.get("/api/sdk/agents/desk/config")).json()
    assert shown["config"] == {"llm": SCRIPT}


@holds("config", "4")
@pytest.mark.parametrize(
    ("verdict", "names"),
    [
        (0.9, ["turn.end"]),
        (0.6, ["eager.turn", "turn.end"]),
        (0.1, ["turn.pause", "turn.end"]),
    ],
)
async def test_a_silence_is_judged_and_a_turn_ends_even_if_the_judge_doubts(
    verdict: float, names: list[str]
):
    engines = Engines({1: "hello"}, verdict)
    async with speaking(engines=engines) as server, connected(server) as peer:
        await peer.agent("desk", llm=SCRIPT, preparing=False)
        async with calling(server) as end:
            await end.until("call.started")
            end.say(1, 600)
            await end.until("turn.end")
            seen = [f["event"] for f in end.seen if f["event"].split(".")[0] in ("turn", "eager")]
            assert list(dict.fromkeys(seen)) == names
        await peer.until("call.ended")
