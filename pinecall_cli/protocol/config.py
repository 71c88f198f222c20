"""Configuration in one place: the payload, its grammars, its defaults, its layers.

Everybody else imports from here; each idea stands in a module of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pinecall_cli.protocol.behaviour import (
    CONTINUATION_S,
    Interruption,
    Preparing,
    SessionLimits,
    greeting_for,
    interruption,
    preparing_budget,
    session_limits,
)
from pinecall_cli.protocol.llm import LOCAL_PROVIDERS, Llm, parse_llm
from pinecall_cli.protocol.merging import (
    browser_overrides,
    canonical,
    effective,
    merge_payload,
    payload_of,
)
from pinecall_cli.protocol.origins import origin_allowed, parse_pattern
from pinecall_cli.protocol.payload import PAYLOAD_KEYS, SDK_SPELLINGS, ConfigPayload
from pinecall_cli.protocol.refusal import ConfigRefused
from pinecall_cli.protocol.stt import (
    FLUX_LANGUAGES,
    Stt,
    TurnDetection,
    base_code,
    default_stt,
    expand_stt_colon,
    parse_stt,
    turn_detection,
)
from pinecall_cli.protocol.voice import Voice, parse_voice

__all__ = [
    "CONTINUATION_S",
    "FLUX_LANGUAGES",
    "LOCAL_PROVIDERS",
    "PAYLOAD_KEYS",
    "SDK_SPELLINGS",
    "ConfigPayload",
    "ConfigRefused",
    "Interruption",
    "Llm",
    "Preparing",
    "SessionLimits",
    "Stt",
    "TurnDetection",
    "Voice",
    "base_code",
    "browser_overrides",
    "canonical",
    "check_payload",
    "default_stt",
    "effective",
    "expand_stt_colon",
    "greeting_for",
    "interruption",
    "merge_payload",
    "origin_allowed",
    "parse_llm",
    "parse_pattern",
    "parse_stt",
    "parse_voice",
    "payload_of",
    "preparing_budget",
    "refusals",
    "session_limits",
    "turn_detection",
]


def refusals(payload: Mapping[str, Any]) -> list[tuple[str, ConfigRefused]]:
    """Return every key of a payload that a grammar or house rule refuses, and why.

    Keys inside the nested ``config`` are named ``config.stt`` and so on.
    """
    language = payload.get("language")
    spoken = language if isinstance(language, str) else None
    checks: list[tuple[str, Any, Callable[[Any], Any]]] = [
        ("stt", payload.get("stt"), lambda value: parse_stt(value, spoken)),
        ("voice", payload.get("voice"), lambda value: parse_voice(value, spoken)),
        ("llm", payload.get("llm"), parse_llm),
        ("interruption", payload.get("interruption"), interruption),
        ("session_limits", payload.get("session_limits"), session_limits),
        ("preparing", payload.get("preparing"), preparing_budget),
    ]
    nested = payload.get("config")
    if isinstance(nested, Mapping):
        checks += [
            ("config.stt", nested.get("stt"), lambda value: parse_stt(value, spoken)),
            ("config.tts", nested.get("tts"), lambda value: parse_voice(value, spoken)),
            ("config.interruption", nested.get("interruption"), interruption),
        ]
    origins = payload.get("allowed_origins")
    for origin in origins if isinstance(origins, list | tuple) else ():
        checks.append(("allowed_origins", origin, parse_pattern))
    found = []
    for key, value, check in checks:
        if value is None:
            continue
        try:
            check(value)
        except ConfigRefused as refusal:
            found.append((key, refusal))
    return found


def check_payload(payload: Mapping[str, Any]) -> None:
    """Refuse a payload that a grammar or house rule does not allow.

    Raises:
        ConfigRefused: For the first such key.
    """
    for _key, refusal in refusals(payload):
        raise refusal
