"""Configuration that code gives, as the wire has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTRIBUTES: Mapping[str, str] = {"greetingInChat": "greeting_in_chat"}
"""Wire keys whose field in our frames has another name."""


def attributes(patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return a payload by wire keys as the keyword arguments of our frames."""
    return {ATTRIBUTES.get(key, key): value for key, value in patch.items()}


def wire_value(value: Any) -> Any:
    """Return a configuration value as JSON has it: tools and skills as what they are called by."""
    if isinstance(value, list | tuple):
        return [wire_value(item) for item in value]
    spec = getattr(value, "spec", value)
    return spec.wire() if hasattr(spec, "wire") else value
