"""Configuration by layers: what a frame sets, patches of one layer, one layer over another.

A session's value is the first defined of: changes in the call, the call's own configuration, its
channel's, its agent's, the server's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

import msgspec

from pinecall_cli.protocol.frames import JsonObject
from pinecall_cli.protocol.payload import PAYLOAD_KEYS, SDK_SPELLINGS, ConfigPayload
from pinecall_cli.protocol.stt import expand_stt_colon
from pinecall_cli.protocol.voice import split_voice

NESTED = {"stt": "stt", "tts": "voice", "interruption": "interruption"}
"""Keys of the nested ``config`` that a top-level key overrules."""

VOICE_KEPT = ("model", "language")
"""What a new voice of the same provider leaves in force."""

BROWSER_MAY = frozenset({"voice", "language", "stt", "tts", "greeting", "flash"})
"""What an offer or a data channel may change."""


def payload_of(frame: ConfigPayload) -> JsonObject:
    """Return the configuration keys that a frame sets, in wire spelling and nothing else."""
    return canonical(msgspec.to_builtins(frame), lift=False)


def canonical(level: Mapping[str, Any], *, lift: bool = True) -> JsonObject:
    """Return one layer in wire spelling, ``stt`` expanded, foreign keys and ``null`` left out.

    With ``lift``, what its nested ``config`` says about speech moves to the top, where it loses
    against a top-level key of the same layer.
    """
    given = {key: value for key, value in level.items() if value is not None}
    renamed = {SDK_SPELLINGS[key]: value for key, value in given.items() if key in SDK_SPELLINGS}
    if lift:
        nested = given.get("config")
        config = dict(nested) if isinstance(nested, Mapping) else {}
        for inner, outer in NESTED.items():
            found = config.pop(inner, None)
            if found is not None:
                renamed.setdefault(outer, found)
        if "tts" in given:
            renamed["voice"] = given["tts"]
        if "config" in given:
            given["config"] = config
    merged = {**renamed, **given}
    payload = {key: merged[key] for key in PAYLOAD_KEYS if key in merged}
    if isinstance(payload.get("stt"), str):
        payload["stt"] = expand_stt_colon(payload["stt"])
    return payload


def merge_payload(base: Mapping[str, Any], patch: Mapping[str, Any]) -> JsonObject:
    """Return a configuration after a patch to it, or under a stronger layer.

    A key of the patch replaces, an absent one keeps; inside ``config`` key by key. A voice of the
    same provider keeps the model and language in force unless it names its own.
    """
    lower, upper = canonical(base), canonical(patch)
    merged = {**lower, **upper}
    if "config" in lower and "config" in upper:
        merged["config"] = {**lower["config"], **upper["config"]}
    if "voice" in lower and "voice" in upper:
        merged["voice"] = new_voice(lower["voice"], upper["voice"])
    return {key: merged[key] for key in PAYLOAD_KEYS if key in merged}


def effective(*layers: Mapping[str, Any]) -> JsonObject:
    """Return a session's configuration from its layers, the weakest first."""
    return reduce(merge_payload, layers, {})


def new_voice(old: Any, new: Any) -> Any:
    """Return a new voice with the model and language of an old one of the same provider."""
    if not isinstance(old, Mapping):
        return new
    kept = {key: old[key] for key in VOICE_KEPT if key in old}
    if isinstance(new, str):
        provider, _, name = split_voice(new)
        fields = {"provider": provider.strip().lower(), "voice_id": name}
    elif isinstance(new, Mapping):
        fields = dict(new)
    else:
        return new
    same = fields.get("provider", "elevenlabs") == old.get("provider", "elevenlabs")
    return {**kept, **fields} if kept and same else new


def browser_overrides(config: Mapping[str, Any]) -> tuple[JsonObject, list[str]]:
    """Return what a browser may set of what it asked for, and the names of what is dropped."""
    allowed = {key: value for key, value in config.items() if key in BROWSER_MAY}
    return canonical(allowed), sorted(config.keys() - BROWSER_MAY)
