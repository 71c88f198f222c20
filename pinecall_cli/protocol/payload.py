"""The configuration payload: the keys that agents, channels and sessions share on the wire.

Frames that carry it are patches: a key that is absent means "keep", and ``false``, ``0`` and
``""`` are values. Nested objects travel verbatim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from pinecall_cli.protocol.frames import (
    Command,
    JsonObject,
    MaybeBool,
    MaybeObject,
    MaybeObjects,
    MaybeStr,
)


class ConfigPayload(Command):
    """The payload's keys in the order in which they stand on the wire."""

    agent_id: MaybeStr = UNSET
    voice: str | JsonObject | UnsetType = UNSET
    language: MaybeStr = UNSET
    """BCP-47."""
    flash: MaybeBool = UNSET
    stt: str | JsonObject | UnsetType = UNSET
    interruption: bool | JsonObject | UnsetType = UNSET
    llm: str | JsonObject | UnsetType = UNSET
    """Absent, or with ``enabled: false``: the application answers."""
    prompt: MaybeStr = UNSET
    vars: MaybeObject = UNSET
    """Prompt variables by name."""
    greeting: str | JsonObject | UnsetType = UNSET
    """A text, or a text per language code."""
    greeting_in_chat: MaybeBool = msgspec.field(default=UNSET, name="greetingInChat")
    memory: MaybeObject = UNSET
    timezone: MaybeStr = UNSET
    """IANA name."""
    preparing: bool | JsonObject | UnsetType = UNSET
    raw_prompt: MaybeBool = UNSET
    tools: MaybeObjects = UNSET
    """OpenAI function definitions."""
    skills: MaybeObjects = UNSET
    session_limits: MaybeObject = UNSET
    """Seconds; 0 switches a limit off."""
    config: MaybeObject = UNSET
    knowledge_base: str | list[str] | UnsetType = UNSET
    mode: Any = UNSET
    media: MaybeObject = UNSET


PAYLOAD_KEYS: tuple[str, ...] = tuple(
    field.encode_name for field in msgspec.structs.fields(ConfigPayload) if field.name != "agent_id"
)
"""Every key of the payload as it is spelled on the wire, in wire order."""

SDK_SPELLINGS: Mapping[str, str] = {
    "promptVars": "vars",
    "prompt_vars": "vars",
    "rawPrompt": "raw_prompt",
    "sessionLimits": "session_limits",
    "knowledgeBase": "knowledge_base",
    "greeting_in_chat": "greetingInChat",
}
"""Spellings of the SDK that reach a server through ``call.update`` and per-call ``config``."""
