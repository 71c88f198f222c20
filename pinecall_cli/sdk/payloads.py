"""Configuration that code gives, as the wire has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pinecall_cli.agent.config import WIRE_KEYS
from pinecall_cli.agent.skill import Skill
from pinecall_cli.agent.tools import Tool, tool

ATTRIBUTES: Mapping[str, str] = {"greetingInChat": "greeting_in_chat"}
"""Wire keys whose field in our frames has another name."""


def attributes(patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload by wire keys as the keyword arguments of our frames."""
    return {ATTRIBUTES.get(key, key): value for key, value in patch.items()}


def payload_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return configuration by an agent's keys as a payload by the wire's."""
    return {WIRE_KEYS.get(key, key): wire_value(value) for key, value in config.items()}


def wire_value(value: Any) -> Any:
    """Return a configuration value as JSON has it: tools and skills as what they are called by."""
    match value:
        case list() | tuple():
            return [wire_value(item) for item in value]
        case Mapping():
            return {key: wire_value(item) for key, item in value.items()}
        case Skill():
            return wire_value(value.options())
        case Tool():
            return value.spec.wire()
        case _ if callable(value):
            return tool(value).spec.wire()
    return value.wire() if hasattr(value, "wire") else value


def tools_in(value: Any) -> Iterator[Tool]:
    """Yield the functions behind the tools of a configuration value, those of skills among them."""
    match value:
        case list() | tuple():
            for item in value:
                yield from tools_in(item)
        case Mapping():
            yield from tools_in(value.get("tools", ()))
        case Skill():
            yield from tools_in(value.tools)
        case Tool():
            yield value
        case _ if callable(value):
            yield tool(value)
