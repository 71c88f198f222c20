"""What `stt` may say, and what is derived from it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pinecall_cli.protocol.config import (
    ConfigRefused,
    default_stt,
    expand_stt_colon,
    parse_stt,
    turn_detection,
)


@pytest.mark.parametrize(
    ("value", "language", "provider", "model"),
    [
        ("deepgram/flux", "en", "deepgram-flux", "flux-general-en"),
        ("deepgram/flux", "en-GB", "deepgram-flux", "flux-general-en"),
        ("deepgram/flux", "es", "deepgram-flux", "flux-general-multi"),
        ("deepgram/flux", None, "deepgram-flux", "flux-general-multi"),
        ("deepgram/flux-en", "es", "deepgram-flux", "flux-general-en"),
        ("deepgram/flux-multi", "en", "deepgram-flux", "flux-general-multi"),
        ("deepgram", "en", "deepgram-flux", "flux-general-en"),
        ("deepgram-flux", "de", "deepgram-flux", "flux-general-multi"),
        ("deepgram/nova-3", "en", "deepgram", "nova-3"),
        ("Deepgram/Nova-3", "en", "deepgram", "nova-3"),
        ("deepgram/nova-3-medical", "en", "deepgram", "nova-3-medical"),
        ("deepgram:nova-3:es", "en", "deepgram", "nova-3"),
        ("gladia", "he", "gladia", "solaria-1"),
        ("gladia/solaria", "he", "gladia", "solaria-1"),
        ("transcribe", "en-US", "transcribe", ""),
        ("cartesia/ink-whisper", "en", "cartesia", "ink-whisper"),
        ("elevenlabs/scribe", "ar", "elevenlabs", "scribe_v2_realtime"),
        ("soniox/realtime", "en", "soniox", "stt-rt-v5"),
        ("soniox/stt-rt-v5", "en", "soniox", "stt-rt-v5"),
        ("assemblyai/universal", "en", "assemblyai", "u3-rt-pro"),
        ("xai/grok-stt", "en", "xai", "grok-stt"),
        ({"provider": "deepgram-flux"}, "en", "deepgram-flux", "flux-general-en"),
        ({"provider": "deepgram", "model": "flux"}, "fr", "deepgram-flux", "flux-general-multi"),
        ({"language": "ar"}, "en", "elevenlabs", "scribe_v2_realtime"),
        (":", "en", "deepgram-flux", "flux-general-en"),
    ],
)
def test_shortcuts_and_objects(value: Any, language: str | None, provider: str, model: str):
    stt = parse_stt(value, language)
    assert (stt.provider, stt.model) == (provider, model)


def test_an_object_keeps_its_options_and_its_own_language():
    stt = parse_stt({"provider": "soniox", "language": "es", "context": "menus"}, "en")
    assert stt.language == "es"
    assert stt.options == {"context": "menus"}
    assert parse_stt("deepgram:nova-3:es", "en").language == "es"
    assert parse_stt("deepgram/nova-3", "en").language == "en"


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("deepgram/flux", "deepgram/flux"),
        ("deepgram:nova-3:es", {"provider": "deepgram", "model": "nova-3", "language": "es"}),
        ("deepgram::es", {"provider": "deepgram", "language": "es"}),
        (
            "deepgram:nova-3:es:more:still",
            {"provider": "deepgram", "model": "nova-3", "language": "es"},
        ),
        ("deepgram:", {"provider": "deepgram"}),
    ],
)
def test_the_colon_form_is_expanded(text: str, expanded: Any):
    assert expand_stt_colon(text) == expanded


@pytest.mark.parametrize(
    ("language", "provider"),
    [
        (None, "deepgram-flux"),
        ("en", "deepgram-flux"),
        ("pt_BR", "deepgram-flux"),
        ("ar-EG", "elevenlabs"),
        ("he", "gladia"),
        ("el", "deepgram"),
    ],
)
def test_a_language_has_its_default(language: str | None, provider: str):
    assert default_stt(language).provider == provider
    assert parse_stt(None, language) == default_stt(language)


@pytest.mark.parametrize(
    "value",
    [
        "deepgram/nova-2",
        "deepgram/Nova-2",
        "deepgram:nova-2:es",
        "deepgram/nova-2-phonecall",
        {"provider": "deepgram", "model": "nova-2"},
        {"provider": "deepgram-flux", "model": "nova-2"},
    ],
)
def test_nova_2_is_refused_with_the_fix(value: Any):
    with pytest.raises(ConfigRefused, match="nova-2") as refused:
        parse_stt(value, "en")
    assert refused.value.code == "unsupported_stt"
    assert refused.value.fix == "use `deepgram/nova-3` or `deepgram/flux`"


@pytest.mark.parametrize(
    ("value", "code", "fix"),
    [
        ("deepgran/flux", "unknown_stt_provider", "did you mean `deepgram`?"),
        ("zzz", "unknown_stt_provider", "known: deepgram, deepgram-flux"),
        ("", "unknown_stt_provider", "known:"),
        ("gladia/solara", "unknown_stt_model", "did you mean `solaria`?"),
        ("transcribe/big", "unknown_stt_model", "leave the model out"),
        ("deepgram/nova-1", "unknown_stt_model", "did you mean `nova-3`?"),
        ({"provider": 5}, "invalid_stt", "None"),
        ({"provider": "deepgram", "language": ["es"]}, "invalid_stt", "None"),
        (5, "invalid_stt", "None"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_closest(value: Any, code: str, fix: str):
    with pytest.raises(ConfigRefused) as refused:
        parse_stt(value, "en")
    assert refused.value.code == code
    assert fix in str(refused.value.fix)


@pytest.mark.parametrize(
    ("value", "strategy", "vad"),
    [
        ("deepgram/flux", "native", "native"),
        ("soniox/realtime", "native", "silero"),
        ({"provider": "soniox", "turn": "smart_turn"}, "smart_turn", "silero"),
        ("deepgram/nova-3", "smart_turn", "silero"),
        ("gladia", "smart_turn", "silero"),
    ],
)
def test_turn_detection_follows_from_the_recogniser(value: Any, strategy: str, vad: str):
    derived = turn_detection(parse_stt(value, "en"))
    assert (derived.strategy, derived.vad) == (strategy, vad)


@given(
    st.text(max_size=30)
    | st.dictionaries(st.sampled_from(["provider", "model", "language"]), st.text(max_size=12))
)
def test_any_text_is_a_recogniser_or_refused(value: Any):
    with contextlib.suppress(ConfigRefused):
        assert turn_detection(parse_stt(value, "en"))
