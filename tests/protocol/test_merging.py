"""Payloads: what a frame sets, patches, layers."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol import commands
from pinecall_cli.protocol.config import (
    PAYLOAD_KEYS,
    ConfigRefused,
    browser_overrides,
    canonical,
    check_payload,
    effective,
    merge_payload,
    payload_of,
    refusals,
)
from pinecall_cli.protocol.payload import ConfigPayload


def test_the_payload_s_keys_are_the_wire_s():
    assert PAYLOAD_KEYS[:4] == ("voice", "language", "flash", "stt")
    assert {"greetingInChat", "vars", "raw_prompt", "media"} <= set(PAYLOAD_KEYS)
    assert "agent_id" not in PAYLOAD_KEYS


@pytest.mark.parametrize(
    ("frame", "payload"),
    [
        (
            commands.AgentCreate(agent_id="a", flash=False, greeting="", allowed_origins=["x"]),
            {"flash": False, "greeting": ""},
        ),
        (commands.AgentConfigure(agent_id="a"), {}),
        (
            commands.ChannelAdd(agent_id="a", type="phone", ref="+1", phone="+2", language="es"),
            {"language": "es"},
        ),
        (
            commands.SessionConfigure(
                session_id="c",
                stt="deepgram:nova-3:es",
                prompt_vars={"plan": "gold"},
                raw_prompt_camel=True,
                session_limits_camel={"idle_timeout_seconds": 0},
                knowledge_base_camel="kb",
            ),
            {
                "stt": {"provider": "deepgram", "model": "nova-3", "language": "es"},
                "vars": {"plan": "gold"},
                "raw_prompt": True,
                "session_limits": {"idle_timeout_seconds": 0},
                "knowledge_base": "kb",
            },
        ),
        (
            commands.SessionConfigure(session_id="c", raw_prompt=False, raw_prompt_camel=True),
            {"raw_prompt": False},
        ),
        (
            commands.AgentCreate(agent_id="a", config={"stt": "gladia"}),
            {"config": {"stt": "gladia"}},
        ),
    ],
    ids=["create", "empty", "channel", "camel", "both", "nested"],
)
def test_what_a_frame_sets(frame: ConfigPayload, payload: dict[str, Any]):
    assert payload_of(frame) == payload


def test_a_patch_replaces_what_it_names_and_keeps_the_rest():
    base = {"voice": "elevenlabs/sarah", "prompt": "old", "vars": {"a": "1", "b": "2"}}
    assert merge_payload(base, {"prompt": "new", "vars": {"a": "3"}, "flash": False}) == {
        "voice": "elevenlabs/sarah",
        "flash": False,
        "prompt": "new",
        "vars": {"a": "3"},
    }


def test_null_and_foreign_keys_change_nothing():
    assert merge_payload({"prompt": "p"}, {"prompt": None, "agent_id": "x", "zip": 1}) == {
        "prompt": "p"
    }


def test_the_nested_config_is_lifted_and_loses_against_the_top_of_its_layer():
    layer = {
        "stt": "deepgram/flux",
        "config": {"stt": "gladia", "tts": "cartesia/blake", "analysis": {"send_turn_audio": True}},
    }
    assert canonical(layer) == {
        "voice": "cartesia/blake",
        "stt": "deepgram/flux",
        "config": {"analysis": {"send_turn_audio": True}},
    }
    assert canonical({"config": "?", "tts": "polly/ana"}) == {"voice": "polly/ana", "config": {}}


def test_a_stronger_layer_s_nested_config_wins_over_a_weaker_one_s_top():
    merged = effective({"stt": "deepgram/flux"}, {"config": {"stt": "gladia"}})
    assert merged["stt"] == "gladia"


def test_layers_from_the_server_s_default_to_the_call():
    server = {"language": "en", "voice": "elevenlabs/sarah", "interruption": True}
    agent = {"language": "es", "llm": "openai/gpt", "config": {"analysis": {"a": 1}}}
    channel = {"voice": "cartesia/blake", "config": {"realtime": {"voice": "marin"}}}
    call = {"promptVars": {"plan": "gold"}, "interruption": False}
    assert effective(server, agent, channel, call) == {
        "voice": "cartesia/blake",
        "language": "es",
        "interruption": False,
        "llm": "openai/gpt",
        "vars": {"plan": "gold"},
        "config": {"analysis": {"a": 1}, "realtime": {"voice": "marin"}},
    }
    assert effective() == {}


OLD = {"provider": "elevenlabs", "voice_id": "A", "model": "m", "language": "es", "speed": 2}


@pytest.mark.parametrize(
    ("old", "new", "voice"),
    [
        ("elevenlabs/a", "elevenlabs/b", "elevenlabs/b"),
        (OLD, "cartesia/b", "cartesia/b"),
        (
            OLD,
            "elevenlabs/b",
            {"provider": "elevenlabs", "voice_id": "b", "model": "m", "language": "es"},
        ),
        (OLD, {"voice_id": "B", "model": "n"}, {"voice_id": "B", "model": "n", "language": "es"}),
        (OLD, {"provider": "polly"}, {"provider": "polly"}),
        ({"voice_id": "A"}, "elevenlabs/b", "elevenlabs/b"),
        (OLD, 5, 5),
    ],
)
def test_a_voice_of_the_same_provider_keeps_model_and_language(old: Any, new: Any, voice: Any):
    assert merge_payload({"voice": old}, {"voice": new}) == {"voice": voice}


def test_a_browser_may_change_little():
    allowed, dropped = browser_overrides(
        {"tts": "cartesia/blake", "language": "es", "prompt": "x", "llm": "y", "interruption": 1}
    )
    assert allowed == {"voice": "cartesia/blake", "language": "es"}
    assert dropped == ["interruption", "llm", "prompt"]


def test_every_refusal_of_a_payload_is_told():
    payload = {
        "language": "en",
        "stt": "deepgram/nova-2",
        "voice": "nobody/x",
        "llm": "openai",
        "interruption": {"min_words": "two"},
        "session_limits": {"idle_grace_seconds": -1},
        "preparing": {"timeout_ms": "x"},
        "config": {"stt": "deepgram:nova-2", "tts": "nobody/y", "interruption": 5},
        "allowed_origins": ["https://ok.example", "*", 5],
    }
    keys = ["stt", "voice", "llm", "interruption", "session_limits", "preparing"]
    keys += [
        "config.stt",
        "config.tts",
        "config.interruption",
        "allowed_origins",
        "allowed_origins",
    ]
    assert [key for key, _ in refusals(payload)] == keys
    with pytest.raises(ConfigRefused, match="nova-2"):
        check_payload(payload)


def test_a_sound_payload_is_not_refused():
    check_payload({"language": 5, "stt": "gladia", "config": "?", "allowed_origins": "?"})
    assert refusals({}) == []


payloads = st.dictionaries(
    st.sampled_from([*PAYLOAD_KEYS, "promptVars", "tts", "agent_id"]),
    st.none()
    | st.booleans()
    | st.text(max_size=5)
    | st.dictionaries(st.text(max_size=4), st.text()),
)


@given(payloads, payloads)
def test_merging_is_canonical_and_a_repeat_changes_nothing(
    base: dict[str, Any], patch: dict[str, Any]
):
    merged = merge_payload(base, patch)
    assert merge_payload(merged, {}) == merged
    assert merge_payload(merged, patch) == merged
    assert list(merged) == [key for key in PAYLOAD_KEYS if key in merged]


@given(payloads)
def test_looking_for_refusals_never_raises(payload: dict[str, Any]):
    assert all(refusal.message for _, refusal in refusals(payload))
