"""What `voice` and `llm` may say."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.config import ConfigRefused, Llm, Voice, parse_llm, parse_voice

FLASH = "eleven_flash_v2_5"


@pytest.mark.parametrize(
    ("value", "voice"),
    [
        ("elevenlabs/Sarah", Voice("elevenlabs", "sarah", False, FLASH)),
        ("sarah", Voice("elevenlabs", "sarah", False, FLASH)),
        ("elevenlabs:EXAVITQu4vr", Voice("elevenlabs", "EXAVITQu4vr", True, FLASH)),
        ("cartesia:a/b:c", Voice("cartesia", "a/b:c", True, "sonic-3.5")),
        ("hibari/heart", Voice("hibari", "heart", False, "")),
        (
            {"provider": "elevenlabs", "voice_id": "X", "speed": 1.1},
            Voice("elevenlabs", "X", True, FLASH, {"speed": 1.1}),
        ),
        (
            {"provider": "cartesia", "voice_id": "X", "model": "sonic-3"},
            Voice("cartesia", "X", True, "sonic-3"),
        ),
        ({"voice_id": None, "provider": None}, Voice("elevenlabs", "", True, FLASH)),
    ],
)
def test_voices(value: Any, voice: Voice):
    assert parse_voice(value, "en") == voice


@pytest.mark.parametrize(
    ("language", "flash", "model"),
    [
        ("en", False, FLASH),
        (None, False, FLASH),
        ("es", False, "eleven_multilingual_v2"),
        ("es", True, FLASH),
    ],
)
def test_the_elevenlabs_model_follows_the_language(language: str | None, flash: bool, model: str):
    assert parse_voice("elevenlabs/sarah", language, flash=flash).model == model


def test_a_voice_object_s_own_language_decides():
    voice = parse_voice({"voice_id": "X", "language": "es"}, "en")
    assert voice.model == "eleven_multilingual_v2"


def test_a_voice_is_written_as_it_is_asked_for():
    assert str(parse_voice("elevenlabs/sarah")) == "elevenlabs/sarah"
    assert str(parse_voice("cartesia:abc")) == "cartesia:abc"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("elevenlab/sarah", "unknown_voice_provider"),
        ({"provider": "nobody"}, "unknown_voice_provider"),
        ({"provider": "polly", "voice_id": 5}, "invalid_voice"),
        (5, "invalid_voice"),
    ],
)
def test_a_voice_nobody_has_is_refused(value: Any, code: str):
    with pytest.raises(ConfigRefused) as refused:
        parse_voice(value)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("value", "llm"),
    [
        ("openai/gpt-5.4-nano", Llm("openai", "gpt-5.4-nano")),
        ("openai:gpt-5.4-nano", Llm("openai", "gpt-5.4-nano")),
        ("gpt-5.4-nano", Llm("openai", "gpt-5.4-nano")),
        ("claude/opus", Llm("anthropic", "opus")),
        ("Gemini/flash", Llm("google", "flash")),
        ("openrouter/qwen/qwen3-8b", Llm("openrouter", "qwen/qwen3-8b")),
        ("ollama/llama3.2:3b", Llm("ollama", "llama3.2:3b")),
        ("script", Llm("script", "")),
        ("script/", Llm("script", "")),
        ({"provider": "openai", "model": "x", "enabled": True}, Llm("openai", "x")),
        ({"llm": "mistral/small"}, Llm("mistral", "small")),
        ({"model": "groq/llama"}, Llm("groq", "llama")),
        (
            {
                "provider": "claude",
                "model": "opus",
                "temperature": 0.2,
                "max_tokens": 90,
                "prompt": "p",
            },
            Llm("anthropic", "opus", temperature=0.2, max_tokens=90, prompt="p"),
        ),
        ({"provider": "script", "rules": []}, Llm("script", "", options={"rules": []})),
        (
            {"provider": "mine", "model": "m", "base_url": "http://h/v1"},
            Llm("mine", "m", options={"base_url": "http://h/v1"}),
        ),
    ],
)
def test_models(value: Any, llm: Llm):
    assert parse_llm(value) == llm


@pytest.mark.parametrize("value", [None, {"enabled": False}, {"enabled": False, "provider": 5}])
def test_without_a_model_the_application_answers(value: Any):
    assert parse_llm(value) is None


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "invalid_llm"),
        ("openai", "invalid_llm"),
        ("openai/", "invalid_llm"),
        ("opnai/gpt", "unknown_llm_provider"),
        ({}, "invalid_llm"),
        ({"provider": "openai"}, "invalid_llm"),
        ({"provider": "openai", "model": 5}, "invalid_llm"),
        ({"provider": "mine", "model": "m"}, "unknown_llm_provider"),
        ({"provider": "openai", "model": "m", "temperature": 3}, "invalid_llm"),
        ({"provider": "openai", "model": "m", "temperature": True}, "invalid_llm"),
        ({"provider": "openai", "model": "m", "max_tokens": 0}, "invalid_llm"),
        ({"provider": "openai", "model": "m", "max_tokens": "9"}, "invalid_llm"),
        ({"provider": "openai", "model": "m", "prompt": 1}, "invalid_llm"),
        (5, "invalid_llm"),
    ],
)
def test_what_names_no_model_is_refused(value: Any, code: str):
    with pytest.raises(ConfigRefused) as refused:
        parse_llm(value)
    assert refused.value.code == code


def test_speech_to_speech_models_are_told_by_their_name():
    realtime = parse_llm("pinecall/gpt-realtime")
    text = parse_llm("openai/gpt-5")
    assert realtime is not None
    assert text is not None
    assert realtime.realtime
    assert not text.realtime
    assert str(realtime) == "pinecall/gpt-realtime"
    assert str(parse_llm("script")) == "script"


@given(st.text(max_size=30))
def test_any_text_is_a_voice_and_a_model_or_refused(value: str):
    for parse in (parse_voice, parse_llm):
        with contextlib.suppress(ConfigRefused):
            assert parse(value)
